"""The threshold for a wanted share of false accepts, and how far it can be trusted.

Pairs that share a picture or a person are not independent: one person who looks like many others
makes many false accepts at once. So the intervals come from drawing *identities* again, with
replacement (bootstrap; Bolle, Ratha, Pankanti, "Error analysis of pattern recognition systems: the
subsets bootstrap", 2004). The interval of Clopper and Pearson (1934), which takes pairs for
independent and is too narrow, stands beside it, and serves alone where nothing was accepted or
everything was.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.special
from jaxtyping import Float, Int

from data_pipeline.errors import InputError
from luperson_jax.retrieval import verification
from luperson_jax.retrieval.verification import Gallery, PairKinds
from luperson_jax.structs import EmbeddingSet

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Rate:
    """A measured share of accepted pairs.

    Attributes:
        value: 0..1.
        accepted: pairs at most the threshold apart.
        pairs: all of their kind.
        interval: of the true share, by drawing identities again; by pairs where that says nothing.
        by_pairs: Clopper and Pearson's, as if pairs were independent.
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
        wanted: share of false accepts that was asked for.
        distance: accept pairs at most so far apart; -inf where even the nearest pair would make
            more false accepts than wanted.
        false_accepts: of pairs of different people.
        true_accepts: of pairs of the same person.
        num_identities: on both sides together.
        confidence: of the intervals.
        roc: the whole curve.
    """

    wanted: float
    distance: float
    false_accepts: Rate
    true_accepts: Rate
    num_identities: int
    confidence: float
    roc: verification.Curve


class Accepted(NamedTuple):
    """Accepted pairs by identity, the identities numbered from 0.

    Attributes:
        same: [I] pairs of the same person.
        first, second: [M] the two people of pairs of different ones.
        num: [M] how many such pairs.
    """

    same: Int[np.ndarray, "i"]
    first: Int[np.ndarray, "m"]
    second: Int[np.ndarray, "m"]
    num: Int[np.ndarray, "m"]


def calibrate(
    query: EmbeddingSet,
    gallery: Gallery | None = None,
    *,
    false_accepts: float,
    metric: str = "cosine",
    rule: str = "market",
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Calibration:
    """The largest distance that keeps the false accepts of these pairs at or below a wanted share.

    Args:
        query: the Q queries, or the one set.
        gallery: the gallery, or several; None pairs `query` with itself. Rows of nobody known
            (identity -1) are left aside on both sides.
        false_accepts: wanted share of accepted pairs among those of different people, 0..1.
        metric: "cosine" or "euclidean".
        rule: which pairs count, a key of `verification.RULES`.
        confidence: of the intervals, 0..1.
        resamples: draws of identities.
        seed: of the draws.

    Raises:
        InputError: as `verification.count_pairs`, or a share outside 0..1.
    """
    for name, share in (("false accepts", false_accepts), ("the confidence", confidence)):
        if not 0 < share < 1:
            raise InputError(f"{name} are to be {share}; expected a share between 0 and 1")
    query, gallery = verification.known_sets(query, gallery, metric)
    roc = verification.curve(verification.count_pairs(query, gallery, metric=metric, rule=rule))
    place = verification.place_of_fpr(roc, false_accepts)
    features, labels = verification.prepare(query, gallery, metric, rule)
    identities, pid = np.unique(
        np.concatenate([labels.query_pid, labels.gallery_pid]), return_inverse=True
    )
    pid = np.split(pid, [len(labels.query_pid)])
    found = verification.distances(query, features, metric, labels.within)
    accepted = _accepted(found, roc.distance[place], labels, pid, len(identities))
    pairs = _PairsOfIdentities.of(labels, pid, len(identities))
    assert pairs.different(np.ones(len(identities))) == roc.num_different
    assert pairs.same.sum() == roc.num_same
    draws = _draw(accepted, pairs, resamples, np.random.default_rng(seed))
    counts = (int(accepted.num.sum()), int(accepted.same.sum()))
    numbers = zip(counts, (roc.num_different, roc.num_same), strict=True)
    rates = [
        _rate(count, total, drawn, confidence)
        for (count, total), drawn in zip(numbers, draws, strict=True)
    ]
    return Calibration(
        wanted=false_accepts,
        distance=float(roc.distance[place]),
        false_accepts=rates[0],
        true_accepts=rates[1],
        num_identities=len(identities),
        confidence=confidence,
        roc=roc,
    )


def clopper_pearson(successes: int, trials: int, confidence: float) -> Interval:
    """The exact interval of a binomial share.

    Args:
        successes: 0..trials.
        trials: independent ones, at least 1.
        confidence: 0..1.
    """
    tail = (1 - confidence) / 2
    failures = trials - successes
    low = scipy.special.betaincinv(successes, failures + 1, tail) if successes else 0.0
    high = scipy.special.betaincinv(successes + 1, failures, 1 - tail) if failures else 1.0
    return float(low), float(high)


def _accepted(
    found: Iterator[tuple[np.ndarray, int, np.ndarray]],
    threshold: np.float32,
    labels: PairKinds,
    pid: list[np.ndarray],
    num_identities: int,
) -> Accepted:
    same = np.zeros(num_identities, np.int64)
    codes, nums = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    query_pid, gallery_pid = pid
    for rows, first, tile in found:
        near = tile <= threshold
        if not near.any():
            continue
        of_same, of_different = labels.kinds(rows, first, tile.shape[1])
        one, _ = np.nonzero(of_same & near)
        same += np.bincount(query_pid[rows[one]], minlength=num_identities)
        one, other = np.nonzero(of_different & near)
        code = query_pid[rows[one]].astype(np.int64) * num_identities + gallery_pid[first + other]
        seen, num = np.unique(code, return_counts=True)
        codes.append(seen)
        nums.append(num)
    seen, places = np.unique(np.concatenate(codes), return_inverse=True)
    num = np.bincount(places, np.concatenate(nums), minlength=len(seen)).astype(np.int64)
    return Accepted(same, seen // num_identities, seen % num_identities, num)


class _PairsOfIdentities(NamedTuple):
    """How many pairs there are for any weights of the identities, without listing them.

    Attributes:
        query, gallery: [I] pictures of each identity.
        query_of_camera, gallery_of_camera: [I, C] sparse, where pairs of one camera are left out
            among different people; else None.
        same: [I] pairs of the same person.
        share: 1, or 1/2 within one set, where every pair stands twice in the products.
    """

    query: np.ndarray
    gallery: np.ndarray
    query_of_camera: scipy.sparse.csr_array | None
    gallery_of_camera: scipy.sparse.csr_array | None
    same: np.ndarray
    share: float

    @classmethod
    def of(cls, labels: PairKinds, pid: list[np.ndarray], num: int) -> "_PairsOfIdentities":
        cameras = np.concatenate([labels.query_camera, labels.gallery_camera])
        kinds, camera = np.unique(cameras, return_inverse=True)
        tables = [
            scipy.sparse.coo_array(
                (np.ones(len(one)), (one, where)), shape=(num, len(kinds))
            ).tocsr()
            for one, where in zip(pid, np.split(camera, [len(pid[0])]), strict=True)
        ]
        query, gallery = (table.sum(axis=1) for table in tables)
        if labels.rule == "all":
            left_out = query if labels.within else np.zeros(num)
        else:
            left_out = (tables[0] * tables[1]).sum(axis=1)
        share = 0.5 if labels.within else 1.0
        same = share * (query * gallery - left_out)
        if labels.rule != "across":
            return cls(query, gallery, None, None, same, share)
        return cls(query, gallery, tables[0], tables[1], same, share)

    def different(self, weight: Float[np.ndarray, "i"]) -> float:
        """Pairs of different people, each counted by the product of their weights."""
        total = (weight @ self.query) * (weight @ self.gallery)
        total -= np.sum(weight**2 * self.query * self.gallery)
        if self.query_of_camera is not None and self.gallery_of_camera is not None:
            query, gallery = self.query_of_camera, self.gallery_of_camera
            total -= (weight @ query) @ (weight @ gallery)
            total += np.sum(weight**2 * (query * gallery).sum(axis=1))
        return float(self.share * total)


def _draw(
    accepted: Accepted, pairs: _PairsOfIdentities, resamples: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of false and of true accepts when as many identities are drawn with replacement.

    An identity drawn twice counts as two people who never meet: pairs across the copies are
    neither of the same person nor of different ones.
    """
    num = len(accepted.same)
    shares = np.full((resamples, 2), np.nan)
    for one in range(resamples):
        weight = np.bincount(generator.integers(0, num, num), minlength=num).astype(np.float64)
        different, same = pairs.different(weight), weight @ pairs.same
        if different:
            false = (weight[accepted.first] * weight[accepted.second]) @ accepted.num
            shares[one, 0] = false / different
        if same:
            shares[one, 1] = (weight @ accepted.same) / same
    return shares[:, 0], shares[:, 1]


def _rate(accepted: int, pairs: int, drawn: np.ndarray, confidence: float) -> Rate:
    by_pairs = clopper_pearson(accepted, pairs, confidence)
    interval, known = by_pairs, drawn[np.isfinite(drawn)]
    if 0 < accepted < pairs and len(known):
        tail = (1 - confidence) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        interval = (float(low), float(high))
    return Rate(accepted / pairs, accepted, pairs, interval, by_pairs)
