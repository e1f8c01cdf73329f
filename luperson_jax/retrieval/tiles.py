"""Distances between large sets in tiles of one fixed shape, on one device or several.

Features stay on the host, in memory or in a memory-mapped file, and come to the devices in blocks
of a fixed number of rows, zeros behind the last. A gallery block has as many rows as all devices
together take, and each device computes a [queries, gallery] tile of distances to its share.

Equal rows have equal distances to the last bit wherever they stand in a tile, but another shape of
tile may round differently. Where bits decide (ties), both sides must come from `distance_tile` with
the same shape; the number of devices is no part of that shape.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from luperson_jax import platforms, sharding
from luperson_jax.vectors import l2_normalize

ROWS, EVERYWHERE = PartitionSpec(sharding.DATA_AXIS), PartitionSpec()
COLUMNS = PartitionSpec(None, sharding.DATA_AXIS)


class TileShape(NamedTuple):
    """Rows of queries and of the gallery that one device compares at once."""

    queries: int
    gallery: int


CPU_TILE = TileShape(128, 1024)
"""Half a MB of distances, which stays in the cache of a core."""
ACCELERATOR_TILE = TileShape(1024, 4096)
"""16 MB of distances: enough work for each call to hide the time of calling."""

SHORT, LENGTHEN = 2.0**-39, 2.0**90
"""Rows whose numbers are all below the first are multiplied by the second: the smallest normal
float32, 2^-126, then is 2^-36, well above where `l2_normalize` stops at 1e-12."""


class Prepared(NamedTuple):
    """A block of features on the devices, ready to be compared.

    Attributes:
        rows: [n, D] float32; unit rows for "cosine", where a row of zeros stays zero.
        squared_norm: [n] of `rows`.
    """

    rows: Float[Array, "n d"]
    squared_norm: Float[Array, "n"]


class HostRows:
    """Rows of one array or of several ones after each other, which are never joined in memory."""

    def __init__(self, parts: np.ndarray | Sequence[np.ndarray]) -> None:
        self.parts = [parts] if isinstance(parts, np.ndarray) else list(parts)
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])
        self.shape = (int(self.starts[-1]), self.parts[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def span(self, start: int, size: int) -> Float[np.ndarray, "size d"]:
        """The `size` rows from `start` on, zeros where there are none; perhaps a view."""
        for part, first in zip(self.parts, self.starts, strict=False):
            if first <= start and start + size <= first + len(part):
                return np.ascontiguousarray(part[start - first : start - first + size], np.float32)
        block = np.zeros((size, self.shape[1]), np.float32)
        for part, first in zip(self.parts, self.starts, strict=False):
            low, high = max(start, first), min(start + size, first + len(part))
            if low < high:
                block[low - start : high - start] = part[low - first : high - first]
        return block

    def take(self, rows: np.ndarray, size: int) -> Float[np.ndarray, "size d"]:
        """The given rows in their order, filled up with zeros to `size` rows."""
        block = np.zeros((size, self.shape[1]), np.float32)
        owner = np.searchsorted(self.starts, rows, side="right") - 1
        for number, part in enumerate(self.parts):
            places = np.flatnonzero(owner == number)
            if len(places):
                block[places] = part[rows[places] - self.starts[number]]
        return block


def tile_shape() -> TileShape:
    """The shape for the devices at hand."""
    return CPU_TILE if platforms.current() == "cpu" else ACCELERATOR_TILE


def local_mesh() -> Mesh:
    """All devices of this process: every process of a job has all features and ranks alone."""
    return sharding.make_mesh(jax.local_devices())


def cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """The rows in pieces of at most `size`."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def query_blocks(
    query: HostRows, rows: np.ndarray, size: int, metric: str, mesh: Mesh
) -> Iterator[tuple[np.ndarray, Prepared]]:
    """Pieces of at most `size` of the given rows, whole on every device.

    Yields:
        The rows of a piece, and the piece padded to `size` rows.
    """
    for piece in cut(rows, size):
        block = jax.device_put(query.take(piece, size), sharding.replicated(mesh))
        yield piece, prepare(block, metric=metric, mesh=mesh, over=EVERYWHERE)


def gallery_blocks(
    gallery: HostRows, size: int, metric: str, mesh: Mesh
) -> Iterator[tuple[int, Prepared]]:
    """The gallery in order, `size` rows for each device.

    Yields:
        First row, and the block [size * devices, D], cut over the devices and padded.
    """
    step = size * mesh.size
    for start in range(0, len(gallery), step):
        block = jax.device_put(gallery.span(start, step), sharding.over_batch(mesh))
        yield start, prepare(block, metric=metric, mesh=mesh, over=ROWS)


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
        metric: "cosine" or "euclidean".
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
        metric: "cosine", 1 - cosine similarity (0..2; 1 to a row of zeros), or "euclidean", at
            least 1e-6; as `vectors.pairwise_distances`.
    """
    product = jnp.matmul(query.rows, gallery.rows.T, precision=jax.lax.Precision.HIGHEST)
    if metric == "cosine":
        return 1 - product
    norms = query.squared_norm[:, None] + gallery.squared_norm[None, :]
    return jnp.sqrt(jnp.maximum(norms - 2 * product, 1e-12))


@functools.partial(jax.jit, static_argnames=("metric", "mesh"))
def distance_tile(
    query: Prepared, gallery: Prepared, *, metric: str, mesh: Mesh
) -> Float[Array, "t g"]:
    """Distances of a query block to a gallery block, cut over the devices like the gallery.

    Args:
        query: [t, D] on every device.
        gallery: [g * devices, D], cut over the devices.
        metric: "cosine" or "euclidean".
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


@functools.partial(jax.jit, static_argnames=("metric", "mesh"))
def paired_tiles(
    query: Prepared, gallery: Prepared, *, metric: str, mesh: Mesh
) -> Float[Array, "t g"]:
    """Tiles of other queries on every device: those of its own block with its own gallery block.

    Args:
        query: [t * devices, D], cut over the devices.
        gallery: [g * devices, D], cut over the devices.
        metric: "cosine" or "euclidean".
        mesh: of the devices.

    Returns:
        [t * devices, g] float32, its rows cut over the devices; bit for bit what `distance_tile`
        says of the same pairs.
    """
    return jax.shard_map(
        functools.partial(distances, metric=metric),
        mesh=mesh,
        in_specs=(ROWS, ROWS),
        out_specs=ROWS,
    )(query, gallery)
