"""Exact nearest neighbors among any number of features, without a matrix of all distances.

Distances are computed in tiles, and every tile is merged into the lists of the nearest so far. On a
CPU, where a set is searched for neighbors of its own members, each tile serves its rows and its
columns.
"""

import functools
from collections.abc import Iterable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from data_pipeline.errors import InputError
from luperson_jax import sharding
from luperson_jax.retrieval import inputs, tiles
from luperson_jax.retrieval.execution import Execution, TileShape
from luperson_jax.retrieval.nearest_lists import DeviceLists, HostLists, Neighbors, lists_of_matrix
from luperson_jax.retrieval.rows import HostRows, cut
from luperson_jax.retrieval.tiles import Grid
from luperson_jax.vectors import METRICS, pairwise_distances

TILE_ROWS = 1024
"""Rows and columns of a tile: 4 MB of distances, which stay in the cache of a CPU."""
DEVICE_TILE_ROWS = 8192
"""Gallery rows of a tile on an accelerator or a mesh."""
MIN_TILE_ROWS = 64
"""Smaller sets are filled up, to compile for few shapes."""


def nearest(
    query: np.ndarray,
    gallery: np.ndarray | Iterable[np.ndarray],
    k: int,
    *,
    metric: str = "cosine",
    self_first: bool = False,
    mesh: Mesh | None = None,
) -> Neighbors:
    """The k nearest gallery rows of every query, exactly.

    Args:
        query: [Q, D] features, in memory or memory-mapped; compared in float32.
        gallery: [N, D]; the same array as `query` costs half on a CPU. Or a stream of pieces
            [., D] of it, which is read once.
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
    if not isinstance(gallery, np.ndarray):
        check_search({"query": query}, k, metric)
        stream = _checked(gallery, query)
        return _search(HostRows(query), stream, k, metric, self_first, mesh)[0]
    check_search({"query": query, "gallery": gallery}, k, metric)
    if self_first and len(query) != len(gallery):
        raise InputError(
            f"self_first pairs row i of both sides, but there are {len(query)} queries and "
            f"{len(gallery)} gallery rows"
        )
    rows = HostRows(query)
    others = rows if query is gallery else HostRows(gallery)
    return _search(rows, others, k, metric, self_first, mesh)[0]


def _checked(gallery: Iterable[np.ndarray], query: np.ndarray) -> Iterator[np.ndarray]:
    number = -1
    for number, piece in enumerate(gallery):
        inputs.check_sets({"query": query[:1], f"gallery piece {number}": piece})
        yield piece
    if number < 0:
        raise InputError("the gallery is an empty stream; give at least one piece of features")


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
    return _search(features, features, k, metric, self_first, mesh)


def _search(
    query: HostRows,
    gallery: HostRows | Iterator[np.ndarray],
    k: int,
    metric: str,
    self_first: bool,
    mesh: Mesh | None,
) -> tuple[Neighbors, np.ndarray]:
    on_host = Execution(mesh=mesh).on_host
    num_gallery = len(gallery) if isinstance(gallery, HostRows) else DEVICE_TILE_ROWS
    # The shape of a device's tile does not depend on the number of devices: nor does rounding.
    if on_host:
        size = _tile_rows(max(len(query), num_gallery), TILE_ROWS)
        grid = Grid(TileShape(size, size), _one_device())
        symmetric = gallery is query
        found = HostLists(len(query), k, self_first=self_first, symmetric=symmetric)
    else:
        height, width = _tile_rows(len(query), TILE_ROWS), _tile_rows(num_gallery, DEVICE_TILE_ROWS)
        grid = tiles.grid_of(Execution(TileShape(height, width), mesh))
        symmetric = False
        found = DeviceLists(len(query), k, grid, self_first=self_first)
    blocks = cut(np.arange(len(query)), grid.shape.queries)
    walk = tiles.walk(query, gallery, blocks, metric, grid, triangle=symmetric)
    for tile in tiles.one_ahead(walk) if on_host else walk:
        found.add(tile)
    return found.finish(), found.farthest


def nearest_in_matrix(distance: Float[np.ndarray, "q n"], k: int) -> Neighbors:
    """`nearest` for distances that are known already."""
    return lists_of_matrix(distance, k, TILE_ROWS)


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
    most = TILE_ROWS if Execution().on_host else DEVICE_TILE_ROWS
    height = max(MIN_TILE_ROWS, _power_of_two(len(rows)))
    grid = Grid(TileShape(height, _tile_rows(len(gallery), most)), _one_device())
    for tile in tiles.walk(query, gallery, [rows], metric, grid):
        distance[:, tile.first : tile.first + tile.num] = tile.on_host()
    return distance


def _one_device() -> Mesh:
    return sharding.make_mesh(jax.local_devices()[:1])


def _tile_rows(number: int, most: int) -> int:
    """Rows of the tiles for so many rows: a power of two between `MIN_TILE_ROWS` and `most`."""
    return min(most, max(MIN_TILE_ROWS, _power_of_two(number)))


def _power_of_two(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()


@functools.partial(jax.jit, static_argnames="metric")
def _distances_in_pairs(
    first: Float[Array, "e d"], second: Float[Array, "e d"], metric: str
) -> Float[Array, "e"]:
    def one(left: Float[Array, "d"], right: Float[Array, "d"]) -> Float[Array, ""]:
        return pairwise_distances(left[None], right[None], metric)[0, 0]

    return jax.vmap(one)(first, second)
