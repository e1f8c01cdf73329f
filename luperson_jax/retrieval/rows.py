"""Rows of features on the host, in memory or in memory-mapped files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.retrieval import inputs
from luperson_jax.shapes import Float

KnownDistances = Callable[[np.ndarray], Any]
"""Rows of the query set -> their distances to the whole gallery, an array [t, N]."""


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


def cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """The rows in pieces of at most `size`."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def row_blocks(
    rows: HostRows | Iterable[np.ndarray], start: int, step: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Rows in order, `step` at a time.

    Args:
        rows: [N, D], or a stream of pieces of any number of rows.
        start: first row, of a stream always 0.
        step: rows of a block.

    Yields:
        First row, number of rows, and the rows with zeros behind them, [step, D].
    """
    if isinstance(rows, HostRows):
        for first in range(start, len(rows), step):
            yield first, min(step, len(rows) - first), rows.span(first, step)
        return
    first, held = 0, []
    for piece in rows:
        held.append(piece)
        while (num := sum(map(len, held))) >= step:
            joined = HostRows(held)
            yield first, step, joined.span(0, step)
            first, held = first + step, [joined.span(step, num - step)] if num > step else []
    if held:
        yield first, sum(map(len, held)), HostRows(held).span(0, step)


def read_rows(
    distances: KnownDistances, rows: np.ndarray, num_gallery: int
) -> Float[np.ndarray, "t n"]:
    """Distances of some queries from a function that knows them, in an array of their own.

    Raises:
        InputError: they are not finite or of another shape.
    """
    matrix = np.array(distances(rows), np.float32)
    if matrix.shape != (len(rows), num_gallery):
        raise InputError(
            f"the distances of {len(rows)} queries have shape {matrix.shape}; expected "
            f"{(len(rows), num_gallery)}"
        )
    inputs.check_finite("distances", matrix, rows)
    return matrix
