"""The scores of a block that may change a rank, found and put in order without a loop.

A score that is farther than the last match of its query changes no rank. With features that tell
people apart nearly the whole gallery is such, and what is left is cheap to sort.
"""

from typing import NamedTuple

import numpy as np

from luperson_jax.shapes import Float, Int

MOST_SHARE = 1 / 6
"""Of a block: of more scores than that a sort of every whole row is quicker."""
MOST_SCORES = 2**31
"""Of a block: a key holds a place in it and 32 bits of a score."""


class Near(NamedTuple):
    """Single scores of a block, by query, the smallest first.

    Attributes:
        scores: [t, n] float32, the whole block.
        keys: [K] int64, ascending, of query, score and column.
    """

    scores: Float[np.ndarray, "t n"]
    keys: Int[np.ndarray, "k"]

    @classmethod
    def of(
        cls,
        scores: Float[np.ndarray, "t n"],
        query: Int[np.ndarray, "k"],
        column: Int[np.ndarray, "k"],
    ) -> "Near":
        """The scores at these positions."""
        num_columns = scores.shape[1]
        here = scores.ravel()[query * num_columns + column]
        keys = _keys(query, here, num_columns) + column
        keys.sort()
        return cls(scores, keys)

    def num_below(
        self, query: Int[np.ndarray, "p"], edges: Float[np.ndarray, "2 p"]
    ) -> Int[np.ndarray, "2 p"]:
        """How many scores of a query are below each of two edges, the first not the larger one."""
        low, high = (_keys(query, one, self.scores.shape[1]) for one in edges)
        first = self.keys.searchsorted(low)
        last = first.copy()
        # Nearly always there is none between.
        more = np.append(self.keys, np.iinfo(np.int64).max)[first] < high
        last[more] = self.keys.searchsorted(high[more])
        return np.stack([first, last]) - self._begin(query)

    def between(
        self, query: Int[np.ndarray, "p"], below: Int[np.ndarray, "2 p"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each query the scores from the one number to the other, as `num_below` counts them:
        which p they belong to, their columns, and the scores."""
        number = below[1] - below[0]
        of = np.repeat(np.arange(len(query)), number)
        shift = self._begin(query) + below[0] - (np.cumsum(number) - number)
        column = self.keys[np.arange(len(of)) + shift[of]] % self.scores.shape[1]
        return of, column, self.scores[query[of], column]

    def _begin(self, query: Int[np.ndarray, "p"]) -> Int[np.ndarray, "p"]:
        """The first place of a query."""
        num_queries, num_columns = self.scores.shape
        return self.keys.searchsorted((np.arange(num_queries) << 32) * num_columns)[query]


def positions(
    scores: Float[np.ndarray, "t n"], reach: Float[np.ndarray, "t"]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows and columns of the scores below the reach of their row; None where they are too many."""
    (num_rows, num_columns), near = scores.shape, scores < reach[:, None]
    if np.count_nonzero(near) > MOST_SHARE * scores.size or scores.size > MOST_SCORES:
        return None
    places = np.flatnonzero(near)
    begins = places.searchsorted(np.arange(num_rows + 1) * num_columns)
    row = np.repeat(np.arange(num_rows), np.diff(begins))
    return row, places - row * num_columns


def _keys(
    query: Int[np.ndarray, "k"], score: Float[np.ndarray, "k"], num_columns: int
) -> Int[np.ndarray, "k"]:
    """Numbers in the order of the queries, then of the scores, with room for columns between."""
    bits = (score + np.float32(0)).view(np.int32)  # -0 becomes 0
    rising = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) + 2**31
    return ((query << 32) + rising) * num_columns
