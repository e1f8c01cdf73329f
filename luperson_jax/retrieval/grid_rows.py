"""Features on a grid, on which every sum of products is exact.

float32 rounds a product of 2,048 numbers, and how depends on the order in which they are added: on
the shape of a tile, the threads, the devices. So rows are first rounded to 26 bits of their length.
Numbers on such a grid have products that float64 adds without any rounding, in whatever order.
float32 compares them up to a bound, and float64 decides what lies within.

The bound is that of Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis",
2019: a sum of n products is off by at most 8 sqrt(n) u of the lengths, u = 2^-24, but for a chance
of 2n exp(-32). Below 64 dimensions it is n u, which holds for every order of summation.
"""

import math
from typing import NamedTuple

import numpy as np

from luperson_jax.shapes import Float, Int

BITS = 26
"""Of a row's length: sums of products are whole numbers below 2^53, which float64 holds."""
UNIT = 2.0**-24
"""The relative error of one rounding in float32."""
DEVIATIONS = 8
SMALLEST = -100
"""Exponent of the shortest Euclidean rows that keep all bits; of shorter ones the last are cut."""
AT_ONCE = 2**17
"""Numbers in float64 at a time: 1 MB, which stays in a core's cache."""


class GridRows(NamedTuple):
    """Rows of features on the grid, and what makes scores of their products.

    The score of a gallery row for a query is `offset` of the row minus `weight` times their
    product. For one query it orders the gallery as the distance does: the smaller, the nearer.

    Attributes:
        rows: [n, D] float32. For "cosine" whole numbers, 2^26 long but for rounding; a row of zeros
            stays. For "euclidean" the features, rounded to 2^-26 of a power of two that is not
            below their length. Numbers above a quarter of that are those of float32, which are
            whole, too.
        offset: [n] float64; the squared length for "euclidean", else 0. Exact.
        length: of the longest row, or a little more.
        weight: 1 for "cosine", 2 for "euclidean".
    """

    rows: Float[np.ndarray, "n d"]
    offset: Float[np.ndarray, "n"]
    length: float
    weight: int

    def wide(self) -> Float[np.ndarray, "n d"]:
        """The rows in float64, in which their products are exact."""
        return self.rows.astype(np.float64)


def on_grid(features: Float[np.ndarray, "n d"], metric: str) -> GridRows:
    """Puts rows on the grid. What becomes of a row depends on nothing but the row.

    Args:
        features: [n, D] float32, checked.
        metric: "cosine" or "euclidean".
    """
    num, dimensions = features.shape
    rows, offset = np.empty((num, dimensions), np.float32), np.zeros(num)
    longest, step = 0.0, max(1, AT_ONCE // dimensions)
    for start in range(0, num, step):
        part = slice(start, start + step)
        wide = features[part].astype(np.float64)
        length = np.sqrt(_squared_length(wide))
        longest = max(longest, float(length.max()))
        if metric == "cosine":
            wide *= (2.0**BITS / np.where(length == 0, np.inf, length))[:, None]
            rows[part] = np.rint(wide, out=wide)
            continue
        exponent = np.maximum(np.frexp(length)[1], SMALLEST) - BITS
        wide *= np.exp2(-exponent)[:, None]
        np.rint(wide, out=wide)
        rows[part] = np.multiply(wide, np.exp2(exponent)[:, None], out=wide)
        offset[part] = _squared_length(rows[part].astype(np.float64))
    if metric == "cosine":
        return GridRows(rows, offset, 2.0**BITS, 1)
    return GridRows(rows, offset, longest, 2)


def _squared_length(wide: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n"]:
    return np.einsum("nd,nd->n", wide, wide)


def exact_scores(
    query: Float[np.ndarray, "t d"], gallery: GridRows, columns: np.ndarray | slice
) -> Float[np.ndarray, "t n"]:
    """Scores whose products are exact; the difference to the offset is the only rounding.

    Args:
        query: [t, D] float64, on the grid.
        gallery: of all columns.
        columns: of the gallery rows that are wanted, n.
    """
    products = query @ gallery.rows[columns].astype(np.float64).T
    return gallery.offset[columns] - gallery.weight * products


def exact_pairs(
    query: GridRows,
    gallery: GridRows,
    positions: Int[np.ndarray, "n"],
    columns: Int[np.ndarray, "n"],
) -> Float[np.ndarray, "n"]:
    """`exact_scores` of single pairs: of the query at a position of its block and a column."""
    products, step = np.empty(len(columns)), max(1, AT_ONCE // query.rows.shape[1])
    for start in range(0, len(columns), step):
        part = slice(start, start + step)
        left, right = query.rows[positions[part]], gallery.rows[columns[part]]
        products[part] = np.einsum("nd,nd->n", left, right, dtype=np.float64)
    return gallery.offset[columns] - gallery.weight * products


def error_bound(query: GridRows, gallery: GridRows) -> float:
    """By how much scores that float32 computes can be off."""
    dimensions = query.rows.shape[1]
    product = query.weight * query.length * gallery.length
    # Rounding may have lengthened the rows a little.
    product *= 1 + math.sqrt(dimensions) * UNIT
    largest = float(gallery.offset.max(initial=0))
    added = min(dimensions, DEVIATIONS * math.sqrt(dimensions))
    underflow = dimensions * 2.0**-124
    return 1.001 * UNIT * ((added + 2) * product + 2 * largest) + underflow
