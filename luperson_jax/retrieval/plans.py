"""How the comparison of all queries with a gallery is cut into tiles."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float

from data_pipeline.errors import InputError
from luperson_jax import sharding
from luperson_jax.retrieval import inputs, tiles
from luperson_jax.retrieval.labels import NOBODYS, Labels
from luperson_jax.retrieval.tiles import COLUMNS, TileShape

RESIDENT_BYTES = 2**28
"""Queries kept on a device while the gallery passes by; more queries cost another pass."""
MAX_ROW_ELEMENTS = 2**24
"""Distances asked at once of a function that gives whole rows: 64 MB."""

Distances = Callable[[np.ndarray], Float[np.ndarray, "t n"] | Float[Array, "t n"]]
"""Rows of the query set -> their distances to the whole gallery."""

OnDevices = Any
"""An array that is made on the host and then placed on the devices."""


class GalleryLabels(NamedTuple):
    """Of a gallery block, cut over the devices as the block is.

    Attributes:
        rows: [g * devices] int32 gallery rows.
        group: [g * devices] int32 as in `Labels`; `NOBODYS` for padding.
    """

    rows: OnDevices
    group: OnDevices


class Plan(NamedTuple):
    """Labels, devices, tile shape, and the queries in blocks.

    Attributes:
        labels: of all queries and gallery rows.
        blocks: rows of queries, at most `shape.queries` in each.
        shape: of a tile on one device.
        mesh: of the devices.
    """

    labels: Labels
    blocks: list[np.ndarray]
    shape: TileShape
    mesh: Mesh

    @classmethod
    def of_matches(cls, labels: Labels, shape: TileShape | None, mesh: Mesh | None) -> "Plan":
        """The queries that have a match.

        Queries of one identity follow each other, so that a block has few distinct matches; and
        identities with about as many matches do, so that no block waits for a single long list.
        """
        num_matches = labels.num_matches
        most = np.zeros(int(labels.identity.max()) + 1, np.int64)
        np.maximum.at(most, labels.identity, num_matches)
        valid = np.flatnonzero(num_matches)
        identity = labels.identity[valid]
        return cls._cut(labels, valid[np.lexsort((identity, most[identity]))], shape, mesh)

    @classmethod
    def of_queries(cls, labels: Labels, shape: TileShape | None, mesh: Mesh | None) -> "Plan":
        """All queries, in order."""
        return cls._cut(labels, np.arange(len(labels.query_group)), shape, mesh)

    @classmethod
    def _cut(
        cls, labels: Labels, order: np.ndarray, shape: TileShape | None, mesh: Mesh | None
    ) -> "Plan":
        shape = shape or tiles.tile_shape()
        blocks = tiles.cut(order, shape.queries)
        return cls(labels, blocks, shape, mesh or tiles.local_mesh())

    @property
    def num_gallery(self) -> int:
        return len(self.labels.gallery_group)

    def gallery_labels(self) -> list[GalleryLabels]:
        """Labels of every gallery block, on the devices."""
        group = self.labels.gallery_group
        step = self.shape.gallery * self.mesh.size
        blocks = []
        for start in range(0, len(group), step):
            padded = np.full(step, NOBODYS, np.int32)
            padded[: len(group) - start] = group[start : start + step]
            rows = np.arange(start, start + step, dtype=np.int32)
            blocks.append(GalleryLabels(rows, padded))
        return jax.device_put(blocks, sharding.over_batch(self.mesh))

    def feature_tiles(
        self, query: tiles.HostRows, gallery: tiles.HostRows, metric: str
    ) -> Iterator[tuple[int, int, Float[Array, "t g"]]]:
        """All tiles of distances: of each gallery block, one for each query block.

        Yields:
            Number of the query block, number of the gallery block, `tiles.distance_tile` of them.
        """
        size, metric_and_mesh = self.shape.queries, {"metric": metric, "mesh": self.mesh}
        fitting = max(1, RESIDENT_BYTES // (4 * size * query.shape[1]))
        for numbers in tiles.cut(np.arange(len(self.blocks)), fitting):
            rows = np.concatenate([self.blocks[number] for number in numbers])
            lefts = [left for _, left in tiles.query_blocks(query, rows, size, **metric_and_mesh)]
            last = None
            rights = tiles.gallery_blocks(gallery, self.shape.gallery, **metric_and_mesh)
            for place, (_, right) in enumerate(rights):
                tile = None
                for number, left in zip(numbers, lefts, strict=True):
                    tile = tiles.distance_tile(left, right, **metric_and_mesh)
                    yield int(number), place, tile
                if last is not None:
                    # Calls return before they are done: gallery blocks would pile up.
                    last.block_until_ready()
                last = tile

    def matrix_tiles(
        self, matrix: Float[np.ndarray, "t n"]
    ) -> Iterator[tuple[int, Float[Array, "t g"]]]:
        """The same for one query block whose distances are known.

        Yields:
            Number of the gallery block and the tile, padded.
        """
        step = self.shape.gallery * self.mesh.size
        for place, start in enumerate(range(0, matrix.shape[1], step)):
            piece = matrix[:, start : start + step]
            tile = np.zeros((self.shape.queries, step), np.float32)
            tile[: piece.shape[0], : piece.shape[1]] = piece
            yield place, jax.device_put(tile, NamedSharding(self.mesh, COLUMNS))

    def read_rows(self, distances: Distances, rows: np.ndarray) -> Float[np.ndarray, "t n"]:
        """Distances of some queries from a function that knows them.

        Raises:
            InputError: they are not finite or of another shape.
        """
        pieces = tiles.cut(rows, max(1, MAX_ROW_ELEMENTS // self.num_gallery))
        parts = [np.asarray(distances(piece), np.float32) for piece in pieces]
        for piece, part in zip(pieces, parts, strict=True):
            if part.shape != (len(piece), self.num_gallery):
                raise InputError(
                    f"the distances of {len(piece)} queries have shape {part.shape}; expected "
                    f"{(len(piece), self.num_gallery)}"
                )
        matrix = parts[0] if len(parts) == 1 else np.concatenate(parts)
        inputs.check_finite("distances", matrix, rows)
        return matrix
