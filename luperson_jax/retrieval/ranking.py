"""Exact ranking of a gallery by distance, and the measures of the Market-1501 protocol.

Zheng et al., "Scalable Person Re-identification: A Benchmark", 2015 (mAP, CMC, the removal rule);
Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", 2021 (mINP).

A query is compared with every gallery image except those of its own identity from its own camera.
Nearer is better, and equal distances rank by gallery row. Neither a sort of the gallery nor a
[Q, N] matrix is needed: the rank of a match is one more than the number of entries before it, so
the distances of a few queries at a time are computed and counted against.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from data_pipeline.errors import InputError
from luperson_jax.losses.metric import pairwise_distances
from luperson_jax.structs import EmbeddingSet, RankingReport

METRICS = ("cosine", "euclidean")
MAX_TILE_ELEMENTS = 2**24
"""Distances held at once: 64 MB."""
MAX_TILE_QUERIES = 128
"""Every match passes over its tile once, and a tile of this height stays in a CPU's cache."""
MAX_MAGNITUDE = 1e15
"""Squares of larger features overflow float32."""

Distances = Callable[[np.ndarray], Float[Array, "t n"]]
"""Rows of the query set -> their distances to the whole gallery."""


class TopMatches(NamedTuple):
    """The nearest gallery images of every query, nearest first.

    Attributes:
        rows: [Q, k] int32 row of the gallery; -1 past the last image that may be shown.
        correct: [Q, k] bool, the identity is that of the query.
        distance: [Q, k] float32; inf where the row is -1.
    """

    rows: np.ndarray
    correct: np.ndarray
    distance: np.ndarray


class _Labels(NamedTuple):
    """Identities and cameras as the ranking needs them.

    `group` numbers the pairs of identity and camera: a gallery image is removed for a query of the
    same group. `matches` holds the ascending gallery rows of every query's matches.
    """

    query_group: np.ndarray
    gallery_group: np.ndarray
    matches: list[np.ndarray]


def rank(
    query: np.ndarray,
    query_pid: np.ndarray,
    query_camera: np.ndarray,
    gallery: np.ndarray,
    gallery_pid: np.ndarray,
    gallery_camera: np.ndarray,
    *,
    metric: str = "cosine",
    max_rank: int = 50,
) -> RankingReport:
    """Ranks the gallery for every query and reports mAP, mINP and CMC.

    Gallery images with the identity and the camera of the query are removed; a query without a
    match among the rest is left out of the averages. No identity is special here, not even -1:
    junk images are the data set's to drop. Average precision is the mean of the precision at
    every match, without interpolation.

    Args:
        query: [Q, D] features; not necessarily normalized.
        query_pid: [Q] identities, any integers.
        query_camera: [Q] cameras, any integers.
        gallery: [N, D] features.
        gallery_pid: [N].
        gallery_camera: [N].
        metric: "cosine" (1 - cosine similarity) or "euclidean".
        max_rank: length of the CMC; may exceed N.

    Returns:
        The report, its numbers between 0 and 1.

    Raises:
        InputError: empty, misshapen or non-finite input, an unknown metric, or no query with a
            match.
    """
    _check_features(query, gallery, metric)
    labels = _make_labels(query_pid, query_camera, gallery_pid, gallery_camera, query, gallery)
    distances = _distances_of_features(query, gallery, metric)
    return _rank(distances, labels, max_rank)


def rank_embeddings(
    query: EmbeddingSet, gallery: EmbeddingSet, *, metric: str = "cosine", max_rank: int = 50
) -> RankingReport:
    """`rank` for embedded sets."""
    return rank(
        query.features,
        query.pid,
        query.camera,
        gallery.features,
        gallery.pid,
        gallery.camera,
        metric=metric,
        max_rank=max_rank,
    )


def rank_distances(
    distance: np.ndarray,
    query_pid: np.ndarray,
    query_camera: np.ndarray,
    gallery_pid: np.ndarray,
    gallery_camera: np.ndarray,
    *,
    max_rank: int = 50,
) -> RankingReport:
    """`rank` for distances that are known already, such as re-ranked ones.

    Args:
        distance: [Q, N], compared as float32.
        query_pid: [Q].
        query_camera: [Q].
        gallery_pid: [N].
        gallery_camera: [N].
        max_rank: length of the CMC.

    Returns:
        The report.

    Raises:
        InputError: as `rank`.
    """
    distance = np.asarray(distance, np.float32)
    _check_matrix("distances", distance)
    labels = _make_labels(
        query_pid, query_camera, gallery_pid, gallery_camera, distance, distance.T
    )
    return _rank(lambda rows: jnp.asarray(distance[rows]), labels, max_rank)


def top_matches(
    query: EmbeddingSet, gallery: EmbeddingSet, *, k: int, metric: str = "cosine"
) -> TopMatches:
    """The k nearest gallery images of every query, for ranked lists.

    Removal and order are those of `rank`.

    Args:
        query: the Q queries.
        gallery: the N gallery images.
        k: length of the lists, >= 1; may exceed N.
        metric: "cosine" or "euclidean".

    Returns:
        See `TopMatches`.

    Raises:
        InputError: as `rank`, but queries without a match are welcome.
    """
    if k < 1:
        raise InputError(f"a ranked list of length {k} was asked for; expected at least 1")
    _check_features(query.features, gallery.features, metric)
    labels = _make_labels(
        query.pid, query.camera, gallery.pid, gallery.camera, query.features, gallery.features
    )
    distances = _distances_of_features(query.features, gallery.features, metric)
    num_queries, num_gallery = len(query.pid), len(gallery.pid)
    rows = np.full((num_queries, k), -1, np.int32)
    distance = np.full((num_queries, k), np.inf, np.float32)
    shown = min(k, num_gallery)
    gallery_group = jnp.asarray(labels.gallery_group)
    for tile in _tiles(np.arange(num_queries), num_gallery):
        group = labels.query_group[tile]
        near_rows, near = _nearest(distances(tile), group, gallery_group, shown)
        rows[tile, :shown], distance[tile, :shown] = near_rows, near
    rows[np.isinf(distance)] = -1
    correct = (rows >= 0) & (gallery.pid[rows] == query.pid[:, None])
    return TopMatches(rows, correct, distance)


def _check_matrix(name: str, matrix: np.ndarray) -> None:
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(
            f"{name} have shape {matrix.shape}; expected two dimensions, both at least 1"
        )
    # Through an extremum, and not element by element, to spare a mask as large as the matrix.
    largest = max(float(matrix.max()), -float(matrix.min()))
    if not largest <= MAX_MAGNITUDE:
        raise InputError(
            f"{name} contain nan, infinity or a number beyond {MAX_MAGNITUDE:g}; find the images "
            "they belong to and embed those again (a diverged model gives nan for all)"
        )


def _check_features(query: np.ndarray, gallery: np.ndarray, metric: str) -> None:
    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    _check_matrix("query features", query)
    _check_matrix("gallery features", gallery)
    if query.shape[1] != gallery.shape[1]:
        raise InputError(
            f"query features have {query.shape[1]} dimensions and gallery features "
            f"{gallery.shape[1]}; embed both with the same model"
        )


def _make_labels(
    query_pid: np.ndarray,
    query_camera: np.ndarray,
    gallery_pid: np.ndarray,
    gallery_camera: np.ndarray,
    query: np.ndarray,
    gallery: np.ndarray,
) -> _Labels:
    for name, column, rows in (
        ("query pid", query_pid, query),
        ("query camera", query_camera, query),
        ("gallery pid", gallery_pid, gallery),
        ("gallery camera", gallery_camera, gallery),
    ):
        if column.shape != rows.shape[:1] or not np.issubdtype(column.dtype, np.integer):
            raise InputError(
                f"{name} has shape {column.shape} and type {column.dtype}; expected "
                f"{rows.shape[0]} integers, one for each row of the features"
            )
    pid = np.unique(np.concatenate([query_pid, gallery_pid]), return_inverse=True)[1]
    camera = np.unique(np.concatenate([query_camera, gallery_camera]), return_inverse=True)[1]
    pairs = pid.astype(np.int64) * (int(camera.max()) + 1) + camera
    group = np.unique(pairs, return_inverse=True)[1].astype(np.int32)
    num_queries = len(query_pid)
    query_group, gallery_group = group[:num_queries], group[num_queries:]

    order = np.argsort(pid[num_queries:], kind="stable")
    ordered_pid = pid[num_queries:][order]
    first = np.searchsorted(ordered_pid, pid[:num_queries], side="left")
    last = np.searchsorted(ordered_pid, pid[:num_queries], side="right")
    same_pid = [order[start:stop] for start, stop in zip(first, last, strict=True)]
    matches = [
        rows[gallery_group[rows] != own] for rows, own in zip(same_pid, query_group, strict=True)
    ]
    return _Labels(query_group, gallery_group, matches)


def _distances_of_features(query: np.ndarray, gallery: np.ndarray, metric: str) -> Distances:
    on_device = jnp.asarray(np.asarray(gallery, np.float32))

    def distances(rows: np.ndarray) -> Float[Array, "t n"]:
        return _feature_distances(np.asarray(query[rows], np.float32), on_device, metric)

    return distances


_feature_distances = jax.jit(pairwise_distances, static_argnames="metric")


def _tiles(rows: np.ndarray, num_gallery: int) -> list[np.ndarray]:
    """The rows in pieces of one size, so that every step compiles once; the last piece is filled
    up by repeating its last row."""
    size = max(1, min(MAX_TILE_QUERIES, MAX_TILE_ELEMENTS // num_gallery, len(rows)))
    padded = np.pad(rows, (0, -len(rows) % size), mode="edge")
    return list(padded.reshape(-1, size))


def _rank(distances: Distances, labels: _Labels, max_rank: int) -> RankingReport:
    if max_rank < 1:
        raise InputError(f"max_rank is {max_rank}; expected at least 1")
    num_matches = np.array([len(rows) for rows in labels.matches], np.int32)
    valid = np.flatnonzero(num_matches)
    if len(valid) == 0:
        raise InputError(
            f"none of the {len(num_matches)} queries has a match: no gallery image shows the "
            "identity of a query under another camera. Check that query and gallery belong to the "
            "same data set and that the cameras are not all equal"
        )
    # Queries with about as many matches share a tile, and no tile waits for a single long list.
    order = valid[np.argsort(num_matches[valid], kind="stable")]
    gallery_group = jnp.asarray(labels.gallery_group)
    ap = np.full(len(num_matches), np.nan)
    inp = np.full(len(num_matches), np.nan)
    first_rank = np.zeros(len(num_matches), np.int64)
    width = int(num_matches.max())
    for tile in _tiles(order, len(labels.gallery_group)):
        padded = np.zeros((len(tile), width), np.int32)
        for row, matches in enumerate(labels.matches[query] for query in tile):
            padded[row, : len(matches)] = matches
        group = labels.query_group[tile]
        most = num_matches[tile].max()
        ranks = np.asarray(_match_ranks(distances(tile), group, gallery_group, padded, most))
        for query, row in zip(tile, ranks, strict=True):
            ordered = np.sort(row[: num_matches[query]]).astype(np.int64)
            ap[query] = np.mean(np.arange(1, len(ordered) + 1) / ordered)
            inp[query] = len(ordered) / ordered[-1]
            first_rank[query] = ordered[0]
    hits = np.bincount(first_rank[valid] - 1, minlength=max_rank)[:max_rank]
    return RankingReport(
        mAP=float(ap[valid].mean()),
        mINP=float(inp[valid].mean()),
        cmc=np.cumsum(hits) / len(valid),
        ap=ap,
        num_valid_queries=len(valid),
        num_queries=len(num_matches),
    )


def _without_removed(
    distance: Float[Array, "t n"], query_group: Int[Array, "t"], gallery_group: Int[Array, "n"]
) -> Float[Array, "t n"]:
    removed: Bool[Array, "t n"] = query_group[:, None] == gallery_group[None, :]
    return jnp.where(removed, jnp.inf, distance)


@jax.jit
def _match_ranks(
    distance: Float[Array, "t n"],
    query_group: Int[Array, "t"],
    gallery_group: Int[Array, "n"],
    matches: Int[Array, "t p"],
    num_matches: Int[Array, ""],
) -> Int[Array, "t p"]:
    """Rank, from 1, of every match; only the first `num_matches` columns are computed.

    A match ranks behind the entries that are nearer and the equally near ones that stand before it
    in the gallery. Removed entries are infinitely far and so never ahead.
    """
    distance = _without_removed(distance, query_group, gallery_group)
    gallery_rows = jnp.arange(distance.shape[1], dtype=jnp.int32)[None, :]

    def count(column: Int[Array, ""], ranks: Int[Array, "t p"]) -> Int[Array, "t p"]:
        row = jax.lax.dynamic_slice_in_dim(matches, column, 1, axis=1)
        own = jnp.take_along_axis(distance, row, axis=1)
        ahead = (distance < own) | ((distance == own) & (gallery_rows < row))
        rank_of_match = 1 + jnp.sum(ahead, axis=1, keepdims=True, dtype=jnp.int32)
        return jax.lax.dynamic_update_slice_in_dim(ranks, rank_of_match, column, axis=1)

    return jax.lax.fori_loop(0, num_matches, count, jnp.zeros(matches.shape, jnp.int32))


@functools.partial(jax.jit, static_argnames="k")
def _nearest(
    distance: Float[Array, "t n"],
    query_group: Int[Array, "t"],
    gallery_group: Int[Array, "n"],
    k: int,
) -> tuple[Int[Array, "t k"], Float[Array, "t k"]]:
    """The k nearest entries; `top_k` puts the earlier of two equal ones first."""
    negated, rows = jax.lax.top_k(-_without_removed(distance, query_group, gallery_group), k)
    return rows, -negated
