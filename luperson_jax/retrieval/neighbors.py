"""Exact nearest neighbors among any number of features, without a matrix of all distances.

Distances are computed in tiles and every tile is merged into the lists of the nearest so far. Equal
distances go by row, the smallest first, however the tiles are cut.

On a CPU, a tile is compared with the last distance of every list, which few entries undercut after
the first tiles; and where a set is searched for neighbors of its own members, each tile serves its
rows and its columns. On an accelerator or a mesh the tiles are merged where they are computed.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from data_pipeline.errors import InputError
from luperson_jax import platforms
from luperson_jax.retrieval import inputs, merging
from luperson_jax.retrieval.merging import Neighbors
from luperson_jax.retrieval.tiles import HostRows, local_mesh
from luperson_jax.sharding import DATA_AXIS, over_batch, replicated
from luperson_jax.vectors import METRICS, pairwise_distances

TILE_ROWS = 1024
"""Rows and columns of a tile: 4 MB of distances, which stay in the cache of a CPU."""
DEVICE_TILE_ROWS = 8192
"""Gallery rows of a tile on an accelerator or a mesh."""
MIN_TILE_ROWS = 64
"""Smaller sets are filled up, to compile for few shapes."""


def nearest(
    query: np.ndarray,
    gallery: np.ndarray,
    k: int,
    *,
    metric: str = "cosine",
    self_first: bool = False,
    mesh: Mesh | None = None,
) -> Neighbors:
    """The k nearest gallery rows of every query, exactly.

    Args:
        query: [Q, D] features, in memory or memory-mapped; compared in float32.
        gallery: [N, D]; the same array as `query` costs half on a CPU.
        k: length of the lists, >= 1; may exceed N.
        metric: "cosine", "euclidean" or "sqeuclidean".
        self_first: row i of both is the same image, and comes first in its list whatever else is
            as near.
        mesh: cuts the gallery over axis `data`. The result does not depend on the number of
            devices.

    Returns:
        The lists; among equal distances the smallest row comes first.

    Raises:
        InputError: empty, misshapen or non-finite features, an unknown metric, k < 1, or
            `self_first` for sets of different length.
    """
    check_search({"query": query, "gallery": gallery}, k, metric)
    gallery_rows = HostRows(gallery)
    if query is gallery:
        return nearest_and_farthest(
            gallery_rows, k, metric=metric, self_first=self_first, mesh=mesh
        )[0]
    if self_first and len(query) != len(gallery):
        raise InputError(
            f"self_first pairs row i of both sides, but there are {len(query)} queries and "
            f"{len(gallery)} gallery rows"
        )
    if _on_host(mesh):
        return _search_on_host(HostRows(query), gallery_rows, k, metric, self_first)[0]
    return _search_on_mesh(HostRows(query), gallery_rows, k, metric, self_first, mesh)[0]


def check_search(sets: dict[str, np.ndarray], k: int, metric: str, setting: str = "k") -> None:
    """Refuses what cannot be searched.

    Args:
        sets: features [., D] by what they are of, for the message.
        k: number of neighbors.
        metric: as in `nearest`.
        setting: what the caller calls `k`.

    Raises:
        InputError: as `nearest`.
    """
    inputs.check_metric(metric, METRICS)
    if k < 1:
        raise InputError(f"{setting} is {k}; expected at least 1")
    inputs.check_sets(sets)


def nearest_and_farthest(
    features: HostRows,
    k: int,
    *,
    metric: str = "cosine",
    self_first: bool = False,
    mesh: Mesh | None = None,
) -> tuple[Neighbors, np.ndarray]:
    """`nearest` of a set among itself, with the largest distance of every row to any other.

    Args:
        features: [N, D], checked already.
        k: as in `nearest`.
        metric: as in `nearest`.
        self_first: as in `nearest`.
        mesh: as in `nearest`.

    Returns:
        The lists, and [N] float32.
    """
    if _on_host(mesh):
        return _search_on_host(features, None, k, metric, self_first)
    return _search_on_mesh(features, features, k, metric, self_first, mesh)


def nearest_in_matrix(distance: Float[np.ndarray, "q n"], k: int) -> Neighbors:
    """`nearest` for distances that are known already."""
    best = merging.start(len(distance), k)
    for start in range(0, len(distance), TILE_ROWS):
        rows = slice(start, start + TILE_ROWS)
        merging.merge(best[rows], np.asarray(distance[rows], np.float32), 0)
    return merging.finish(best)


def pair_distances(
    features: HostRows, first: Int[np.ndarray, "e"], second: Int[np.ndarray, "e"], metric: str
) -> Float[np.ndarray, "e"]:
    """Distances of single pairs of rows.

    Args:
        features: [N, D].
        first: [E] rows.
        second: [E] rows.
        metric: as in `nearest`.

    Returns:
        [E] float32.
    """
    distance = np.empty(len(first), np.float32)
    size = _tile_rows(len(first), TILE_ROWS)
    for start in range(0, len(first), size):
        pairs = slice(start, start + size)
        left, right = (features.take(rows[pairs], size) for rows in (first, second))
        tile = np.asarray(_distances_in_pairs(left, right, metric))
        distance[pairs] = tile[: len(first) - start]
    return distance


def distances_to_all(
    query: HostRows, gallery: HostRows, rows: Int[np.ndarray, "t"], metric: str
) -> Float[np.ndarray, "t n"]:
    """Distances of some queries to the whole gallery.

    Args:
        query: [Q, D].
        gallery: [N, D].
        rows: [t] rows of the queries.
        metric: as in `nearest`.

    Returns:
        [t, N] float32.
    """
    distance = np.empty((len(rows), len(gallery)), np.float32)
    height = max(MIN_TILE_ROWS, _power_of_two(len(rows)))
    width = _tile_rows(len(gallery), TILE_ROWS if _on_host(None) else DEVICE_TILE_ROWS)
    left = jnp.asarray(query.take(rows, height))
    for first in range(0, len(gallery), width):
        tile = _distances(left, gallery.span(first, width), metric)
        columns = distance[:, first : first + width]
        columns[:] = tile[: len(rows), : columns.shape[1]]
    return distance


def _on_host(mesh: Mesh | None) -> bool:
    return mesh is None and platforms.current() == "cpu"


def _tile_rows(number: int, most: int) -> int:
    """Rows of the tiles for so many rows: a power of two between `MIN_TILE_ROWS` and `most`."""
    return min(most, max(MIN_TILE_ROWS, _power_of_two(number)))


def _power_of_two(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()


_distances = jax.jit(pairwise_distances, static_argnames="metric")


@functools.partial(jax.jit, static_argnames="metric")
def _distances_in_pairs(
    first: Float[Array, "e d"], second: Float[Array, "e d"], metric: str
) -> Float[Array, "e"]:
    def one(left: Float[Array, "d"], right: Float[Array, "d"]) -> Float[Array, ""]:
        return pairwise_distances(left[None], right[None], metric)[0, 0]

    return jax.vmap(one)(first, second)


# On the host


def _search_on_host(
    query: HostRows, gallery: HostRows | None, k: int, metric: str, self_first: bool
) -> tuple[Neighbors, np.ndarray]:
    """Without a gallery the queries are searched among themselves, and only tiles on and above
    the diagonal are computed."""
    symmetric = gallery is None
    gallery = query if gallery is None else gallery
    num_queries, num_gallery = len(query), len(gallery)
    size = _tile_rows(max(num_queries, num_gallery), TILE_ROWS)
    best = merging.start(num_queries, k)
    own = np.zeros(num_queries, np.float32)
    farthest = np.full(num_queries, -np.inf, np.float32)

    def tiles() -> Iterator[tuple[int, int, Array]]:
        for start in range(0, num_queries, size):
            left = jnp.asarray(query.span(start, size))
            for first in range(start if symmetric else 0, num_gallery, size):
                yield start, first, _distances(left, gallery.span(first, size), metric)

    for start, first, padded in _one_ahead(tiles()):
        tile = np.asarray(padded)[: num_queries - start, : num_gallery - first]
        rows = slice(start, start + len(tile))
        farthest[rows] = np.maximum(farthest[rows], tile.max(axis=1))
        if symmetric and first != start:
            columns = slice(first, first + tile.shape[1])
            farthest[columns] = np.maximum(farthest[columns], tile.max(axis=0))
            # Tiles reach a list in the order of their rows here too: `start` counts upwards.
            merging.merge(best[columns], tile, start, transposed=True)
        if self_first and first == start:
            tile = tile.copy()
            own[rows] = np.diagonal(tile)
            np.fill_diagonal(tile, -np.inf)
        merging.merge(best[rows], tile, first)
    return merging.finish(best, own if self_first else None), farthest


def _one_ahead(tiles: Iterator[tuple[int, int, Array]]) -> Iterator[tuple[int, int, Array]]:
    """The same tiles, each after the next was begun: merging overlaps with computing."""
    previous = next(tiles)
    for tile in tiles:
        yield previous
        previous = tile
    yield previous


# On a mesh


def _search_on_mesh(
    query: HostRows, gallery: HostRows, k: int, metric: str, self_first: bool, mesh: Mesh | None
) -> tuple[Neighbors, np.ndarray]:
    mesh = local_mesh() if mesh is None else mesh
    num_queries, num_gallery = len(query), len(gallery)
    # The shape of a device's tile does not depend on the number of devices: nor does rounding.
    size = _tile_rows(num_queries, TILE_ROWS)
    width = max(_tile_rows(num_gallery, DEVICE_TILE_ROWS), _power_of_two(k))
    slab = width * mesh.size
    step = _make_step(mesh, metric, self_first)
    lists, farthest = [], []
    for start in range(0, num_queries, size):
        left = jax.device_put(query.span(start, size), replicated(mesh))
        best = _Best(
            jnp.full((size, k), jnp.inf, jnp.float32),
            jnp.full((size, k), -1, jnp.int32),
            jnp.full(size, -jnp.inf, jnp.float32),
            jnp.zeros(size, jnp.float32),
        )
        best = jax.device_put(best, replicated(mesh))
        for first in range(0, num_gallery, slab):
            right = jax.device_put(gallery.span(first, slab), over_batch(mesh))
            offsets = np.array([start, first, num_gallery], np.int32)
            best = step(best, left, right, offsets)
        kept = num_queries - start
        distance = np.array(best.distance[:kept])
        if self_first:
            distance[:, 0] = best.own[:kept]
        lists.append(Neighbors(np.asarray(best.rows[:kept]), distance))
        farthest.append(np.asarray(best.farthest[:kept]))
    rows, distance = (np.concatenate(column) for column in zip(*lists, strict=True))
    return Neighbors(rows, distance), np.concatenate(farthest)


class _Best(NamedTuple):
    distance: Array  # [t, k] ascending
    rows: Array  # [t, k]
    farthest: Array  # [t]
    own: Array  # [t] distance of a row to itself


@functools.cache
def _make_step(mesh: Mesh, metric: str, self_first: bool):
    """(best, left [t, D], right [w, D] cut over the mesh, [first row of left, first row of right,
    rows of the gallery]) -> best."""

    def local(best: _Best, left: Array, right: Array, offsets: Array) -> _Best:
        k = best.rows.shape[1]
        tile = pairwise_distances(left, right, metric)
        first = offsets[1] + jax.lax.axis_index(DATA_AXIS) * len(right)
        column = (first + jnp.arange(len(right), dtype=jnp.int32))[None, :]
        exists = column < offsets[2]
        farthest = jnp.max(jnp.where(exists, tile, -jnp.inf), axis=1)
        tile = jnp.where(exists, tile, jnp.inf)
        own = best.own
        if self_first:
            row = (offsets[0] + jnp.arange(len(left), dtype=jnp.int32))[:, None]
            itself = (row == column) & exists
            own += jax.lax.psum(jnp.sum(jnp.where(itself, tile, 0), axis=1), DATA_AXIS)
            tile = jnp.where(itself, -jnp.inf, tile)
        negated, place = jax.lax.top_k(-tile, k)
        rows = jnp.where(jnp.isposinf(-negated), -1, first + place.astype(jnp.int32))
        # Behind the lists so far, and device by device: rows ascend, and of two equal distances
        # `top_k` puts the earlier first.
        negated, rows = (
            jax.lax.all_gather(one, DATA_AXIS, axis=1, tiled=True) for one in (negated, rows)
        )
        negated = jnp.concatenate([-best.distance, negated], axis=1)
        rows = jnp.concatenate([best.rows, rows], axis=1)
        negated, place = jax.lax.top_k(negated, k)
        farthest = jnp.maximum(best.farthest, jax.lax.pmax(farthest, DATA_AXIS))
        return _Best(-negated, jnp.take_along_axis(rows, place, axis=1), farthest, own)

    whole, cut = PartitionSpec(), PartitionSpec(DATA_AXIS)
    return jax.jit(
        jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(whole, whole, cut, whole),
            out_specs=whole,
            check_vma=False,
        ),
        donate_argnums=0,
    )
