"""A gallery on the grid, block by block."""

from collections.abc import Callable
from typing import Any

import numpy as np

from luperson_jax.retrieval.grid_rows import GridRows, on_grid
from luperson_jax.retrieval.rows import HostRows

KEPT_BYTES = 2**28
"""A gallery of at most that many is put on the grid once; of a larger one every block is made when
it is asked for."""


class GridGallery:
    """The rows of a gallery on the grid.

    Attributes:
        firsts: first row of every block.
    """

    def __init__(
        self, features: HostRows, metric: str, size: int, mapped: Callable[..., Any] = map
    ) -> None:
        """For N features and blocks of `size` rows, made by `mapped`, perhaps that of a pool."""
        self.firsts = range(0, len(features), size)
        self._features, self._metric = features, metric
        small = 4 * len(features) * features.shape[1] <= KEPT_BYTES
        self._kept = list(mapped(self._made, self.firsts)) if small else []
        if self._kept:
            self._rows = HostRows([one.rows for one in self._kept])
            self._offset = np.concatenate([one.offset for one in self._kept])

    def _made(self, first: int) -> GridRows:
        num = min(self.firsts.step, len(self._features) - first)
        return on_grid(self._features.span(first, num), self._metric)

    def block(self, first: int) -> GridRows:
        """The rows of the block that begins there."""
        return self._kept[first // self.firsts.step] if self._kept else self._made(first)

    def take(self, rows: np.ndarray) -> GridRows:
        """The given rows in their order."""
        if not self._kept:
            return on_grid(self._features.take(rows, len(rows)), self._metric)
        taken = self._rows.take(rows, len(rows))
        longest = max(one.length for one in self._kept)
        return GridRows(taken, self._offset[rows], longest, self._kept[0].weight)
