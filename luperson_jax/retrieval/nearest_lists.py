"""Lists of the nearest gallery rows, into which tiles of distances are merged.

Equal distances go by row, the smallest first, however the tiles are cut. On a CPU the host merges:
a tile is compared with the last distance of every list, which few entries undercut after the first
tiles. There, a place of a list is one number, the key of a distance and its row: keys sort by
distance and, where distances are equal, by row. On an accelerator or a mesh the tiles are merged
where they are computed, into lists for each device, which are joined in the end.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from luperson_jax import sharding
from luperson_jax.retrieval.labels import NOBODYS, Labels
from luperson_jax.retrieval.seen import GalleryGroups, SeenByDevices, removed
from luperson_jax.retrieval.tiles import COLUMNS, EVERYWHERE, ROWS, Grid, OnDevices, Tile

MAX_CANDIDATES = 4
"""A tile with more candidates than this times k a row is narrowed before it is merged."""

_NONE = np.uint64(2**64 - 1)
"""Key of an empty place: behind every other key."""


class Neighbors(NamedTuple):
    """The nearest gallery rows of every query, nearest first.

    Attributes:
        rows: [Q, k] int32; -1 past the end of a gallery of fewer than k.
        distance: [Q, k] float32; inf where the row is -1.
    """

    rows: np.ndarray
    distance: np.ndarray


class HostLists:
    """Lists of all queries, kept by the host.

    Args:
        num_queries: Q; the rows of a tile follow each other.
        k: length of the lists.
        labels: which gallery rows a query sees; None for all.
        self_first: row i of both sides is the same image, and comes first in its list.
        symmetric: the tiles are those on and above the diagonal of one set with itself: each
            serves its rows and its columns.
    """

    def __init__(
        self,
        num_queries: int,
        k: int,
        labels: Labels | None = None,
        *,
        self_first: bool = False,
        symmetric: bool = False,
    ) -> None:
        self.farthest = np.full(num_queries, -np.inf, np.float32)
        self._labels, self._symmetric = labels, symmetric
        self._best = np.full((num_queries, k), _NONE)
        self._own = np.zeros(num_queries, np.float32) if self_first else None

    def add(self, tile: Tile) -> None:
        """Merges a tile; those of a query come in the order of their columns."""
        distance, start = tile.on_host(), int(tile.rows[0])
        rows = slice(start, start + len(tile.rows))
        columns = slice(tile.first, tile.first + tile.num)
        if self._labels is not None:
            group = self._labels.gallery_group[columns]
            unseen = (group == NOBODYS) | (self._labels.query_group[rows][:, None] == group)
            distance = np.where(unseen, np.float32(np.inf), distance)
        self.farthest[rows] = np.maximum(self.farthest[rows], distance.max(axis=1))
        if self._symmetric and tile.first != start:
            self.farthest[columns] = np.maximum(self.farthest[columns], distance.max(axis=0))
            _merge_tile(self._best[columns], distance, start, transposed=True)
        if self._own is not None and start < columns.stop and rows.stop > columns.start:
            here = np.arange(max(start, tile.first), min(rows.stop, columns.stop))
            distance, place = distance.copy(), (here - start, here - tile.first)
            self._own[here] = distance[place]
            distance[place] = -np.inf
        _merge_tile(self._best[rows], distance, tile.first)

    def finish(self) -> Neighbors:
        """The lists, after all tiles."""
        return _neighbors(self._best, self._own)


def lists_of_matrix(distance: Float[np.ndarray, "q n"], k: int, at_once: int) -> Neighbors:
    """The nearest of each row where all distances are known, `at_once` rows at a time."""
    best = np.full((len(distance), k), _NONE)
    for start in range(0, len(distance), at_once):
        rows = slice(start, start + at_once)
        _merge_tile(best[rows], np.asarray(distance[rows], np.float32), 0)
    return _neighbors(best, None)


def _merge_tile(
    best: np.ndarray, tile: np.ndarray, first: int, *, transposed: bool = False
) -> None:
    """Puts the entries of a tile into the lists where they are nearer than the last.

    Args:
        best: [a, k] keys in ascending order, changed in place. Tiles must come in the order of
            their columns: an entry as near as the last of a list is then behind it.
        tile: [a, b] distances of columns first, first + 1, ...; [b, a] if transposed.
        first: see `tile`.
        transposed: see `tile`.
    """
    k, axis = best.shape[1], 0 if transposed else 1
    last = np.expand_dims(_distance_of(best[:, -1]), axis)
    nearer = tile < last
    if np.count_nonzero(nearer) > MAX_CANDIDATES * k * len(best) and k < tile.shape[axis]:
        kth = np.take(np.partition(tile, k - 1, axis=axis), [k - 1], axis=axis)
        nearer &= tile <= kth
    flat = np.flatnonzero(nearer)
    if transposed:
        column, row = np.divmod(flat, len(best))
        order = np.argsort(row, kind="stable")
        column, row = column[order], row[order]
    else:
        row, column = np.divmod(flat, tile.shape[1])
    count = np.bincount(row, minlength=len(best))
    touched = np.flatnonzero(count)
    if len(touched) == 0:
        return
    begin = np.cumsum(count) - count
    place = np.cumsum(count > 0) - 1
    candidates = np.full((len(touched), count.max()), _NONE)
    distance = tile[(column, row) if transposed else (row, column)]
    candidates[place[row], np.arange(len(row)) - begin[row]] = _keys(distance, first + column)
    merged = np.concatenate([best[touched], candidates], axis=1)
    merged.sort(axis=1)
    best[touched] = merged[:, :k]


def _keys(distance: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Numbers in the order of distance, then row: the bits of a float count upwards like the
    float, once those of negative ones are turned around."""
    bits = (distance + np.float32(0)).view(np.uint32)  # -0 becomes 0, as they are equal
    sign = np.uint32(1 << 31)
    ordered = np.where(bits & sign, ~bits, bits | sign)
    return (ordered.astype(np.uint64) << np.uint64(32)) | row.astype(np.uint64)


def _distance_of(keys: np.ndarray) -> np.ndarray:
    """The distances in keys; inf for an empty place."""
    ordered = (keys >> np.uint64(32)).astype(np.uint32)
    sign = np.uint32(1 << 31)
    distance = np.where(ordered & sign, ordered & ~sign, ~ordered).view(np.float32)
    return np.where(keys == _NONE, np.float32(np.inf), distance)


def _neighbors(best: np.ndarray, own: np.ndarray | None) -> Neighbors:
    """`own` replaces the distances in column 0 by those of the image itself."""
    rows = best.astype(np.uint32).view(np.int32)  # the lower half; all ones are -1
    distance = _distance_of(best)
    if own is not None:
        distance[:, 0] = own
    return Neighbors(rows, distance)


class _Near(NamedTuple):
    """What each device has seen for a query block, its rows below those of the one before it."""

    distance: OnDevices  # [devices * t, k] ascending; inf where there are fewer
    rows: OnDevices  # [devices * t, k]
    farthest: OnDevices  # [devices * t]
    own: OnDevices  # [devices * t] distance of a row to itself, of the device that has met it


class DeviceLists:
    """`HostLists` on the devices of a mesh.

    Args:
        num_queries: Q.
        k: length of the lists.
        grid: of the tiles.
        labels: which gallery rows a query sees; None for all.
        self_first: row i of both sides is the same image, and comes first in its list.
    """

    def __init__(
        self,
        num_queries: int,
        k: int,
        grid: Grid,
        labels: Labels | None = None,
        *,
        self_first: bool = False,
    ) -> None:
        self._mesh, self._self_first = grid.mesh, self_first
        self.farthest = np.full(num_queries, -np.inf, np.float32)
        self._rows = np.full((num_queries, k), -1, np.int32)
        self._distance = np.full((num_queries, k), np.inf, np.float32)
        self._seen = SeenByDevices(labels, grid)
        self._near: dict[int, tuple[np.ndarray, _Near]] = {}

    def add(self, tile: Tile) -> None:
        """Merges a tile; those of a query come in the order of their columns."""
        if tile.block not in self._near:
            self._near[tile.block] = tile.rows, self._nothing(len(tile.distance))
        self._near[tile.block] = (
            tile.rows,
            _merge(
                self._near[tile.block][1],
                tile.distance,
                self._seen.query(tile),
                self._seen.gallery(tile),
                np.full(1, tile.rows[0] if self._self_first else -1, np.int32),
                mesh=self._mesh,
            ),
        )

    def finish(self) -> Neighbors:
        """The lists, after all tiles."""
        size = self._mesh.size
        for queries, near in self._near.values():
            distance, rows, farthest, own = (
                np.asarray(one).reshape(size, -1, *one.shape[1:])[:, : len(queries)] for one in near
            )
            # Device by device, as gallery rows ascend.
            distance, rows = (np.concatenate(one, axis=1) for one in (distance, rows))
            rows = np.where(np.isposinf(distance), np.int32(-1), rows)
            order = np.lexsort((rows, distance), axis=1)[:, : self._rows.shape[1]]
            self._rows[queries] = np.take_along_axis(rows, order, axis=1)
            self._distance[queries] = np.take_along_axis(distance, order, axis=1)
            self.farthest[queries] = farthest.max(axis=0)
            if self._self_first:
                self._distance[queries, 0] = own.sum(axis=0)
        return Neighbors(self._rows, self._distance)

    def _nothing(self, height: int) -> _Near:
        shape = (self._mesh.size * height, self._rows.shape[1])
        near = _Near(
            np.full(shape, np.inf, np.float32),
            np.full(shape, -1, np.int32),
            np.full(shape[0], -np.inf, np.float32),
            np.zeros(shape[0], np.float32),
        )
        return jax.device_put(near, sharding.over_batch(self._mesh))


@functools.partial(jax.jit, static_argnames="mesh", donate_argnames="near")
def _merge(
    near: _Near,
    tile: Float[Array, "t g"],
    group: Array,
    seen: GalleryGroups,
    first_query: Array,
    *,
    mesh: Mesh,
) -> _Near:
    """The nearest of those before and those of a tile. `top_k` puts the earlier of two equal ones
    first, and rows of a later tile are larger."""

    def local(
        near: _Near, tile: Array, group: Array, seen: GalleryGroups, first_query: Array
    ) -> _Near:
        unseen = removed(group, seen)
        farthest = jnp.max(jnp.where(unseen, -jnp.inf, tile), axis=1)
        tile = jnp.where(unseen, jnp.inf, tile)
        # Only where a first query is given, its rows are those of the gallery.
        query = first_query + jnp.arange(len(tile), dtype=jnp.int32)
        itself = (query[:, None] == seen.rows[None, :]) & ~unseen & (first_query >= 0)[:, None]
        own = jnp.sum(jnp.where(itself, tile, 0), axis=1)
        tile = jnp.where(itself, -jnp.inf, tile)
        distance = jnp.concatenate([near.distance, tile], axis=1)
        tile_rows = jnp.broadcast_to(seen.rows[None, :], tile.shape)
        rows = jnp.concatenate([near.rows, tile_rows], axis=1)
        negated, places = jax.lax.top_k(-distance, near.rows.shape[1])
        return _Near(
            -negated,
            jnp.take_along_axis(rows, places, axis=1),
            jnp.maximum(near.farthest, farthest),
            near.own + own,
        )

    specs = (ROWS, COLUMNS, EVERYWHERE, ROWS, EVERYWHERE)
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=ROWS)(
        near, tile, group, seen, first_query
    )
