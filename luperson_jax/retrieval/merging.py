"""Lists of nearest neighbors on the host, into which tiles of distances are merged.

A place of a list is one number, the key of a distance and its row: keys sort by distance and, where
distances are equal, by row.
"""

from typing import NamedTuple

import numpy as np

MAX_CANDIDATES = 4
"""A tile with more candidates than this times k a row is narrowed before it is merged."""

_NONE = np.uint64(2**64 - 1)
"""Key of an empty place: behind every other key."""


class Neighbors(NamedTuple):
    """The nearest gallery rows of every query, nearest first.

    Attributes:
        rows: [Q, k] int32; -1 past the end of a gallery of fewer than k.
        distance: [Q, k] float32; inf where the row is -1.
    """

    rows: np.ndarray
    distance: np.ndarray


def start(num_lists: int, k: int) -> np.ndarray:
    """Empty lists, [num_lists, k] keys."""
    return np.full((num_lists, k), _NONE)


def merge(best: np.ndarray, tile: np.ndarray, first: int, *, transposed: bool = False) -> None:
    """Puts the entries of a tile into the lists where they are nearer than the last.

    Args:
        best: [a, k] keys in ascending order, changed in place. Tiles must come in the order of
            their columns: an entry as near as the last of a list is then behind it.
        tile: [a, b] distances of columns first, first + 1, ...; [b, a] if transposed.
        first: see `tile`.
        transposed: see `tile`.
    """
    k, axis = best.shape[1], 0 if transposed else 1
    last = np.expand_dims(_distance_of(best[:, -1]), axis)
    nearer = tile < last
    if np.count_nonzero(nearer) > MAX_CANDIDATES * k * len(best) and k < tile.shape[axis]:
        kth = np.take(np.partition(tile, k - 1, axis=axis), [k - 1], axis=axis)
        nearer &= tile <= kth
    flat = np.flatnonzero(nearer)
    if transposed:
        column, row = np.divmod(flat, len(best))
        order = np.argsort(row, kind="stable")
        column, row = column[order], row[order]
    else:
        row, column = np.divmod(flat, tile.shape[1])
    count = np.bincount(row, minlength=len(best))
    touched = np.flatnonzero(count)
    if len(touched) == 0:
        return
    begin = np.cumsum(count) - count
    place = np.cumsum(count > 0) - 1
    candidates = np.full((len(touched), count.max()), _NONE)
    distance = tile[(column, row) if transposed else (row, column)]
    candidates[place[row], np.arange(len(row)) - begin[row]] = _keys(distance, first + column)
    merged = np.concatenate([best[touched], candidates], axis=1)
    merged.sort(axis=1)
    best[touched] = merged[:, :k]


def _keys(distance: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Numbers in the order of distance, then row: the bits of a float count upwards like the
    float, once those of negative ones are turned around."""
    bits = (distance + np.float32(0)).view(np.uint32)  # -0 becomes 0, as they are equal
    sign = np.uint32(1 << 31)
    ordered = np.where(bits & sign, ~bits, bits | sign)
    return (ordered.astype(np.uint64) << np.uint64(32)) | row.astype(np.uint64)


def _distance_of(keys: np.ndarray) -> np.ndarray:
    """The distances in keys; inf for an empty place."""
    ordered = (keys >> np.uint64(32)).astype(np.uint32)
    sign = np.uint32(1 << 31)
    distance = np.where(ordered & sign, ordered & ~sign, ~ordered).view(np.float32)
    return np.where(keys == _NONE, np.float32(np.inf), distance)


def finish(best: np.ndarray, own: np.ndarray | None = None) -> Neighbors:
    """`own` replaces the distances in column 0 by those of the image itself."""
    rows = best.astype(np.uint32).view(np.int32)  # the lower half; all ones are -1
    distance = _distance_of(best)
    if own is not None:
        distance[:, 0] = own
    return Neighbors(rows, distance)
