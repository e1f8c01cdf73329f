"""The types that flow between the rooms: data only. Importing them does not import JAX."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data_pipeline.table.records import UNLABELLED, Table

Tree = Any
"""A nested dict of arrays."""

Sampler = Callable[[Table, int, int], np.ndarray]
"""(table, epoch, num_steps) -> rows int64 [num_steps, B]."""


_OF_A_ROW: Mapping[str, tuple[tuple[int | None, ...], type]] = {
    "images": ((None, None, 3), np.uint8),
    "size": ((2,), np.int32),
    **dict.fromkeys(("label", "camera", "index", "source"), ((), np.int32)),
    "mask": ((), np.bool_),
}
"""Shape (None: any length) and type of a row of each field of a `Batch`."""


@functools.cache
def _register(kind: type) -> None:
    import jax  # late: what ranks saved features on a CPU does without

    jax.tree_util.register_dataclass(kind)


class _JaxTree:
    """A tree for JAX, which is told when the first one is made."""

    def __new__(cls, *_: Any, **__: Any):
        _register(cls)
        return super().__new__(cls)


@dataclasses.dataclass(frozen=True)
class Batch(_JaxTree):
    """One global batch.

    Attributes:
        images: [B, H, W, 3] uint8, RGB on the canvas.
        size: [B, 2] int32 height and width of the picture before it was put on the canvas.
        label: [B] int32 identity: 0..C-1 in training, the data set's own number in evaluation.
        camera: [B] int32.
        index: [B] int32 row of the table.
        mask: [B] bool, False where the row is padding.
        source: [B] int32 which of several data sets, from 0; None where there is one.
    """

    images: Any
    size: Any
    label: Any
    camera: Any
    index: Any
    mask: Any
    source: Any = None

    def check(self) -> None:
        """Asserts shapes and types, of arrays or while a program is traced."""
        num = len(self.images)
        for name, (row, dtype) in _OF_A_ROW.items():
            given = getattr(self, name)
            if given is None:
                assert name == "source", f"Batch.{name} is missing"
                continue
            free = [axis for axis, length in enumerate(row, 1) if length is None]
            shape = tuple(None if i in free else length for i, length in enumerate(given.shape))
            assert (given.dtype, shape) == (dtype, (num, *row)), (
                f"Batch.{name} is {given.dtype}{list(given.shape)} beside {num} images"
            )


@dataclasses.dataclass(frozen=True)
class TrainState(_JaxTree):
    """Everything a run knows.

    Attributes:
        step: [] int32 number of finished steps.
        params: what has a gradient.
        extra: all else the task owns (statistics, key encoder, queue, memories, labels).
        opt_state: the optimizer's moments and counters.
        key: the random key of the run; step keys are folded from it and never stored.
        average: of the weights; empty where none is kept.
    """

    step: Any
    params: Tree
    extra: Tree
    opt_state: Tree
    key: Any
    average: Tree = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class EmbeddingSet:
    """Features on the host: features [N, D] float32, pid [N], camera [N], key [N] (path).

    The identity -1 is nobody's: of an unknown person, or of a detection that shows none. `frames`
    [N] names of each tracklet a few frames, those that decided; it is empty where pictures are
    compared.
    """

    features: np.ndarray
    pid: np.ndarray
    camera: np.ndarray
    key: tuple[str, ...]
    frames: tuple[tuple[str, ...], ...] = ()

    def shown(self, row: int) -> tuple[str, ...]:
        """Paths of the pictures that show a row; none where they are not known."""
        frames = self.frames[row] if self.frames else ()
        return frames or ((self.key[row],) if self.key[row] else ())

    def take(self, rows: np.ndarray) -> "EmbeddingSet":
        """The given rows, in the given order."""
        keys = tuple(self.key[row] for row in rows)
        frames = tuple(self.frames[row] for row in rows) if self.frames else ()
        return EmbeddingSet(self.features[rows], self.pid[rows], self.camera[rows], keys, frames)

    def known(self) -> "EmbeddingSet":
        """The rows whose identity is known: the set itself where all are, else a copy of them."""
        rows = np.flatnonzero(self.pid != UNLABELLED)
        return self if len(rows) == len(self.pid) else self.take(rows)


@dataclasses.dataclass(frozen=True)
class RankingReport:
    """Result of ranking a gallery for every query.

    Attributes:
        mAP: mean average precision over the valid queries, 0..1.
        mINP: mean inverse negative penalty (relevant images / rank of the last of them).
        cmc: [K] share of valid queries with a match among the first k+1.
        ap: [Q] average precision of each query: the mean of the precision at every match. nan where
            the query has no match.
        num_valid_queries: queries with at least one match.
        num_queries: all of them.
        inp: [Q] inverse negative penalty of each query; nan as `ap`.
        first_rank: [Q] rank of the first match, from 1; 0 where the query has none.
        ap_trapezoid: [Q] average precision by the trapezoid rule, as MARS reports it: each match
            counts with the mean of the precision at it and just before it. Never above `ap`.
    """

    mAP: float
    mINP: float
    cmc: np.ndarray
    ap: np.ndarray
    num_valid_queries: int
    num_queries: int
    inp: np.ndarray
    first_rank: np.ndarray
    ap_trapezoid: np.ndarray

    @property
    def mAP_trapezoid(self) -> float:
        """Mean of `ap_trapezoid` over the queries that count."""
        return float(np.nanmean(self.ap_trapezoid))
