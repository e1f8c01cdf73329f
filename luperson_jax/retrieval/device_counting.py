"""`counting` where an accelerator or a mesh compares: each device counts in its share of a tile.

A tile itself comes to the host only where scores are too close for float32.
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
from luperson_jax.retrieval import counting, tiles
from luperson_jax.retrieval.counting import Band, Counter
from luperson_jax.retrieval.execution import Execution
from luperson_jax.retrieval.grid_gallery import GridGallery
from luperson_jax.retrieval.grid_rows import (
    GridRows,
    error_bound,
    exact_pairs,
    exact_scores,
    on_grid,
)
from luperson_jax.retrieval.labels import NOBODYS, Labels
from luperson_jax.retrieval.rows import HostRows
from luperson_jax.retrieval.tiles import COLUMNS, EVERYWHERE, ROWS, Grid, OnDevices

MATCHES_AT_ONCE = 32
"""Matches of a query that are counted in one call."""


class Side(NamedTuple):
    """A block of rows on the devices.

    Attributes:
        rows: [n, D] float32 on the grid.
        offset: [n] float32 as in `GridRows`.
        group: [n] int32 as in `Labels`; `NOBODYS` for padding.
        identity: [n] int32.
    """

    rows: OnDevices
    offset: OnDevices
    group: OnDevices
    identity: OnDevices


class Compared(NamedTuple):
    """Two blocks whose scores and counts are on their way.

    Attributes:
        block: rows of the query set.
        first, num: gallery rows.
        left, right: both blocks on the host.
        band: of the matches of the block.
        scores: [t, g * devices] float32; inf for what does not count.
        below: for every `MATCHES_AT_ONCE` matches of a query, [devices * t, 2, matches]: the
            scores below the bands, and below or within.
    """

    block: np.ndarray
    first: int
    num: int
    left: GridRows
    right: GridRows
    band: Band
    scores: Array
    below: list[Array]


def ranks_of_features(
    query: HostRows, gallery: HostRows, labels: Labels, metric: str, execution: Execution
) -> np.ndarray:
    """As that of `match_ranks`."""
    grid, counter = tiles.grid_of(execution), Counter(labels)
    rights = GridGallery(gallery, metric, grid.width)
    for blocks in counting.passes(labels, grid.shape.queries, query.shape[1]):
        lefts = [on_grid(query.take(block, len(block)), metric) for block in blocks]
        for block, left in zip(blocks, lefts, strict=True):
            counting.score_matches(counter, block, left, rights)
        walk = _walk(counter, list(zip(blocks, lefts, strict=True)), rights, grid)
        for compared in tiles.one_ahead(walk):
            _settle(counter, compared, grid)
    return counter.ranks()


def _walk(
    counter: Counter,
    queries: list[tuple[np.ndarray, GridRows]],
    gallery: GridGallery,
    grid: Grid,
) -> Iterator[Compared]:
    labels, mesh = counter.labels, grid.mesh
    whole, cut = sharding.replicated(mesh), sharding.over_batch(mesh)
    size = grid.shape.queries
    sides = [
        jax.device_put(_side(left, labels.query_group[block], labels.identity[block], size), whole)
        for block, left in queries
    ]
    for first in gallery.firsts:
        right = gallery.block(first)
        num = len(right.rows)
        group, identity = (
            one[first : first + num] for one in (labels.gallery_group, labels.gallery_identity)
        )
        columns = _side(right, group, identity, grid.width)
        columns = jax.device_put(columns, cut)
        for (block, left), side in zip(queries, sides, strict=True):
            places, query_of = counter.places(block)
            band = Band.around(counter.own[places], error_bound(left, right))
            scores = _scores(side, columns, weight=right.weight, mesh=mesh)
            below = [
                _num_below(scores, *edges, mesh=mesh, at_once=_at_once(mesh))
                for edges in _edges(band, query_of, grid)
            ]
            yield Compared(block, first, num, left, right, band, scores, below)


def _side(some: GridRows, group: np.ndarray, identity: np.ndarray, size: int) -> Side:
    """A block, filled up with rows that nobody sees."""
    padding = (0, size - len(some.rows))
    labels = (np.pad(one, padding, constant_values=NOBODYS) for one in (group, identity))
    rows = np.pad(some.rows, (padding, (0, 0))) if padding[1] else some.rows
    offset = np.pad(some.offset, padding).astype(np.float32)
    return Side(rows, offset, *(one.astype(np.int32) for one in labels))


def _edges(band: Band, query_of: np.ndarray, grid: Grid) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of `MATCHES_AT_ONCE` matches of each query at a time, [t, 2, matches] float32 the lower
    ends of the bands and what follows the upper ones, and [1] int32 how many matches they hold."""
    column = _column(query_of)
    most = int(column.max()) + 1
    width = -(-most // MATCHES_AT_ONCE) * MATCHES_AT_ONCE
    edges = np.full((grid.shape.queries, 2, width), -np.inf, np.float32)
    edges[query_of, :, column] = band.edges.T
    for start in range(0, width, MATCHES_AT_ONCE):
        held = np.array([min(most - start, MATCHES_AT_ONCE)], np.int32)
        yield edges[:, :, start : start + MATCHES_AT_ONCE], held


def _column(query_of: np.ndarray) -> np.ndarray:
    """Of every match its number among those of its query."""
    return np.arange(len(query_of)) - np.searchsorted(query_of, query_of)


def _settle(counter: Counter, compared: Compared, grid: Grid) -> None:
    block, first, num, left, right, band, scores, below = compared
    _, query_of = counter.places(block)
    summed = np.concatenate(
        [np.asarray(one).reshape(grid.mesh.size, -1, *one.shape[1:]).sum(0) for one in below], -1
    )
    counts = summed[query_of, :, _column(query_of)].T.astype(np.int64)

    exactly = functools.partial(exact_pairs, left, right)
    close = bool((counts[0] != counts[1]).any())
    here = (
        np.asarray(scores)[: len(block), :num] if close else np.empty((len(block), 0), np.float32)
    )
    within = functools.partial(counting.within_rows, here, band, query_of)
    if not counter.settle(block, band, counts, len(block) * num, within, exactly):
        counter.add_known(block, first, exact_scores(left.wide(), right, slice(0, num)))


def _at_once(mesh: Mesh) -> bool:
    """Whether all columns of matches are counted together. A loop over them, and only as many as
    there are, suits the cache of a CPU; on a GPU each turn of a loop would cost a call."""
    return mesh.devices.flat[0].platform != "cpu"


@functools.partial(jax.jit, static_argnames=("weight", "mesh"))
def _scores(query: Side, gallery: Side, *, weight: int, mesh: Mesh) -> Float[Array, "t g"]:
    def local(query: Side, gallery: Side) -> Float[Array, "t g"]:
        product = jnp.matmul(query.rows, gallery.rows.T, precision=jax.lax.Precision.HIGHEST)
        hidden = query.identity[:, None] == gallery.identity[None, :]
        hidden |= query.group[:, None] == gallery.group[None, :]
        hidden |= gallery.group[None, :] == NOBODYS
        return jnp.where(hidden, jnp.inf, gallery.offset[None, :] - weight * product)

    return jax.shard_map(local, mesh=mesh, in_specs=(EVERYWHERE, ROWS), out_specs=COLUMNS)(
        query, gallery
    )


@functools.partial(jax.jit, static_argnames=("mesh", "at_once"))
def _num_below(
    scores: Float[Array, "t g"],
    edges: Float[Array, "t 2 w"],
    held: Int[Array, "1"],
    *,
    mesh: Mesh,
    at_once: bool,
) -> Int[Array, "n 2 w"]:
    """How many scores are below each edge, of each device's share."""

    def local(scores: Array, edges: Array, held: Array) -> Int[Array, "t 2 w"]:
        if at_once:
            below = scores[:, None, None, :] < edges[:, :, :, None]
            return jnp.sum(below, axis=-1, dtype=jnp.int32)

        def count(column: Array, counts: Array) -> Array:
            one = jax.lax.dynamic_slice_in_dim(edges, column, 1, axis=2)
            below = jnp.sum(scores[:, None, :] < one, axis=-1, keepdims=True, dtype=jnp.int32)
            return jax.lax.dynamic_update_slice_in_dim(counts, below, column, axis=2)

        counts = jax.lax.pcast(jnp.zeros(edges.shape, jnp.int32), sharding.DATA_AXIS, to="varying")
        return jax.lax.fori_loop(0, held[0], count, counts)

    return jax.shard_map(
        local, mesh=mesh, in_specs=(COLUMNS, EVERYWHERE, EVERYWHERE), out_specs=ROWS
    )(scores, edges, held)
