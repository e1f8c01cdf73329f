"""Ranks of the matches of every query, counted and not sorted out of a list of the gallery.

A wrong image that is as near as a match stands before it. So the rank of the i-th match of a query
is i plus the number of wrong images that are at most as far, and no rank depends on the order of
the gallery. The exact scores of the few matches come first; then one pass over the gallery counts,
block by block, what is ahead of each. Neither a [Q, N] matrix nor a whole row of it exists, and a
gallery block is loaded once for all queries.

Scores of a block are computed in float32. Those that come so close to the score of a match that
rounding might decide are computed again, exactly (`grid_rows`): the ranks are those of exact
scores, whatever the blocks, the threads and the devices.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from luperson_jax.retrieval import near_scores
from luperson_jax.retrieval.grid_gallery import GridGallery
from luperson_jax.retrieval.grid_rows import GridRows, exact_scores
from luperson_jax.retrieval.labels import NOBODYS, Labels
from luperson_jax.retrieval.near_scores import Near
from luperson_jax.retrieval.rows import cut
from luperson_jax.shapes import Bool, Float, Int

RESIDENT_BYTES = 2**28
"""Queries kept in memory while the gallery passes by; more queries cost another pass."""
MATCHES_AT_ONCE = 512
"""Matches of several identities whose exact scores are computed at once."""
MATCH_ROWS = 1024
"""Gallery rows whose exact scores as matches are computed at once."""
EXACT_SHARE = 1 / 128
"""A block of which more entries are too close is computed exactly as a whole."""
CLOSE_AT_ONCE = 128
"""Matches whose close scores are looked for at once."""
Exactly = Callable[[np.ndarray, np.ndarray], Float[np.ndarray, "n"]]
"""Positions of queries in their block, [n], and a column for each -> their exact scores."""
Within = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Some matches, [p] -> of every score within one of their bands which p, its column and itself."""


class Band(NamedTuple):
    """Scores that are too close to those of matches to be told apart by float32.

    Attributes:
        low: [P] float32; what is below is nearer than the match.
        high: [P] float32; what is above is farther.
        error: largest error of a score.
    """

    low: np.ndarray
    high: np.ndarray
    error: float

    @classmethod
    def around(cls, own: Float[np.ndarray, "p"], error: float) -> "Band":
        """The band of exact scores."""
        low, high = ((own + side).astype(np.float32) for side in (-error, error))
        infinity = np.float32(np.inf)
        return cls(np.nextafter(low, -infinity), np.nextafter(high, infinity), error)

    @property
    def edges(self) -> Float[np.ndarray, "2 p"]:
        """The lower ends, and what follows the upper ones."""
        return np.stack([self.low, np.nextafter(self.high, np.float32(np.inf))])


class Counter:
    """Counts, block by block, the wrong images that are at most as far as each match. Several
    threads may add blocks.

    Attributes:
        labels: of all queries and gallery rows.
        own: [M] float64 exact scores of the matches.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels, self._num_matches = labels, labels.num_matches
        self.own = np.zeros(len(labels.matches))
        self._ahead = np.zeros(len(labels.matches), np.int64)
        self._adding = threading.Lock()

    def places(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of every match of a block: its place among all matches, and its query's in the block."""
        offsets, num_matches = self.labels.offsets, self._num_matches[block]
        query_of = np.repeat(np.arange(len(block)), num_matches)
        first = np.cumsum(num_matches) - num_matches
        within = np.arange(len(query_of)) - first[query_of]
        return offsets[block][query_of] + within, query_of

    def uncounted(
        self, query: Int[np.ndarray, "*#s"], row: Int[np.ndarray, "*#s"]
    ) -> Bool[np.ndarray, "*s"]:
        """Whether a query does not see a gallery row, or it is of its own person."""
        labels = self.labels
        group = labels.gallery_group[row]
        hidden = labels.identity[query] == labels.gallery_identity[row]
        hidden |= labels.query_group[query] == group
        hidden |= group == NOBODYS
        return hidden

    def _hide(self, block: np.ndarray, first: int, scores: Float[np.ndarray, "t n"]) -> None:
        rows = np.arange(first, first + scores.shape[1])
        np.putmask(scores, self.uncounted(block[:, None], rows[None]), np.inf)

    def add_known(self, block: np.ndarray, first: int, scores: Float[np.ndarray, "t n"]) -> None:
        """Counts in scores that are exact, or taken for that; they are changed."""
        self._hide(block, first, scores)
        scores.sort(axis=1)
        for row, query in zip(scores, block, strict=True):
            part = slice(*self.labels.offsets[query : query + 2])
            ahead = row.searchsorted(self.own[part].astype(scores.dtype), side="right")
            with self._adding:
                self._ahead[part] += ahead

    def add(
        self,
        block: np.ndarray,
        first: int,
        scores: Float[np.ndarray, "t n"],
        error: float,
        exactly: Exactly,
    ) -> bool:
        """Counts in scores of float32; they are changed.

        Returns:
            whether that was possible. It is not, and nothing was counted, where too many are close,
            or an error is so large that the bound is in doubt.
        """
        places, query_of = self.places(block)
        band = Band.around(self.own[places], error)
        edges = band.edges
        ends = np.searchsorted(query_of, np.arange(len(block) + 1))
        reach = np.maximum.reduceat(edges[1], ends[:-1])
        if (found := near_scores.positions(scores, reach)) is not None:
            near = self._near(block, first, scores, *found)
            below = near.num_below(query_of, edges)

            def within(some: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
                return near.between(query_of[some], below[:, some])

        else:
            self._hide(block, first, scores)
            below = np.empty((2, len(places)), np.int64)
            for position, row in enumerate(np.sort(scores, axis=1)):
                part = slice(ends[position], ends[position + 1])
                below[:, part] = row.searchsorted(edges[:, part])
            within = functools.partial(within_rows, scores, band, query_of)
        return self.settle(block, band, below, scores.size, within, exactly)

    def _near(
        self,
        block: np.ndarray,
        first: int,
        scores: Float[np.ndarray, "t n"],
        query: Int[np.ndarray, "k"],
        column: Int[np.ndarray, "k"],
    ) -> Near:
        seen = ~self.uncounted(block[query], first + column)
        return Near.of(scores, query[seen], column[seen])

    def settle(
        self,
        block: np.ndarray,
        band: Band,
        below: Int[np.ndarray, "2 p"],
        num_scores: int,
        within: Within,
        exactly: Exactly,
    ) -> bool:
        """Adds to the counts of a block: what is nearer for certain, and of what is close that
        which is exactly at most as far.

        Args:
            block: [t] queries.
            band: of the P matches of the block.
            below: how many scores are below the bands, and below or within.
            num_scores: of the block.
            within: finds the scores within bands.
            exactly: gives exact scores.

        Returns:
            as `add`.
        """
        places, query_of = self.places(block)
        ahead, close = below[0].copy(), below[1] - below[0]
        if close.sum() > EXACT_SHARE * num_scores:
            return False
        for some in cut(np.flatnonzero(close), CLOSE_AT_ONCE):
            of_match, columns, scores = within(some)
            exact = exactly(query_of[some][of_match], columns)
            if np.abs(exact - scores).max() > band.error / 2:
                return False
            not_farther = exact <= self.own[places[some]][of_match]
            ahead[some] += np.bincount(of_match[not_farther], minlength=len(some))
        with self._adding:
            self._ahead[places] += ahead
        return True

    def ranks(self) -> Int[np.ndarray, "m"]:
        """Ranks, from 1, of the matches of every query, the first before the second."""
        offsets = self.labels.offsets
        query_of = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        ahead = self._ahead[np.lexsort((self._ahead, query_of))]
        return ahead + 1 + np.arange(len(ahead)) - offsets[query_of]


def within_rows(
    scores: Float[np.ndarray, "t n"], band: Band, query_of: np.ndarray, some: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Within` of all scores of a block."""
    rows = scores[query_of[some]]
    within = (rows >= band.low[some][:, None]) & (rows <= band.high[some][:, None])
    of_match, columns = np.nonzero(within)
    return of_match, columns, rows[within]


def passes(labels: Labels, size: int, dimensions: int) -> Iterator[list[np.ndarray]]:
    """Blocks of queries, as many at a time as are kept while the gallery passes by."""
    blocks = query_blocks(labels, size)
    fitting = max(1, RESIDENT_BYTES // (4 * size * dimensions))
    for start in range(0, len(blocks), fitting):
        yield blocks[start : start + fitting]


def query_blocks(labels: Labels, size: int) -> list[np.ndarray]:
    """The queries that have a match, in blocks.

    Queries of one identity follow each other, so that a block has few distinct matches; and
    identities with about as many matches do, so that no block waits for a single long list.
    """
    num_matches = labels.num_matches
    most = np.zeros(int(labels.identity.max()) + 1, np.int64)
    np.maximum.at(most, labels.identity, num_matches)
    valid = np.flatnonzero(num_matches)
    identity = labels.identity[valid]
    return cut(valid[np.lexsort((identity, most[identity]))], size)


def score_matches(
    counter: Counter, block: np.ndarray, left: GridRows, gallery: GridGallery
) -> None:
    """Exact scores of the matches of a block, a few identities at a time."""
    labels = counter.labels
    for positions in _runs(labels.identity[block], labels.num_matches[block]):
        places, query_of = counter.places(block[positions])
        wanted = labels.matches[places]
        query = left.rows[positions].astype(np.float64)
        rows, column = np.unique(wanted, return_inverse=True)
        for start in range(0, len(rows), MATCH_ROWS):
            right = gallery.take(rows[start : start + MATCH_ROWS])
            here = column // MATCH_ROWS == start // MATCH_ROWS
            scores = exact_scores(query, right, slice(None))
            counter.own[places[here]] = scores[query_of[here], column[here] - start]


def _runs(identity: np.ndarray, num_matches: np.ndarray) -> list[np.ndarray]:
    """Positions that follow each other, all of an identity together, with about
    `MATCHES_AT_ONCE` matches or those of one identity."""
    first = np.flatnonzero(np.diff(identity, prepend=-1))
    before = np.cumsum(num_matches)[first] - num_matches[first]
    begins = np.diff(before // MATCHES_AT_ONCE, prepend=0) > 0
    return np.split(np.arange(len(identity)), first[begins])
