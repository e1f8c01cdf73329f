"""The threshold for a wanted share of false accepts, and how far it can be trusted.

What is known of the people at hand is to hold for others. People are the units: that one is as good
as the next, and new ones like those at hand, before the same cameras, is all that is assumed. Three
thresholds differ in what they promise:

measured    the largest at which the pairs at hand make no more false accepts than wanted. Of new
            people about half of all samples make more.
confident   the largest at which the high end of the interval of the share, by people, is not above
            the wanted one: with a confidence of 95 % no more than 5 % of all samples of people lead
            to a threshold that makes more. It is not exact; `identity_rates` says how it is made.
conformal   of two new people, a picture of each, at most the wanted share is accepted, on average
            over all samples, exactly and for any features. Were the two among the n at hand, the
            largest threshold that keeps the share of all n + 2 would do, because any two are as
            likely the new ones; it is not below the one that holds if every pair with a new person
            were accepted (conformal risk control: Angelopoulos, Bates, Fisch, Lei, Schuster, 2022,
            arXiv 2208.02814; here for pairs of people, where 2 n + 1 pairs of n + 2 people are
            new). Each two people count the same, whatever their pictures.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from data_pipeline.errors import InputError
from luperson_jax.retrieval import identity_rates, pair_lists, verification
from luperson_jax.retrieval.identity_rates import Interval, PairsOfKind
from luperson_jax.retrieval.pair_lists import PairList
from luperson_jax.retrieval.verification import Gallery
from luperson_jax.structs import EmbeddingSet

PROMISES = ("confident", "conformal", "measured")
REACH = 3
"""At first pairs are listed up to so many times the wanted share of false accepts."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a threshold is to keep.

    Attributes:
        false_accepts: wanted share of accepted pairs among those of different people, 0..1.
        misses: wanted share, among pairs of the same person, of those beyond the distance from
            which a pair is rejected; between the two distances there is no answer. None = no such
            band.
        promise: one of `PROMISES`.
        confidence: of the promise and of intervals, 0.5..1.
        people: the shares are those among so many new people; None = among all there are.
    """

    false_accepts: float
    misses: float | None = None
    promise: str = "confident"
    confidence: float = 0.95
    people: int | None = None

    def __post_init__(self) -> None:
        shares = {"false accepts": self.false_accepts, "misses": self.misses}
        for name, share in shares.items():
            if share is not None and not 0 < share < 1:
                raise InputError(f"{name} are to be {share}; expected a share between 0 and 1")
        if not 0.5 < self.confidence < 1:
            raise InputError(
                f"the confidence is to be {self.confidence}; expected a share between 0.5 and 1"
            )
        if self.promise not in PROMISES:
            raise InputError(
                f"the promise is {self.promise!r}; expected one of {', '.join(PROMISES)}"
            )
        if self.people is not None and self.people < 2:
            raise InputError(f"{self.people} new people make no pair; expected 2 or more")


@dataclasses.dataclass(frozen=True)
class Rate:
    """A measured share of pairs.

    Attributes:
        value: 0..1.
        accepted: pairs at most the threshold apart.
        pairs: all of their kind.
        interval: of the true share, by people.
        by_pairs: Clopper and Pearson's, as if pairs were independent: too narrow.
    """

    value: float
    accepted: int
    pairs: int
    interval: Interval
    by_pairs: Interval


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A threshold and what to expect of it.

    Attributes:
        goal: what was asked for.
        distance: accept pairs at most so far apart, by the promise of the goal; -inf where these
            people are too few for it, or the nearest pair shows two.
        measured, confident: thresholds of these promises.
        conformal: likewise; None where pairs were chosen by somebody.
        interval: of the threshold that keeps the wanted share among all people, by people.
        reject: reject pairs farther apart; None where no band was asked for. Never below
            `distance`.
        false_accepts: of pairs of different people, at `distance`.
        true_accepts: of pairs of the same person, at `distance`.
        missed: share of pairs of the same person beyond `reject`; None without.
        unsure: shares of pairs of the same person and of different people between the two; None
            without.
        num_identities: on both sides together.
        people_needed: the fewest people with whom a conformal threshold can be promised.
        roc: the whole curve.
    """

    goal: Goal
    distance: float
    measured: float
    confident: float
    conformal: float | None
    interval: Interval
    reject: float | None
    false_accepts: Rate
    true_accepts: Rate
    missed: Rate | None
    unsure: tuple[float, float] | None
    num_identities: int
    people_needed: int
    roc: verification.Curve


def calibrate(
    query: EmbeddingSet,
    gallery: Gallery | None = None,
    *,
    goal: Goal,
    metric: str = "cosine",
    rule: str = "market",
) -> Calibration:
    """The threshold for the pairs of two sets, or within one.

    Args:
        query: the Q queries, or the one set.
        gallery: the gallery, or several; None pairs `query` with itself. Rows of nobody known
            (identity -1) are left aside on both sides.
        goal: what to keep.
        metric: "cosine" or "euclidean".
        rule: which pairs count, a key of `verification.RULES`. With "tracklets" identities number
            tracklets: two of one camera may still show one person, whose pairs are near and count
            as different people, so that the threshold is too strict rather than too wide; and true
            accepts are those within tracklets, which are nearer than pairs of two cameras.

    Raises:
        InputError: as `verification.count_pairs`.
    """
    query, gallery = verification.known_sets(query, gallery, metric)
    roc = verification.curve(verification.count_pairs(query, gallery, metric=metric, rule=rule))
    share = REACH * goal.false_accepts
    while True:
        place = np.searchsorted(roc.fpr, share)  # the first that accepts as many
        reach = float(roc.distance[place]) if place < len(roc.distance) else np.inf
        pairs = pair_lists.near_pairs(query, gallery, metric, rule, reach)
        if pairs.different.all_listed or _ends_inside(pairs.different, goal):
            return _calibration(pairs, roc, goal)
        share *= REACH


def calibrate_pairs(
    distance: Float[np.ndarray, "m"],
    same: Bool[np.ndarray, "m"],
    first: np.ndarray,
    second: np.ndarray,
    *,
    goal: Goal,
) -> Calibration:
    """The threshold for pairs that somebody has judged.

    Args:
        distance: [M].
        same: [M] whether a pair shows the same person.
        first, second: [M] names or numbers of the two pictures.
        goal: what to keep; not "conformal", which speaks of all pairs of some people.

    Raises:
        InputError: as `pair_lists.labelled_pairs`, or a conformal threshold.
    """
    if goal.promise == "conformal":
        raise InputError(
            "pairs that were chosen allow no conformal threshold; give embeddings with identities, "
            "or another promise"
        )
    pairs = pair_lists.labelled_pairs(distance, same, first, second)
    return _calibration(pairs, verification.curve(pair_lists.counts(pairs)), goal)


def calibrate_cameras(
    embedded: EmbeddingSet, *, goal: Goal, metric: str = "cosine"
) -> dict[tuple[int, int], Calibration]:
    """A threshold for each two cameras whose pictures make pairs of both kinds.

    Within one camera all pairs of pictures count, across two all that there are.

    Args:
        embedded: all pictures; rows of nobody known are left aside.
        goal: what to keep, for each two cameras by themselves.
        metric: "cosine" or "euclidean".

    Returns:
        By cameras, the smaller number first.
    """
    known, _ = verification.known_sets(embedded, None, metric)
    cameras = np.unique(known.camera).tolist()
    sets = {camera: known.take(np.flatnonzero(known.camera == camera)) for camera in cameras}
    found = {}
    for one in cameras:
        for other in cameras:
            pair = (one, other)
            if one > other or not _both_kinds(sets[one].pid, sets[other].pid, one == other):
                continue
            gallery = None if one == other else sets[other]
            found[pair] = calibrate(sets[one], gallery, goal=goal, metric=metric, rule="all")
    return found


def _both_kinds(one: np.ndarray, other: np.ndarray, within: bool) -> bool:
    people = np.union1d(one, other)
    same = len(np.unique(one)) < len(one) if within else len(np.intersect1d(one, other)) > 0
    return same and len(people) > 1


def _ends_inside(different: PairsOfKind, goal: Goal) -> bool:
    """Whether the list goes beyond the interval of the threshold."""
    rank = identity_rates.holding_rank(different, goal.false_accepts, goal.confidence, 0)
    return rank < len(different.order)


class Thresholds(NamedTuple):
    """By promise; -inf where there is none."""

    measured: float
    confident: float
    conformal: float | None


def thresholds(pairs: PairList, goal: Goal) -> Thresholds:
    """What `Calibration` has of a list of pairs; its promise makes no difference.

    Args:
        pairs: those of different people at least up to the measured threshold.
        goal: what to keep.
    """
    different, wanted = pairs.different, goal.false_accepts
    measured = _with_equals(different, int(wanted * different.total + 1e-9))
    confident = _holding(different, goal, _one_sided(goal), 1, goal.people)
    return Thresholds(measured, min(confident, measured), _conformal(pairs, wanted))


def _holding(
    different: PairsOfKind, goal: Goal, confidence: float, side: int, people: int | None = None
) -> float:
    rank = identity_rates.holding_rank(different, goal.false_accepts, confidence, side, people)
    return float(different.order[rank - 1]) if rank else -np.inf


def _with_equals(pairs: PairsOfKind, rank: int) -> float:
    """The largest distance at which no more than `rank` pairs are accepted; equal ones go
    together."""
    order = pairs.order
    if rank < len(order):
        rank = int(np.searchsorted(order, order[rank], side="left"))
    return float(order[min(rank, len(order)) - 1]) if rank else -np.inf


def _calibration(pairs: PairList, roc: verification.Curve, goal: Goal) -> Calibration:
    different, same = pairs.different, pairs.same
    found = thresholds(pairs, goal)
    distance = getattr(found, goal.promise)
    assert distance is not None  # `calibrate_pairs` refuses it
    band = None if goal.misses is None else _band(same, roc, distance, goal, goal.misses)
    return Calibration(
        goal=goal,
        distance=distance,
        measured=found.measured,
        confident=found.confident,
        conformal=found.conformal,
        interval=(
            _holding(different, goal, goal.confidence, 1),
            _holding(different, goal, goal.confidence, 0),
        ),
        reject=None if band is None else band.reject,
        false_accepts=_rate(different, different.rank(distance), goal),
        true_accepts=_rate(same, same.rank(distance), goal),
        missed=None if band is None else band.missed,
        unsure=None if band is None else band.unsure,
        num_identities=pairs.num_identities,
        people_needed=people_needed(goal.false_accepts),
        roc=roc,
    )


class _Band(NamedTuple):
    reject: float
    missed: Rate
    unsure: tuple[float, float]


def _band(
    same: PairsOfKind, roc: verification.Curve, accept: float, goal: Goal, misses: float
) -> _Band:
    far = same._replace(order=-same.order[::-1], first=same.first[::-1], second=same.second[::-1])
    rank = identity_rates.holding_rank(far, misses, _one_sided(goal), 1, goal.people)
    reject = max(float(same.order[len(same.order) - 1 - rank]), accept)
    missed = _rate(far, len(same.order) - same.rank(reject), goal)
    ends = np.array([accept, reject], np.float32)
    places = np.searchsorted(roc.distance, ends, side="right") - 1
    of_same, of_different = (float(np.diff(shares[places])[0]) for shares in (roc.tpr, roc.fpr))
    return _Band(reject, missed, (of_same, of_different))


def _one_sided(goal: Goal) -> float:
    """Confidence of an interval of which one end alone is asked for."""
    return 2 * goal.confidence - 1


def people_needed(false_accepts: float) -> int:
    """The fewest people with whom a conformal threshold can be promised: about 4 / share."""
    num = int(4 / false_accepts)
    while _new_pairs(num) <= false_accepts * _pairs(num + 2) and num > 2:
        num -= 1
    while _new_pairs(num) > false_accepts * _pairs(num + 2):
        num += 1
    return num


def _conformal(pairs: PairList, wanted: float) -> float | None:
    if pairs.of_two is None:
        return None
    num = pairs.num_identities
    accepted = np.cumsum(1 / pairs.of_two) + _new_pairs(num)
    held = np.flatnonzero(accepted <= wanted * _pairs(num + 2))
    return _with_equals(pairs.different, int(held[-1]) + 1 if len(held) else 0)


def _pairs(num: int) -> int:
    return num * (num - 1) // 2


def _new_pairs(num: int) -> int:
    """Pairs with at least one of two new people."""
    return 2 * num + 1


def _rate(pairs: PairsOfKind, rank: int, goal: Goal) -> Rate:
    return Rate(
        rank / pairs.total,
        rank,
        pairs.total,
        identity_rates.interval(pairs, rank, goal.confidence, goal.people),
        identity_rates.clopper_pearson(rank, pairs.total, goal.confidence),
    )
