"""One walk over the tiles of distances between two sets, of any size, on one device or several.

Features stay on the host, in memory or in a memory-mapped file, and come to the devices in blocks
of a fixed number of rows, zeros behind the last. A gallery block has as many rows as all devices
together take, and each device computes a [queries, gallery] tile of distances to its share. What is
wanted of the distances is for reducers: `nearest_lists` keeps the nearest, `verification` counts
pairs. (`counting` ranks by scores of its own, which no shape of tile can change.)

Equal rows have equal distances to the last bit wherever they stand in a tile, but another shape of
tile may round differently. Where bits decide (ties), both sides must come from `distance_tile` with
the same shape; the number of devices is no part of that shape.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from luperson_jax import platforms, sharding
from luperson_jax.retrieval.execution import Execution, TileShape
from luperson_jax.retrieval.rows import HostRows, cut, row_blocks
from luperson_jax.vectors import l2_normalize

ROWS, EVERYWHERE = PartitionSpec(sharding.DATA_AXIS), PartitionSpec()
COLUMNS = PartitionSpec(None, sharding.DATA_AXIS)

RESIDENT_BYTES = 2**28
"""Queries kept on a device while the gallery passes by; more queries cost another pass."""
Begun = TypeVar("Begun")
OnDevices = Any
"""An array that is made on the host and then placed on the devices."""


CPU_TILE = TileShape(128, 1024)
"""Half a MB of distances, which stays in the cache of a core."""
ACCELERATOR_TILE = TileShape(1024, 4096)
"""16 MB of distances: enough work for each call to hide the time of calling."""

SHORT, LENGTHEN = 2.0**-39, 2.0**90
"""Rows whose numbers are all below the first are multiplied by the second: the smallest normal
float32, 2^-126, then is 2^-36, well above where `l2_normalize` stops at 1e-12."""


class Grid(NamedTuple):
    """A tile on each device, and the devices."""

    shape: TileShape
    mesh: Mesh

    @property
    def width(self) -> int:
        """Gallery rows of a block."""
        return self.shape.gallery * self.mesh.size


class Prepared(NamedTuple):
    """A block of features on the devices, ready to be compared.

    Attributes:
        rows: [n, D] float32; unit rows for "cosine", where a row of zeros stays zero.
        squared_norm: [n] of `rows`.
    """

    rows: Float[Array, "n d"]
    squared_norm: Float[Array, "n"]


class Tile(NamedTuple):
    """The distances of a query block to a gallery block.

    Attributes:
        block: number of the query block.
        rows: [t] its rows of the query set.
        first: first gallery row.
        num: gallery rows.
        distance: [T, G * devices] float32, its columns cut over the devices; padded beyond
            [t, num].
    """

    block: int
    rows: np.ndarray
    first: int
    num: int
    distance: Array

    def on_host(self) -> Float[np.ndarray, "t n"]:
        """The distances without padding, perhaps read-only."""
        return np.asarray(self.distance)[: len(self.rows), : self.num]


def grid_of(execution: Execution) -> Grid:
    """The tile and the mesh of an execution, chosen where they were not given."""
    return Grid(execution.tile or tile_shape(), execution.mesh or local_mesh())


def tile_shape() -> TileShape:
    """The shape for the devices at hand."""
    return CPU_TILE if platforms.current() == "cpu" else ACCELERATOR_TILE


def local_mesh() -> Mesh:
    """All devices of this process: every process of a job has all features and ranks alone."""
    return sharding.make_mesh(jax.local_devices())


def walk(
    query: HostRows,
    gallery: HostRows | Iterable[np.ndarray],
    blocks: list[np.ndarray],
    metric: str,
    grid: Grid,
    *,
    triangle: bool = False,
) -> Iterator[Tile]:
    """All tiles of distances: of each gallery block, one for each query block.

    The gallery passes by in order, once for as many queries as `RESIDENT_BYTES` hold; so every
    query meets the gallery rows in ascending order.

    Args:
        query: [Q, D].
        gallery: [N, D], or a stream of pieces of it, which passes once for all queries.
        blocks: rows of the query set, at most `grid.shape.queries` in each.
        metric: "cosine", "euclidean" or "sqeuclidean".
        grid: of the tiles.
        triangle: both sides are one set, and tiles on and above the diagonal are enough.
    """
    shape, mesh = grid
    fitting = max(1, RESIDENT_BYTES // (4 * shape.queries * query.shape[1]))
    if not isinstance(gallery, HostRows):
        fitting = len(blocks)
    step = grid.width
    for numbers in cut(np.arange(len(blocks)), fitting):
        lefts = [_query_block(query.take(blocks[n], shape.queries), metric, mesh) for n in numbers]
        start = int(blocks[numbers[0]][0]) // step * step if triangle else 0
        last = None
        for first, num, rows in row_blocks(gallery, start, step):
            block = jax.device_put(rows, sharding.over_batch(mesh))
            right = prepare(block, metric=metric, mesh=mesh, over=ROWS)
            tile = None
            for number, left in zip(numbers, lefts, strict=True):
                if triangle and blocks[number][0] >= first + num:
                    break
                tile = distance_tile(left, right, metric=metric, mesh=mesh)
                yield Tile(int(number), blocks[number], first, num, tile)
            if last is not None:
                # Calls return before they are done: gallery blocks would pile up.
                last.block_until_ready()
            last = tile


def _query_block(rows: np.ndarray, metric: str, mesh: Mesh) -> Prepared:
    """Whole on every device."""
    block = jax.device_put(rows, sharding.replicated(mesh))
    return prepare(block, metric=metric, mesh=mesh, over=EVERYWHERE)


def one_ahead(tiles: Iterator[Begun]) -> Iterator[Begun]:
    """The same tiles, each after the next was begun: what the host does with one overlaps with
    computing the other."""
    previous = next(tiles)
    for tile in tiles:
        yield previous
        previous = tile
    yield previous


def tiles_of_matrix(
    matrix: Float[np.ndarray, "t n"], block: int, rows: np.ndarray, grid: Grid
) -> Iterator[Tile]:
    """The tiles of one query block whose distances are known."""
    for first in range(0, matrix.shape[1], grid.width):
        piece = matrix[:, first : first + grid.width]
        tile = np.zeros((grid.shape.queries, grid.width), np.float32)
        tile[: piece.shape[0], : piece.shape[1]] = piece
        placed = jax.device_put(tile, NamedSharding(grid.mesh, COLUMNS))
        yield Tile(block, rows, first, piece.shape[1], placed)


def unit_rows(rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Rows of length 1 in float32, whatever their length; a row of zeros stays zero.

    The squares of numbers below 1e-19 vanish in float32, so short rows are lengthened before. The
    factor is a power of two, which rounds nothing.
    """
    rows = rows.astype(jnp.float32)
    largest = jnp.max(jnp.abs(rows), axis=1, keepdims=True)
    return l2_normalize(rows * jnp.where(largest < SHORT, LENGTHEN, 1.0).astype(jnp.float32))


@functools.partial(jax.jit, static_argnames=("metric", "mesh", "over"))
def prepare(
    block: Float[Array, "n d"], *, metric: str, mesh: Mesh, over: PartitionSpec
) -> Prepared:
    """Norms of a block, and for "cosine" its unit rows; once for all tiles the block is in.

    Args:
        block: [n, D].
        metric: as in `distances`.
        mesh: of the devices.
        over: `ROWS` where the block is cut over them, `EVERYWHERE` where each has the whole.
    """

    def local(rows: Float[Array, "n d"]) -> Prepared:
        rows = unit_rows(rows) if metric == "cosine" else rows.astype(jnp.float32)
        return Prepared(rows, jnp.sum(jnp.square(rows), axis=1))

    return jax.shard_map(local, mesh=mesh, in_specs=over, out_specs=over)(block)


def distances(query: Prepared, gallery: Prepared, metric: str) -> Float[Array, "t g"]:
    """Distances of every query to every gallery row, on one device and inside a jitted function.

    Args:
        query: [t, D].
        gallery: [g, D].
        metric: "cosine", 1 - cosine similarity (0..2; 1 to a row of zeros), "euclidean", at least
            1e-6, or "sqeuclidean"; as `vectors.pairwise_distances`.
    """
    product = jnp.matmul(query.rows, gallery.rows.T, precision=jax.lax.Precision.HIGHEST)
    if metric == "cosine":
        return 1 - product
    norms = query.squared_norm[:, None] + gallery.squared_norm[None, :]
    squared = norms - 2 * product
    if metric == "sqeuclidean":
        return jnp.maximum(squared, 0)
    return jnp.sqrt(jnp.maximum(squared, 1e-12))


@functools.partial(jax.jit, static_argnames=("metric", "mesh"))
def distance_tile(
    query: Prepared, gallery: Prepared, *, metric: str, mesh: Mesh
) -> Float[Array, "t g"]:
    """Distances of a query block to a gallery block, cut over the devices like the gallery.

    Args:
        query: [t, D] on every device.
        gallery: [g * devices, D], cut over the devices.
        metric: as in `distances`.
        mesh: of the devices.

    Returns:
        [t, g * devices] float32, its columns cut over the devices.
    """
    return jax.shard_map(
        functools.partial(distances, metric=metric),
        mesh=mesh,
        in_specs=(EVERYWHERE, ROWS),
        out_specs=COLUMNS,
    )(query, gallery)
