"""Which gallery rows a query sees, as the devices need it for a tile."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Int

from luperson_jax import sharding
from luperson_jax.retrieval.labels import NO_GROUP, NOBODYS, Labels
from luperson_jax.retrieval.tiles import Grid, OnDevices, Tile


class GalleryGroups(NamedTuple):
    """Of a gallery block, cut over the devices as the block is.

    Attributes:
        rows: [g * devices] int32 gallery rows.
        group: [g * devices] int32 as in `Labels`; `NOBODYS` for padding.
    """

    rows: OnDevices
    group: OnDevices


def removed(group: Int[Array, "t"], seen: GalleryGroups) -> Bool[Array, "t g"]:
    """What is not seen of a tile, inside a jitted function."""
    return (seen.group < 0)[None, :] | (group[:, None] == seen.group[None, :])


class SeenByDevices:
    """Groups of the queries and of the gallery, placed once for every block.

    Args:
        labels: None where every query sees the whole gallery.
        grid: of the tiles.
    """

    def __init__(self, labels: Labels | None, grid: Grid) -> None:
        self._labels, self._grid = labels, grid
        self._queries: dict[int, Array] = {}
        self._gallery: dict[int, GalleryGroups] = {}

    def query(self, tile: Tile) -> Array:
        """[t] int32 groups of the queries of a tile."""
        if tile.block not in self._queries:
            group = np.full(self._grid.shape.queries, NO_GROUP, np.int32)
            if self._labels is not None:
                group[: len(tile.rows)] = self._labels.query_group[tile.rows]
            self._queries[tile.block] = jax.device_put(group, sharding.replicated(self._grid.mesh))
        return self._queries[tile.block]

    def gallery(self, tile: Tile) -> GalleryGroups:
        """Those of its gallery rows."""
        first, num, step = tile.first, tile.num, self._grid.width
        if first not in self._gallery:
            group = np.full(step, NOBODYS, np.int32)
            group[:num] = 0 if self._labels is None else self._labels.gallery_group[first:][:num]
            rows = np.arange(first, first + step, dtype=np.int32)
            placed = jax.device_put((rows, group), sharding.over_batch(self._grid.mesh))
            self._gallery[first] = GalleryGroups(*placed)
        return self._gallery[first]
