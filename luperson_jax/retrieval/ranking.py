"""Exact ranking of a gallery by distance, and the measures of the Market-1501 protocol.

Zheng et al., "Scalable Person Re-identification: A Benchmark", 2015 (mAP, CMC, the removal rule);
Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", 2021 (mINP).

A query is compared with every gallery image except those of its own identity from its own camera.
Nearer is better, and equal distances rank by gallery row. Features are read from the host in
blocks, so that memory-mapped ones may be larger than memory, and several devices share the gallery;
neither changes a result.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from luperson_jax import sharding
from luperson_jax.retrieval import counting, inputs, measures, tiles
from luperson_jax.retrieval.labels import make_labels
from luperson_jax.retrieval.plans import Distances, GalleryLabels, OnDevices, Plan
from luperson_jax.retrieval.tiles import COLUMNS, EVERYWHERE, ROWS, TileShape
from luperson_jax.structs import EmbeddingSet, RankingReport


class TopMatches(NamedTuple):
    """The nearest gallery images of every query, nearest first.

    Attributes:
        rows: [Q, k] int32 row of the gallery; -1 past the last image that may be shown.
        correct: [Q, k] bool, the identity is known and that of the query.
        distance: [Q, k] float32; inf where the row is -1.
    """

    rows: np.ndarray
    correct: np.ndarray
    distance: np.ndarray


def rank(
    query: np.ndarray,
    query_pid: np.ndarray,
    query_camera: np.ndarray,
    gallery: np.ndarray | Sequence[np.ndarray],
    gallery_pid: np.ndarray,
    gallery_camera: np.ndarray,
    *,
    metric: str = "cosine",
    max_rank: int = 50,
    removal: str = "same_identity_and_camera",
    junk: np.ndarray | None = None,
    count_unmatched: bool = False,
    tile: TileShape | None = None,
    mesh: Mesh | None = None,
) -> RankingReport:
    """Ranks the gallery for every query and reports mAP, mINP and CMC.

    A query without a match among the images that are not removed is left out of the averages. So is
    a query of nobody known (identity -1); a gallery image of nobody known is junk, which no query
    sees, unless `junk` says otherwise.

    Args:
        query: [Q, D] features; not necessarily normalized, perhaps memory-mapped.
        query_pid: [Q] identities, any integers.
        query_camera: [Q] cameras, any integers.
        gallery: [N, D] features, or several arrays that are ranked as if joined in this order.
        gallery_pid: [N], of all arrays.
        gallery_camera: [N].
        metric: "cosine" (1 - cosine similarity) or "euclidean".
        max_rank: length of the CMC; may exceed N.
        removal: gallery images that a query does not see: "same_identity_and_camera", "nothing", or
            "same_camera", whatever they show (separate camera sets).
        junk: [N] bool, True for gallery images that no query sees; by default those of identity
            -1. Where it is given, no identity is special, not even -1.
        count_unmatched: whether a query without a match counts in the averages, as 0.
        tile: queries and gallery rows that a device compares at once; by default what suits it.
        mesh: devices that share the gallery; by default all of this process.

    Returns:
        The report, its numbers between 0 and 1.

    Raises:
        InputError: empty, misshapen or non-finite input, an unknown metric or removal, or no query
            with a match.
    """
    inputs.check_pair(query, gallery, metric)
    sides = tiles.HostRows(query), tiles.HostRows(gallery)
    columns = query_pid, query_camera, gallery_pid, gallery_camera
    labels = make_labels(*columns, sizes=(len(sides[0]), len(sides[1])), removal=removal, junk=junk)
    measures.check_max_rank(max_rank)
    measures.check_any_match(labels.num_matches)
    ranks = counting.ranks_of_features(*sides, Plan.of_matches(labels, tile, mesh), metric)
    return measures.make_report(
        labels.offsets, ranks, max_rank=max_rank, count_unmatched=count_unmatched
    )


def rank_embeddings(
    query: EmbeddingSet,
    gallery: EmbeddingSet | Sequence[EmbeddingSet],
    *,
    metric: str = "cosine",
    max_rank: int = 50,
    removal: str = "same_identity_and_camera",
    junk: np.ndarray | None = None,
    count_unmatched: bool = False,
) -> RankingReport:
    """`rank` for embedded sets; several galleries are ranked as one."""
    galleries = [gallery] if isinstance(gallery, EmbeddingSet) else list(gallery)
    if not galleries:
        raise InputError("the gallery is an empty list; give at least one embedded set")
    return rank(
        query.features,
        query.pid,
        query.camera,
        [one.features for one in galleries],
        np.concatenate([one.pid for one in galleries]),
        np.concatenate([one.camera for one in galleries]),
        metric=metric,
        max_rank=max_rank,
        removal=removal,
        junk=junk,
        count_unmatched=count_unmatched,
    )


def rank_rows(
    distances: Distances,
    query_pid: np.ndarray,
    query_camera: np.ndarray,
    gallery_pid: np.ndarray,
    gallery_camera: np.ndarray,
    *,
    max_rank: int = 50,
    removal: str = "same_identity_and_camera",
    junk: np.ndarray | None = None,
    count_unmatched: bool = False,
    tile: TileShape | None = None,
    mesh: Mesh | None = None,
) -> RankingReport:
    """`rank` for distances that a function knows, such as re-ranked ones.

    Args:
        distances: rows of the query set, [t] -> their distances to the whole gallery, [t, N],
            compared as float32. Called once for every query that has a match, in any order.
        query_pid: [Q].
        query_camera: [Q].
        gallery_pid: [N].
        gallery_camera: [N].
        max_rank: length of the CMC.
        removal: as `rank`.
        junk: as `rank`.
        count_unmatched: as `rank`.
        tile: as `rank`.
        mesh: as `rank`.

    Returns:
        The report.

    Raises:
        InputError: as `rank`.
    """
    labels = make_labels(
        query_pid, query_camera, gallery_pid, gallery_camera, removal=removal, junk=junk
    )
    measures.check_max_rank(max_rank)
    measures.check_any_match(labels.num_matches)
    ranks = counting.ranks_of_rows(distances, Plan.of_matches(labels, tile, mesh))
    return measures.make_report(
        labels.offsets, ranks, max_rank=max_rank, count_unmatched=count_unmatched
    )


def rank_distances(
    distance: np.ndarray,
    query_pid: np.ndarray,
    query_camera: np.ndarray,
    gallery_pid: np.ndarray,
    gallery_camera: np.ndarray,
    *,
    max_rank: int = 50,
    removal: str = "same_identity_and_camera",
    junk: np.ndarray | None = None,
    count_unmatched: bool = False,
) -> RankingReport:
    """`rank_rows` of a matrix.

    Args:
        distance: [Q, N], compared as float32.
        query_pid: [Q].
        query_camera: [Q].
        gallery_pid: [N].
        gallery_camera: [N].
        max_rank: length of the CMC.
        removal: as `rank`.
        junk: as `rank`.
        count_unmatched: as `rank`.

    Returns:
        The report.

    Raises:
        InputError: as `rank`.
    """
    distance = np.asarray(distance)
    if distance.ndim != 2 or 0 in distance.shape:
        raise InputError(
            f"the distances have shape {distance.shape}; expected [queries, gallery images], both "
            "at least 1"
        )
    inputs.check_column("query pid", query_pid, distance.shape[0])
    inputs.check_column("gallery pid", gallery_pid, distance.shape[1])
    return rank_rows(
        lambda rows: distance[rows],
        query_pid,
        query_camera,
        gallery_pid,
        gallery_camera,
        max_rank=max_rank,
        removal=removal,
        junk=junk,
        count_unmatched=count_unmatched,
    )


def top_matches(
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    *,
    k: int,
    metric: str = "cosine",
    distances: Distances | None = None,
    removal: str = "same_identity_and_camera",
    junk: np.ndarray | None = None,
    tile: TileShape | None = None,
    mesh: Mesh | None = None,
) -> TopMatches:
    """The k nearest gallery images of every query, for ranked lists.

    Args:
        query: the Q queries.
        gallery: the N gallery images.
        k: length of the lists, >= 1; may exceed N.
        metric: "cosine" or "euclidean".
        distances: as in `rank_rows`; the features do not matter then.
        removal: as `rank`.
        junk: as `rank`; where nobody in the gallery is known, none of it is by default.
        tile: as `rank`.
        mesh: as `rank`.

    Returns:
        See `TopMatches`; the order is that of `rank`.

    Raises:
        InputError: as `rank`, but queries without a match are welcome.
    """
    if k < 1:
        raise InputError(f"a ranked list of length {k} was asked for; expected at least 1")
    inputs.check_pair(query.features, gallery.features, metric)
    sides = tiles.HostRows(query.features), tiles.HostRows(gallery.features)
    columns = query.pid, query.camera, gallery.pid, gallery.camera
    labels = make_labels(*columns, sizes=(len(sides[0]), len(sides[1])), removal=removal, junk=junk)
    plan = Plan.of_queries(labels, tile, mesh)
    shown = min(k, plan.num_gallery)
    if distances is None:
        found = _nearest_by_features(*sides, plan, metric, shown)
    else:
        found = _nearest_by_rows(distances, plan, shown)
    rows = np.full((len(query.pid), k), -1, np.int32)
    distance = np.full((len(query.pid), k), np.inf, np.float32)
    for block, near in zip(plan.blocks, found, strict=True):
        rows[block, :shown], distance[block, :shown] = _join_devices(near, plan, block)
    same = (gallery.pid[rows] == query.pid[:, None]) & (query.pid[:, None] != UNLABELLED)
    correct = (rows >= 0) & same
    return TopMatches(rows, correct, distance)


class _Near(NamedTuple):
    """The nearest rows that each device has seen for a query block, its rows below those of the
    one before it; row -1 and inf where there are fewer."""

    distance: OnDevices
    rows: OnDevices


def _nearest_by_features(
    query: tiles.HostRows, gallery: tiles.HostRows, plan: Plan, metric: str, k: int
) -> list[_Near]:
    found = [_none_yet(plan, k) for _ in plan.blocks]
    groups = [_query_group(plan, block) for block in plan.blocks]
    labels = plan.gallery_labels()
    for number, place, tile in plan.feature_tiles(query, gallery, metric):
        found[number] = _merge(found[number], tile, groups[number], labels[place], mesh=plan.mesh)
    return found


def _nearest_by_rows(distances: Distances, plan: Plan, k: int) -> list[_Near]:
    found = []
    labels = plan.gallery_labels()
    for block in plan.blocks:
        near, group = _none_yet(plan, k), _query_group(plan, block)
        for place, tile in plan.matrix_tiles(plan.read_rows(distances, block)):
            near = _merge(near, tile, group, labels[place], mesh=plan.mesh)
        found.append(near)
    return found


def _none_yet(plan: Plan, k: int) -> _Near:
    shape = (plan.mesh.size * plan.shape.queries, k)
    nothing = _Near(np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int32))
    return jax.device_put(nothing, sharding.over_batch(plan.mesh))


def _query_group(plan: Plan, block: np.ndarray) -> Int[Array, "t"]:
    group = np.zeros(plan.shape.queries, np.int32)
    group[: len(block)] = plan.labels.query_group[block]
    return jax.device_put(group, sharding.replicated(plan.mesh))


@functools.partial(jax.jit, static_argnames="mesh")
def _merge(
    near: _Near, tile: Float[Array, "t g"], group: Array, labels: GalleryLabels, *, mesh: Mesh
) -> _Near:
    """The nearest of those before and those of a tile. `top_k` puts the earlier of two equal ones
    first, and rows of a later tile are larger."""

    def local(near: _Near, tile: Array, group: Array, labels: GalleryLabels) -> _Near:
        removed = (labels.group < 0)[None, :] | (group[:, None] == labels.group[None, :])
        distance = jnp.concatenate([near.distance, jnp.where(removed, jnp.inf, tile)], axis=1)
        tile_rows = jnp.broadcast_to(labels.rows[None, :], tile.shape)
        rows = jnp.concatenate([near.rows, tile_rows], axis=1)
        negated, places = jax.lax.top_k(-distance, near.rows.shape[1])
        return _Near(-negated, jnp.take_along_axis(rows, places, axis=1))

    specs = (ROWS, COLUMNS, EVERYWHERE, ROWS)
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=ROWS)(
        near, tile, group, labels
    )


def _join_devices(
    near: _Near, plan: Plan, block: np.ndarray
) -> tuple[Int[np.ndarray, "t k"], Float[np.ndarray, "t k"]]:
    """Rows and distances of a block's lists: the nearest of all devices."""
    k = near.rows.shape[1]
    distance, rows = (
        np.asarray(part).reshape(plan.mesh.size, -1, k)[:, : len(block)].transpose(1, 0, 2)
        for part in near
    )
    distance, rows = distance.reshape(len(block), -1), rows.reshape(len(block), -1)
    rows = np.where(np.isinf(distance), np.int32(-1), rows)
    order = np.lexsort((rows, distance), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distance, order, axis=1)
