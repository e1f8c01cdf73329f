"""Ranks of the matches of every query, counted and not sorted.

The rank of a match is one more than the number of gallery rows before it: those that are nearer,
and the equally near ones with a smaller row. So the distances of the few matches come first; then
one pass over the gallery counts, tile by tile, what is ahead of each. Neither a [Q, N] matrix nor a
whole row of it exists, and a gallery block is loaded once for all queries.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from luperson_jax import sharding
from luperson_jax.retrieval import tiles
from luperson_jax.retrieval.plans import Distances, GalleryLabels, OnDevices, Plan
from luperson_jax.retrieval.tiles import COLUMNS, EVERYWHERE, ROWS

MATCHES_AT_ONCE = 32
"""Matches of a query that are counted in one call."""
PICKED_AT_ONCE = 8192
"""Distances of matches that are read from a tile in one call."""
NEAREST, FARTHEST = np.iinfo(np.int32).min, np.iinfo(np.int32).max


class Thresholds(NamedTuple):
    """Some matches of a query block.

    Attributes:
        group: [t] int32 groups of the queries.
        distance: [t, w] float32.
        rows: [t, w] int32 gallery rows; -1 where there is no match.
        most: [1] int32 columns that hold a match.
    """

    group: OnDevices
    distance: OnDevices
    rows: OnDevices
    most: OnDevices


def ranks_of_features(
    query: tiles.HostRows, gallery: tiles.HostRows, plan: Plan, metric: str
) -> np.ndarray:
    """Ranks, from 1, of all matches of `plan.labels`, [M] int64 in their order."""
    own = _distances_of_matches(query, gallery, plan, metric)
    thresholds = [_thresholds(plan, block, own) for block in plan.blocks]
    counts = [[_no_counts(plan) for _ in chunks] for chunks in thresholds]
    labels = plan.gallery_labels()
    for number, place, tile in plan.feature_tiles(query, gallery, metric):
        _count_all(tile, thresholds[number], labels[place], counts[number], plan.mesh)
    ranks = np.zeros(len(own), np.int64)
    for block, chunks in zip(plan.blocks, counts, strict=True):
        _store(ranks, plan, block, chunks)
    return ranks


def ranks_of_rows(distances: Distances, plan: Plan) -> np.ndarray:
    """The same where a function gives the distances.

    Raises:
        InputError: a distance is not finite.
    """
    ranks = np.zeros(len(plan.labels.matches), np.int64)
    own = np.zeros(len(plan.labels.matches), np.float32)
    labels = plan.gallery_labels()
    for block in plan.blocks:
        matrix = plan.read_rows(distances, block)
        places, query_of = _places(plan, block)
        own[places] = matrix[query_of, plan.labels.matches[places]]
        thresholds = _thresholds(plan, block, own)
        counts = [_no_counts(plan) for _ in thresholds]
        for place, tile in plan.matrix_tiles(matrix):
            _count_all(tile, thresholds, labels[place], counts, plan.mesh)
        _store(ranks, plan, block, counts)
    return ranks


def _places(plan: Plan, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every match of a block: its place among all matches, and its query's in the block."""
    offsets, num_matches = plan.labels.offsets, plan.labels.num_matches[block]
    query_of = np.repeat(np.arange(len(block)), num_matches)
    first = np.cumsum(num_matches) - num_matches
    within = np.arange(len(query_of)) - first[query_of]
    return offsets[block][query_of] + within, query_of


class _Wanted(NamedTuple):
    """Matches of a query block whose gallery rows fit into one gallery block.

    `places` are those of the matches, `query_of` and `column` where a tile holds their distance.
    """

    block: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    query_of: np.ndarray
    column: np.ndarray


def _wanted(plan: Plan) -> Iterator[_Wanted]:
    matches = plan.labels.matches
    for block in plan.blocks:
        places, query_of = _places(plan, block)
        for rows in tiles.cut(np.unique(matches[places]), plan.shape.gallery):
            column = np.minimum(np.searchsorted(rows, matches[places]), len(rows) - 1)
            here = rows[column] == matches[places]
            for part in tiles.cut(np.flatnonzero(here), PICKED_AT_ONCE):
                yield _Wanted(block, rows, places[part], query_of[part], column[part])


def _distances_of_matches(
    query: tiles.HostRows, gallery: tiles.HostRows, plan: Plan, metric: str
) -> Float[np.ndarray, "m"]:
    """Distance of every match, to the bit what the tiles will hold: those of equal rows must tie.

    The rows of the matches are gathered into tiles of the same shape, another one on each device.
    """
    mesh, shape, over_devices = plan.mesh, plan.shape, sharding.over_batch(plan.mesh)
    own = np.zeros(len(plan.labels.matches), np.float32)
    work = list(_wanted(plan))
    picked = []
    for start in range(0, len(work), mesh.size):
        shared = work[start : start + mesh.size]
        queries, galleries = (
            tiles.prepare(
                jax.device_put(_stack(parts, size, mesh.size), over_devices),
                metric=metric,
                mesh=mesh,
                over=ROWS,
            )
            for parts, size in (
                ([query.take(one.block, shape.queries) for one in shared], shape.queries),
                ([gallery.take(one.rows, shape.gallery) for one in shared], shape.gallery),
            )
        )
        tile = tiles.paired_tiles(queries, galleries, metric=metric, mesh=mesh)
        where = [
            _stack([getattr(one, name) for one in shared], PICKED_AT_ONCE, mesh.size)
            for name in ("query_of", "column")
        ]
        picked.append(_pick(tile, *jax.device_put(where, over_devices), mesh=mesh))
    for start, values in zip(range(0, len(work), mesh.size), picked, strict=True):
        for one, row in zip(work[start:], np.asarray(values).reshape(mesh.size, -1), strict=False):
            own[one.places] = row[: len(one.places)]
    return own


def _stack(parts: list[np.ndarray], size: int, num: int) -> np.ndarray:
    """The parts after each other, each filled up to `size`, as if there were `num` of them."""
    if num == 1 and len(parts[0]) == size:
        return parts[0]
    dtype = np.float32 if parts[0].dtype == np.float32 else np.int32
    stacked = np.zeros((num, size, *parts[0].shape[1:]), dtype)
    for place, part in enumerate(parts):
        stacked[place, : len(part)] = part
    return stacked.reshape(num * size, *parts[0].shape[1:])


@functools.partial(jax.jit, static_argnames="mesh")
def _pick(
    tile: Float[Array, "t g"], rows: Int[Array, "p"], columns: Int[Array, "p"], *, mesh: Mesh
) -> Float[Array, "p"]:
    return jax.shard_map(
        lambda tile, rows, columns: tile[rows, columns], mesh=mesh, in_specs=ROWS, out_specs=ROWS
    )(tile, rows, columns)


def _columns(plan: Plan, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the matches of a block as a matrix, [t, multiple of `MATCHES_AT_ONCE`], and which
    of its entries are matches."""
    num_matches = np.zeros(plan.shape.queries, np.int64)
    first = np.zeros(plan.shape.queries, np.int64)
    num_matches[: len(block)] = plan.labels.num_matches[block]
    first[: len(block)] = plan.labels.offsets[block]
    width = -(-int(num_matches.max()) // MATCHES_AT_ONCE) * MATCHES_AT_ONCE
    column = np.arange(width)[None, :]
    is_match = column < num_matches[:, None]
    return np.where(is_match, first[:, None] + column, 0), is_match


def _thresholds(plan: Plan, block: np.ndarray, own: np.ndarray) -> list[Thresholds]:
    """The matches of a block, as many columns at a time as are counted in one call."""
    places, is_match = _columns(plan, block)
    group = np.zeros(plan.shape.queries, np.int32)
    group[: len(block)] = plan.labels.query_group[block]
    rows = np.where(is_match, plan.labels.matches[places], np.int32(-1))
    most = int(is_match.sum(1).max())
    chunks = []
    for start in range(0, most, MATCHES_AT_ONCE):
        part = slice(start, start + MATCHES_AT_ONCE)
        left = np.array([min(most - start, MATCHES_AT_ONCE)], np.int32)
        chunks.append(Thresholds(group, own[places[:, part]], rows[:, part], left))
    return jax.device_put(chunks, sharding.replicated(plan.mesh))


def _no_counts(plan: Plan) -> Int[Array, "t w"]:
    """What each device has counted, its rows below those of the one before it."""
    zeros = np.zeros((plan.mesh.size * plan.shape.queries, MATCHES_AT_ONCE), np.int32)
    return jax.device_put(zeros, sharding.over_batch(plan.mesh))


def _store(ranks: np.ndarray, plan: Plan, block: np.ndarray, counts: list[Array]) -> None:
    """Writes the ranks of a block, from what all devices have counted."""
    places, is_match = _columns(plan, block)
    summed = [
        np.asarray(count).reshape(plan.mesh.size, -1, MATCHES_AT_ONCE).sum(0) for count in counts
    ]
    ranks[places[is_match]] = 1 + np.concatenate(summed, axis=1)[is_match]


def _count_all(
    tile: Float[Array, "t g"],
    thresholds: list[Thresholds],
    labels: GalleryLabels,
    counts: list[Array],
    mesh: Mesh,
) -> None:
    """Adds to the counts of a query block what is ahead of its matches in one tile."""
    at_once = _at_once(mesh)
    for number, chunk in enumerate(thresholds):
        counts[number] = _count(tile, chunk, labels, counts[number], mesh=mesh, at_once=at_once)


def _at_once(mesh: Mesh) -> bool:
    """Whether all columns of matches are counted together. A loop over them, and only as many as
    there are, suits the cache of a CPU; on a GPU each turn of a loop would cost a call."""
    return mesh.devices.flat[0].platform != "cpu"


@functools.partial(jax.jit, static_argnames=("mesh", "at_once"), donate_argnames="counts")
def _count(
    tile: Float[Array, "t g"],
    thresholds: Thresholds,
    labels: GalleryLabels,
    counts: Int[Array, "n w"],
    *,
    mesh: Mesh,
    at_once: bool,
) -> Int[Array, "n w"]:
    def local(
        tile: Array, thresholds: Thresholds, labels: GalleryLabels, counts: Array
    ) -> Int[Array, "t w"]:
        removed = (labels.group < 0)[None, :]
        removed = removed | (thresholds.group[:, None] == labels.group[None, :])
        keys = jnp.where(removed, jnp.int32(FARTHEST), _ordered(tile))
        is_match = thresholds.rows >= 0
        own = jnp.where(is_match, _ordered(thresholds.distance), jnp.int32(NEAREST))
        if at_once:
            return counts + _num_ahead(
                keys[:, None, :], own[:, :, None], thresholds.rows[:, :, None], labels.rows
            )

        def count(column: Array, counts: Array) -> Array:
            parts = (
                jax.lax.dynamic_slice_in_dim(array, column, 1, axis=1)
                for array in (own, thresholds.rows, counts)
            )
            one_own, one_row, before = parts
            ahead = before + _num_ahead(keys, one_own, one_row, labels.rows)[:, None]
            return jax.lax.dynamic_update_slice_in_dim(counts, ahead, column, axis=1)

        return jax.lax.fori_loop(0, thresholds.most[0], count, counts)

    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(COLUMNS, EVERYWHERE, ROWS, ROWS),
        out_specs=ROWS,
    )(tile, thresholds, labels, counts)


def _ordered(distance: Float[Array, "*s"]) -> Int[Array, "*s"]:
    """Integers that order like the distances. Devices that flush small floats to zero would take
    different ones for equal."""
    bits = jax.lax.bitcast_convert_type(distance, jnp.int32)
    return jnp.where(bits < 0, jnp.int32(NEAREST) - bits, bits)


def _num_ahead(
    keys: Int[Array, "*s g"],
    own: Int[Array, "*t 1"],
    own_row: Int[Array, "*t 1"],
    gallery_rows: Int[Array, "g"],
) -> Int[Array, "*u"]:
    """How many gallery rows stand before a match: an equally near one does if its row is smaller,
    and it is smaller than the next integer."""
    gallery_rows = gallery_rows.reshape((1,) * (keys.ndim - 1) + (-1,))
    ahead = keys < own + (gallery_rows < own_row).astype(jnp.int32)
    return jnp.sum(ahead, axis=-1, dtype=jnp.int32)
