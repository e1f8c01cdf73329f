"""Who is compared with whom: removal rules and the matches of every query."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from luperson_jax.retrieval import inputs

REMOVALS = ("same_identity_and_camera", "nothing", "same_camera")
"""Gallery images that a query does not see. "same_identity_and_camera" is the rule of Market-1501;
"same_camera" keeps the cameras of query and gallery apart (separate camera sets)."""
NOBODYS = -1
"""Group of gallery rows that no query sees."""
NO_GROUP = -2
"""Group of queries for which nothing is removed."""


@dataclasses.dataclass(frozen=True)
class RemovalRule:
    """What of the gallery a query does not see.

    Attributes:
        removal: one of `REMOVALS`.
        junk: [N] bool, True for gallery rows that no query sees; None for those of identity -1.
            Where it is given, no identity is special, not even -1.
    """

    removal: str = "same_identity_and_camera"
    junk: np.ndarray | None = None


MARKET_RULE = RemovalRule()


@runtime_checkable
class Identified(Protocol):
    """Rows with an identity and a camera each, both [N] integers: an embedded set, a table."""

    @property
    def pid(self) -> np.ndarray: ...

    @property
    def camera(self) -> np.ndarray: ...


class Columns(NamedTuple):
    """Identities and cameras without anything else.

    Attributes:
        pid: [N] identities, any integers.
        camera: [N] cameras, any integers.
    """

    pid: np.ndarray
    camera: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[Identified]) -> "Columns":
        """Those of several sets after each other."""
        return cls(*(np.concatenate([getattr(one, n) for one in parts]) for n in cls._fields))


class Labels(NamedTuple):
    """Identities and cameras as the ranking needs them.

    Attributes:
        identity: [Q] int64 number of the identity of every query.
        gallery_identity: [N] int64 those of the gallery, numbered with them.
        query_group: [Q] int32. A gallery row of the same group is removed for the query.
        gallery_group: [N] int32; `NOBODYS` is removed for all.
        offsets: [Q + 1] int64; the matches of query i are `matches[offsets[i] : offsets[i + 1]]`.
        matches: [M] int32 gallery rows, ascending for each query.
    """

    identity: np.ndarray
    gallery_identity: np.ndarray
    query_group: np.ndarray
    gallery_group: np.ndarray
    offsets: np.ndarray
    matches: np.ndarray

    @property
    def num_matches(self) -> np.ndarray:
        """[Q] matches of every query."""
        return np.diff(self.offsets)


def make_labels(query: Identified, gallery: Identified, rule: RemovalRule = MARKET_RULE) -> Labels:
    """Numbers identities and finds the matches of every query.

    The identity -1 is nobody's. A gallery row of it is junk, which no query sees, and a query of it
    has no match and nothing removed. Where nobody in the gallery is known, no row of it is junk.

    Args:
        query: Q rows.
        gallery: N rows.
        rule: what a query does not see.

    Raises:
        InputError: columns that do not fit each other, or an unknown removal.
    """
    (query_pid, query_camera), (gallery_pid, gallery_camera) = (
        (one.pid, one.camera) for one in (query, gallery)
    )
    num_queries, num_gallery, junk = len(query_pid), len(gallery_pid), rule.junk
    for name, one in (("query", query), ("gallery", gallery)):
        inputs.check_column(f"{name} pid", one.pid, len(one.pid))
        inputs.check_column(f"{name} camera", one.camera, len(one.pid))
    if junk is not None and (junk.shape != (num_gallery,) or junk.dtype != bool):
        raise InputError(
            f"junk has shape {junk.shape} and type {junk.dtype}; expected {num_gallery} values "
            "True or False, one for each gallery row"
        )
    pid, camera = _number(query_pid, gallery_pid), _number(query_camera, gallery_camera)
    query_group, gallery_group = np.split(_groups(pid, camera, rule.removal), [num_queries])
    nobody = np.zeros(num_queries, bool)
    if junk is None:
        nobody = np.equal(query_pid, UNLABELLED)
        unknown = np.equal(gallery_pid, UNLABELLED)
        junk = unknown & ~unknown.all()
    if rule.removal == "nothing":
        query_group = np.full_like(query_group, NO_GROUP)
    elif rule.removal == "same_identity_and_camera":
        query_group = np.where(nobody, np.int32(NO_GROUP), query_group)
    gallery_group = np.where(junk, np.int32(NOBODYS), gallery_group)
    identity, gallery_identity = np.split(pid, [num_queries])
    query_of, rows = _same_identity(identity, gallery_identity)
    group = gallery_group[rows]
    seen = (group != query_group[query_of]) & (group != NOBODYS) & ~nobody[query_of]
    counts = np.bincount(query_of[seen], minlength=num_queries)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    matches = rows[seen].astype(np.int32)
    return Labels(identity, gallery_identity, query_group, gallery_group, offsets, matches)


def _number(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    return np.unique(np.concatenate([query, gallery]), return_inverse=True)[1].astype(np.int64)


def _groups(pid: np.ndarray, camera: np.ndarray, removal: str) -> np.ndarray:
    if removal not in REMOVALS:
        raise InputError(f"unknown removal {removal!r}; expected one of {', '.join(REMOVALS)}")
    if removal == "same_camera":
        return camera.astype(np.int32)
    pairs = pid * (int(camera.max()) + 1) + camera
    return np.unique(pairs, return_inverse=True)[1].astype(np.int32)


def _same_identity(identity: np.ndarray, gallery_identity: np.ndarray) -> tuple[np.ndarray, ...]:
    """All pairs of a query and a gallery row with its identity, by query, then by row."""
    order = np.argsort(gallery_identity, kind="stable")
    ordered = gallery_identity[order]
    first = np.searchsorted(ordered, identity, side="left")
    length = np.searchsorted(ordered, identity, side="right") - first
    query_of = np.repeat(np.arange(len(identity)), length)
    within = np.arange(len(query_of)) - np.repeat(np.cumsum(length) - length, length)
    return query_of, order[first[query_of] + within]
