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
from luperson_jax.retrieval.labels import Labels
from luperson_jax.retrieval.rows import HostRows, cut
from luperson_jax.retrieval.seen import GalleryGroups, SeenByDevices, removed
from luperson_jax.retrieval.tiles import COLUMNS, EVERYWHERE, ROWS, Execution, OnDevices, Tile

MATCHES_AT_ONCE = 32
"""Matches of a query that are counted in one call."""
NEAREST, FARTHEST = np.iinfo(np.int32).min, np.iinfo(np.int32).max


class Thresholds(NamedTuple):
    """Some matches of a query block.

    Attributes:
        distance: [t, w] float32.
        rows: [t, w] int32 gallery rows; -1 where there is no match.
        most: [1] int32 columns that hold a match.
    """

    distance: OnDevices
    rows: OnDevices
    most: OnDevices


def ranks_of_features(
    query: HostRows, gallery: HostRows, labels: Labels, metric: str, execution: Execution
) -> np.ndarray:
    """Ranks, from 1, of all matches of `labels`, [M] int64 in their order."""
    counter = RankCounter(labels, execution)
    counter.own = _distances_of_matches(query, gallery, counter, metric)
    for number in range(len(counter.blocks)):
        counter.begin(number)
    for tile in tiles.walk(query, gallery, counter.blocks, metric, counter.grid):
        counter.add(tile)
    return counter.finish()


def ranks_of_rows(
    distances: tiles.KnownDistances, labels: Labels, execution: Execution
) -> np.ndarray:
    """The same where a function gives the distances.

    Raises:
        InputError: a distance is not finite.
    """
    counter = RankCounter(labels, execution)
    for number, block in enumerate(counter.blocks):
        matrix = tiles.read_rows(distances, block, len(labels.gallery_group))
        places, query_of = counter.places(block)
        counter.own[places] = matrix[query_of, labels.matches[places]]
        counter.begin(number)
        for tile in tiles.tiles_of_matrix(matrix, number, block, counter.grid):
            counter.add(tile)
    return counter.finish()


class RankCounter:
    """Counts, tile by tile, what stands before each match.

    Attributes:
        labels: of all queries and gallery rows.
        grid: of the tiles.
        blocks: rows of the queries that have a match.
        own: [M] float32 distances of the matches, to be known before a block begins.
    """

    def __init__(self, labels: Labels, execution: Execution) -> None:
        self.labels, self.grid = labels, execution.grid()
        self.shape, self.mesh = self.grid
        self.blocks = _blocks(labels, self.shape.queries)
        self.own = np.zeros(len(labels.matches), np.float32)
        self._seen = SeenByDevices(labels, self.grid)
        self._thresholds: dict[int, list[Thresholds]] = {}
        self._counts: dict[int, list[Array]] = {}

    def places(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of every match of a block: its place among all matches, and its query's in the block."""
        offsets, num_matches = self.labels.offsets, self.labels.num_matches[block]
        query_of = np.repeat(np.arange(len(block)), num_matches)
        first = np.cumsum(num_matches) - num_matches
        within = np.arange(len(query_of)) - first[query_of]
        return offsets[block][query_of] + within, query_of

    def begin(self, number: int) -> None:
        """Puts the matches of a block on the devices, as many columns at a time as are counted in
        one call."""
        block = self.blocks[number]
        places, is_match = self._columns(block)
        rows = np.where(is_match, self.labels.matches[places], np.int32(-1))
        most = int(is_match.sum(1).max())
        chunks = []
        for start in range(0, most, MATCHES_AT_ONCE):
            part = slice(start, start + MATCHES_AT_ONCE)
            left = np.array([min(most - start, MATCHES_AT_ONCE)], np.int32)
            chunks.append(Thresholds(self.own[places[:, part]], rows[:, part], left))
        self._thresholds[number] = jax.device_put(chunks, sharding.replicated(self.mesh))
        zeros = np.zeros((self.mesh.size * self.shape.queries, MATCHES_AT_ONCE), np.int32)
        placed = sharding.over_batch(self.mesh)
        self._counts[number] = [jax.device_put(zeros, placed) for _ in chunks]

    def add(self, tile: Tile) -> None:
        """Adds what is ahead of the matches of a block in one tile."""
        group, seen = self._seen.query(tile), self._seen.gallery(tile)
        counts, how = self._counts[tile.block], {"mesh": self.mesh, "at_once": _at_once(self.mesh)}
        for place, chunk in enumerate(self._thresholds[tile.block]):
            counts[place] = _count(tile.distance, group, chunk, seen, counts[place], **how)

    def finish(self) -> np.ndarray:
        """Ranks of all matches, from what all devices have counted."""
        ranks = np.zeros(len(self.labels.matches), np.int64)
        for number, counts in self._counts.items():
            places, is_match = self._columns(self.blocks[number])
            summed = [
                np.asarray(one).reshape(self.mesh.size, -1, MATCHES_AT_ONCE).sum(0)
                for one in counts
            ]
            ranks[places[is_match]] = 1 + np.concatenate(summed, axis=1)[is_match]
        return ranks

    def _columns(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of the matches of a block as a matrix, [t, multiple of `MATCHES_AT_ONCE`], and
        which of its entries are matches."""
        num_matches = np.zeros(self.shape.queries, np.int64)
        first = np.zeros(self.shape.queries, np.int64)
        num_matches[: len(block)] = self.labels.num_matches[block]
        first[: len(block)] = self.labels.offsets[block]
        width = -(-int(num_matches.max()) // MATCHES_AT_ONCE) * MATCHES_AT_ONCE
        column = np.arange(width)[None, :]
        is_match = column < num_matches[:, None]
        return np.where(is_match, first[:, None] + column, 0), is_match


def _blocks(labels: Labels, size: int) -> list[np.ndarray]:
    """The queries that have a match, in blocks.

    Queries of one identity follow each other, so that a block has few distinct matches; and
    identities with about as many matches do, so that no block waits for a single long list.
    """
    num_matches = labels.num_matches
    most = np.zeros(int(labels.identity.max()) + 1, np.int64)
    np.maximum.at(most, labels.identity, num_matches)
    valid = np.flatnonzero(num_matches)
    identity = labels.identity[valid]
    return cut(valid[np.lexsort((identity, most[identity]))], size)


def _distances_of_matches(
    query: HostRows, gallery: HostRows, counter: RankCounter, metric: str
) -> Float[np.ndarray, "m"]:
    """Distance of every match, to the bit what the tiles will hold: those of equal rows must tie.

    The gallery rows of the matches of a block are gathered into tiles of the same shape.
    """
    own, matches, grid = counter.own.copy(), counter.labels.matches, counter.grid

    def gathered() -> Iterator[Tile]:
        for block in counter.blocks:
            rows = np.unique(matches[counter.places(block)[0]])
            for number, part in enumerate(cut(rows, grid.width)):
                some = HostRows(gallery.take(part, len(part)))
                (tile,) = tiles.walk(query, some, [block], metric, grid)
                yield tile._replace(first=number * grid.width)

    for tile in tiles.one_ahead(gathered()):
        places, query_of = counter.places(tile.rows)
        wanted = matches[places]
        column = np.searchsorted(np.unique(wanted), wanted) - tile.first
        here = (column >= 0) & (column < tile.num)
        own[places[here]] = tile.on_host()[query_of[here], column[here]]
    return own


def _at_once(mesh: Mesh) -> bool:
    """Whether all columns of matches are counted together. A loop over them, and only as many as
    there are, suits the cache of a CPU; on a GPU each turn of a loop would cost a call."""
    return mesh.devices.flat[0].platform != "cpu"


@functools.partial(jax.jit, static_argnames=("mesh", "at_once"), donate_argnames="counts")
def _count(
    tile: Float[Array, "t g"],
    group: Int[Array, "t"],
    thresholds: Thresholds,
    seen: GalleryGroups,
    counts: Int[Array, "n w"],
    *,
    mesh: Mesh,
    at_once: bool,
) -> Int[Array, "n w"]:
    def local(
        tile: Array, group: Array, thresholds: Thresholds, seen: GalleryGroups, counts: Array
    ) -> Int[Array, "t w"]:
        keys = jnp.where(removed(group, seen), jnp.int32(FARTHEST), _ordered(tile))
        is_match = thresholds.rows >= 0
        own = jnp.where(is_match, _ordered(thresholds.distance), jnp.int32(NEAREST))
        if at_once:
            return counts + _num_ahead(
                keys[:, None, :], own[:, :, None], thresholds.rows[:, :, None], seen.rows
            )

        def count(column: Array, counts: Array) -> Array:
            parts = (
                jax.lax.dynamic_slice_in_dim(array, column, 1, axis=1)
                for array in (own, thresholds.rows, counts)
            )
            one_own, one_row, before = parts
            ahead = before + _num_ahead(keys, one_own, one_row, seen.rows)[:, None]
            return jax.lax.dynamic_update_slice_in_dim(counts, ahead, column, axis=1)

        return jax.lax.fori_loop(0, thresholds.most[0], count, counts)

    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(COLUMNS, EVERYWHERE, EVERYWHERE, ROWS, ROWS),
        out_specs=ROWS,
    )(tile, group, thresholds, seen, counts)


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
