"""The matrix that the ranking never makes."""

import numpy as np
from jax.sharding import Mesh

from luperson_jax.retrieval import tiles
from luperson_jax.retrieval.execution import Execution, TileShape
from luperson_jax.retrieval.rows import HostRows, cut


def tile_distances(
    query: np.ndarray,
    gallery: np.ndarray,
    metric: str,
    shape: TileShape | None = None,
    mesh: Mesh | None = None,
) -> np.ndarray:
    """[Q, N] distances put together from tiles: to the bit those of ranked lists. Compiled in
    another way, the last bit would differ, and with it the order of what is equally near."""
    grid = tiles.grid_of(Execution(shape, mesh))
    distance = np.full((len(query), len(gallery)), np.nan, np.float32)
    blocks = cut(np.arange(len(query)), grid.shape.queries)
    for tile in tiles.walk(HostRows(query), HostRows(gallery), blocks, metric, grid):
        distance[tile.rows, tile.first : tile.first + tile.num] = tile.on_host()
    return distance
