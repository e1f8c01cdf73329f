"""How sure a share of pairs is, where pairs share people.

The pairs of one person are not independent: one who looks like many others makes many false accepts
at once. People are taken for independent instead. The variance of a share comes from leaving out
one person after the other (the jackknife for statistics of pairs: Arvesen, "Jackknifing
U-statistics", 1969); it says as how many independent pairs the pairs count, and their exact
binomial interval follows (Korn and Graubard, "Confidence intervals for proportions with small
expected number of positive counts estimated from survey data", 1998), which holds for small shares
too, where a normal one is too narrow.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Float, Int

Interval = tuple[float, float]

CANDIDATES = 64
"""Thresholds that are tried at once on the way to the one that holds."""


class PairsOfKind(NamedTuple):
    """Pairs of the same person, or of different ones, those on one side of the threshold first.

    Attributes:
        order: [M] float32 ascending: distances, or their negatives where far pairs come first.
        first, second: [M] numbers of the two people, from 0; the same one twice for one person.
        involved: [I] how many pairs, listed or not, each person takes part in.
        total: how many there are, listed or not.
    """

    order: Float[np.ndarray, "m"]
    first: Int[np.ndarray, "m"]
    second: Int[np.ndarray, "m"]
    involved: Float[np.ndarray, "i"]
    total: int

    @property
    def all_listed(self) -> bool:
        """Whether no pair is left out of the list."""
        return len(self.order) == self.total

    def of_people(self, start: int, stop: int) -> Int[np.ndarray, "i"]:
        """How many of some of the listed pairs each person takes part in."""
        first, second = self.first[start:stop], self.second[start:stop]
        num = len(self.involved)
        found = np.bincount(first, minlength=num)
        return found + np.bincount(second[first != second], minlength=num)

    def rank(self, place: float | np.floating) -> int:
        """How many listed pairs stand at most there."""
        return int(np.searchsorted(self.order, np.float32(place), side="right"))


def clopper_pearson(successes: int | float, trials: int | float, confidence: float) -> Interval:
    """The exact interval of a binomial share.

    Args:
        successes: 0..trials.
        trials: independent ones, above 0; need not be whole.
        confidence: 0..1.
    """
    tail = (1 - confidence) / 2
    failures = trials - successes
    low = scipy.special.betaincinv(successes, failures + 1, tail) if successes else 0.0
    high = scipy.special.betaincinv(successes + 1, failures, 1 - tail) if failures else 1.0
    return float(low), float(high)


def interval(
    pairs: PairsOfKind, rank: int, confidence: float, people: int | None = None
) -> Interval:
    """The interval of the share of pairs among the first `rank`, by people.

    Where the share is 0 or 1 nothing tells how pairs depend on each other; then as many count as
    can be made of these people so that nobody is in two.

    Args:
        pairs: of one kind.
        rank: 0..M.
        confidence: 0..1.
        people: the share is that among so many new people; None: of all people there are.

    Returns:
        Low and high, 0..1.
    """
    return _interval(pairs, rank, pairs.of_people(0, rank), confidence, people)


def holding_rank(
    pairs: PairsOfKind, wanted: float, confidence: float, side: int, people: int | None = None
) -> int:
    """How many pairs may be taken so that an end of the interval of their share is at most a
    wanted share, there and at all ranks tried before. Equal pairs are taken together.

    Args:
        pairs: of one kind.
        wanted: 0..1.
        confidence, people: of `interval`.
        side: 0 = its low end, 1 = its high end.
    """
    ends = np.flatnonzero(np.append(pairs.order[:-1] < pairs.order[1:], True)) + 1
    ends = ends[: len(pairs.order)]
    low, high = 0, len(ends)  # of `ends`, 1-based: holds at low, is not known to above
    while high > low:
        tried = np.unique(np.linspace(low, high, CANDIDATES + 1).astype(int))[1:]
        held, failed = low, None
        counted = int(ends[low - 1]) if low else 0
        people_of = pairs.of_people(0, counted)
        for one in tried:
            rank = int(ends[one - 1])
            people_of = people_of + pairs.of_people(counted, rank)
            counted = rank
            if _interval(pairs, rank, people_of, confidence, people)[side] > wanted:
                failed = one
                break
            held = one
        low, high = held, held if failed is None else failed - 1
    return int(ends[low - 1]) if low else 0


def _interval(
    pairs: PairsOfKind,
    rank: int,
    of_people: Int[np.ndarray, "i"],
    confidence: float,
    people: int | None,
) -> Interval:
    num = len(pairs.involved)
    share = rank / pairs.total
    rest = pairs.total - pairs.involved
    without = (rank - of_people[rest > 0]) / rest[rest > 0]
    of_two = bool(np.any(pairs.first != pairs.second))
    apart = num // 2 if of_two else int(np.count_nonzero(pairs.involved))
    apart = max(1, min(apart, pairs.total))
    if share in (0, 1) or len(without) < 2:
        return clopper_pearson(share * apart, apart, confidence)
    num = len(without)
    variance = (num - 1) / num * np.sum((without - without.mean()) ** 2)
    if people is not None:
        variance *= 1 + num / people
    variance = max(float(variance), share * (1 - share) / pairs.total)
    trials = share * (1 - share) / variance
    tail = (1 - confidence) / 2
    trials *= (scipy.special.ndtri(tail) / scipy.special.stdtrit(num - 1, tail)) ** 2
    return clopper_pearson(share * trials, trials, confidence)
