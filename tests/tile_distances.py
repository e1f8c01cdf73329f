"""The matrix that the ranking never makes."""

import numpy as np
from jax.sharding import Mesh

from luperson_jax.retrieval import tiles


def tile_distances(
    query: np.ndarray,
    gallery: np.ndarray,
    metric: str,
    shape: tiles.TileShape | None = None,
    mesh: Mesh | None = None,
) -> np.ndarray:
    """[Q, N] distances put together from tiles: to the bit those that are ranked. Compiled in
    another way, the last bit would differ, and with it the order of what is equally near."""
    shape, mesh = shape or tiles.tile_shape(), mesh or tiles.local_mesh()
    query_rows, gallery_rows = tiles.HostRows(query), tiles.HostRows(gallery)
    distance = np.full((len(query), len(gallery)), np.nan, np.float32)
    order = np.arange(len(query))
    for start, right in tiles.gallery_blocks(gallery_rows, shape.gallery, metric, mesh):
        for rows, left in tiles.query_blocks(query_rows, order, shape.queries, metric, mesh):
            tile = np.asarray(tiles.distance_tile(left, right, metric=metric, mesh=mesh))
            columns = slice(start, min(start + tile.shape[1], len(gallery)))
            distance[rows, columns] = tile[: len(rows), : columns.stop - start]
    return distance
