"""The evaluation protocols of the data sets.

A protocol is data: which gallery images a query does not see, how a gallery is drawn, what is
averaged. Which images are query and gallery is the data set's to say, so that `mars` and
`mars_pytorch` differ in their galleries as well as in their rules.

Recalled and not read: the draw of a gallery of VehicleID (Liu et al., "Deep Relative Distance
Learning: Tell the Difference Between Similar Vehicles", 2016) and the CMC of all shots as the
library Open-ReID counts it.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.retrieval import average_precision, inputs, match_ranks
from luperson_jax.retrieval.execution import ANYHOW
from luperson_jax.retrieval.labels import NOBODYS, Labels, RemovalRule, make_labels
from luperson_jax.retrieval.rows import HostRows
from luperson_jax.structs import EmbeddingSet, RankingReport

RanksOf = Callable[[Labels], np.ndarray]
"""Labels -> the ranks of their matches, in one set of distances."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a result of a data set is computed.

    Attributes:
        removal: gallery images that a query does not see; see `labels.REMOVALS`.
        draw: what is drawn at random, `repeats` times. "nothing"; "gallery": one image of each
            identity is the gallery, and the CMC is the mean over the draws, while mAP and mINP are
            those of the whole gallery (single gallery shot); "division": one image of each identity
            is the gallery and all others of both sets are the queries.
        repeats: number of draws.
        both_directions: whether query and gallery change places for a second result, and the mean
            of the two counts.
        trapezoid: whether mAP is that of the trapezoid rule.
        every_match: whether the CMC counts every match (all shots) or the first alone.
    """

    removal: str = "same_identity_and_camera"
    draw: str = "nothing"
    repeats: int = 1
    both_directions: bool = False
    trapezoid: bool = False
    every_match: bool = False


MARKET = Protocol()

PROTOCOLS = {
    "market1501": MARKET,
    "veri776": MARKET,
    "all_shots": Protocol(every_match=True),
    "separate_cameras": Protocol("same_camera"),
    # Li et al., "DeepReID: Deep Filter Pairing Neural Network for Person Re-Identification", 2014.
    "cuhk03_classic": Protocol(draw="gallery", repeats=10),
    # Zheng et al., "MARS: A Video Benchmark for Large-Scale Person Re-Identification", 2016. The
    # queries are in the gallery, where the rule removes them: own identity, own camera.
    "mars": Protocol(trapezoid=True),
    # As most programs in PyTorch have it, with the queries not in the gallery.
    "mars_pytorch": MARKET,
    # One tracklet of each person in each camera; from the first to the second.
    "prid2011": Protocol("nothing"),
    "ilids_vid": Protocol("nothing", both_directions=True),
    "vehicleid": Protocol("nothing", draw="division", repeats=10),
}


@dataclasses.dataclass(frozen=True)
class Result:
    """Mean and population standard deviation over draws or splits.

    Attributes:
        mAP: mean average precision, 0..1, by the rule of the protocol.
        mINP: mean inverse negative penalty.
        cmc: [K].
        mAP_std: 0 where there was nothing to average; likewise the others.
        mINP_std: of `mINP`.
        cmc_std: [K].
        num_averaged: draws or splits.
        directions: the two results whose mean this is, query to gallery first, where a protocol
            has both.
    """

    mAP: float
    mINP: float
    cmc: np.ndarray
    mAP_std: float
    mINP_std: float
    cmc_std: np.ndarray
    num_averaged: int
    directions: tuple["Result", ...] = ()


def evaluate(
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    protocol: Protocol,
    *,
    metric: str = "cosine",
    max_rank: int = 50,
    seed: int = 0,
) -> Result:
    """Ranks by a protocol. Rows of nobody known (identity -1) are left aside on both sides.

    Args:
        query: the Q queries.
        gallery: the N gallery images.
        protocol: one of `PROTOCOLS`, or another.
        metric: "cosine" or "euclidean".
        max_rank: length of the CMC.
        seed: of the draws; the same seed draws the same.

    Returns:
        The result; of several splits, each evaluated by itself, `average` makes one.

    Raises:
        InputError: as `ranking.rank`.
    """
    average_precision.check_max_rank(max_rank)
    query, gallery = query.known(), gallery.known()
    if protocol.draw == "division":
        return _divided(query, gallery, protocol, metric, max_rank, seed)
    result = _one_direction(query, gallery, protocol, metric, max_rank, seed)
    if not protocol.both_directions:
        return result
    back = _one_direction(gallery, query, protocol, metric, max_rank, seed)
    mean = average([result, back])
    # The directions are parts of one result and no sample of results.
    nothing = np.zeros_like(mean.cmc_std)
    mean = dataclasses.replace(mean, mAP_std=0.0, mINP_std=0.0, cmc_std=nothing, num_averaged=1)
    return dataclasses.replace(mean, directions=(result, back))


def average(results: Sequence[Result]) -> Result:
    """Mean and standard deviation over the splits of a data set.

    Args:
        results: of each split, with CMCs of one length.

    Raises:
        InputError: no result, or CMCs of different lengths.
    """
    lengths = {len(result.cmc) for result in results}
    if len(lengths) != 1:
        raise InputError(
            f"{len(results)} results with CMCs of length {sorted(lengths)} were to be averaged; "
            "expected at least one, and the same max_rank for all"
        )
    mAP = np.array([result.mAP for result in results])
    mINP = np.array([result.mINP for result in results])
    cmc = np.stack([result.cmc for result in results])
    return Result(
        float(mAP.mean()),
        float(mINP.mean()),
        cmc.mean(0),
        float(mAP.std()),
        float(mINP.std()),
        cmc.std(0),
        len(results),
    )


def single_gallery_shot(
    ranks_of: RanksOf,
    labels: Labels,
    gallery_pid: np.ndarray,
    *,
    repeats: int,
    max_rank: int,
    seed: int,
) -> np.ndarray:
    """CMC of galleries with one image of each identity.

    All queries of a draw see the same images of the other identities; of its own, each sees one of
    its matches. So no query is lost because the image drawn is of its own camera.

    Args:
        ranks_of: the ranks of the matches of any labels.
        labels: of the whole gallery.
        gallery_pid: [N].
        repeats: number of draws.
        max_rank: length of the CMC.
        seed: of the draws.

    Returns:
        [repeats, K].
    """
    generator = np.random.default_rng(seed)
    return np.stack(
        [
            _cmc_of_draw(ranks_of, _draw_gallery(labels, gallery_pid, generator), max_rank)
            for _ in range(repeats)
        ]
    )


def _cmc_of_draw(ranks_of: RanksOf, drawn: Labels, max_rank: int) -> np.ndarray:
    return average_precision.make_report(drawn.offsets, ranks_of(drawn), max_rank=max_rank).cmc


def _draw_gallery(
    labels: Labels, gallery_pid: np.ndarray, generator: "np.random.Generator"
) -> Labels:
    """Labels with one match of each query, by which only images of the draw stand before it."""
    seen = np.flatnonzero(labels.gallery_group != NOBODYS)
    drawn = seen[_one_of_each(gallery_pid[seen], generator)]
    groups = np.unique(gallery_pid, return_inverse=True)[1].astype(np.int32)
    gallery_group = np.full(len(gallery_pid), NOBODYS, np.int32)
    gallery_group[drawn] = groups[drawn]

    num_matches = labels.num_matches
    valid = num_matches > 0
    place = (generator.random(len(num_matches)) * num_matches).astype(np.int64)
    matches = labels.matches[(labels.offsets[:-1] + place)[valid]]
    query_group = np.full(len(num_matches), NOBODYS, np.int32)
    query_group[valid] = groups[matches]
    offsets = np.concatenate([[0], np.cumsum(valid)])
    return labels._replace(
        query_group=query_group, gallery_group=gallery_group, offsets=offsets, matches=matches
    )


def _one_of_each(pid: np.ndarray, generator: "np.random.Generator") -> np.ndarray:
    """A random row of every identity."""
    order = generator.permutation(len(pid))
    return order[np.unique(pid[order], return_index=True)[1]]


def _one_direction(
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    protocol: Protocol,
    metric: str,
    max_rank: int,
    seed: int,
) -> Result:
    inputs.check_embeddings(query, [gallery], metric)
    labels = make_labels(query, gallery, RemovalRule(protocol.removal))
    average_precision.check_any_match(labels.num_matches)

    def ranks_of(labels: Labels) -> np.ndarray:
        sides = HostRows(query.features), HostRows(gallery.features)
        return match_ranks.ranks_of_features(*sides, labels, metric, ANYHOW)

    report = average_precision.make_report(
        labels.offsets, ranks_of(labels), max_rank=max_rank, every_match=protocol.every_match
    )
    result = _result(report, protocol)
    if protocol.draw == "nothing":
        return result
    cmc = single_gallery_shot(
        ranks_of,
        labels,
        gallery.pid,
        repeats=protocol.repeats,
        max_rank=max_rank,
        seed=seed,
    )
    return dataclasses.replace(
        result, cmc=cmc.mean(0), cmc_std=cmc.std(0), num_averaged=protocol.repeats
    )


def _divided(
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    protocol: Protocol,
    metric: str,
    max_rank: int,
    seed: int,
) -> Result:
    inputs.check_pair(query.features, gallery.features, metric)
    both = EmbeddingSet(
        np.concatenate([query.features, gallery.features]),
        np.concatenate([query.pid, gallery.pid]),
        np.concatenate([query.camera, gallery.camera]),
        query.key + gallery.key,
    )
    fixed = dataclasses.replace(protocol, draw="nothing")
    generator = np.random.default_rng(seed)
    results = []
    for _ in range(protocol.repeats):
        drawn = _one_of_each(both.pid, generator)
        others = np.setdiff1d(np.arange(len(both.pid)), drawn)
        parts = both.take(others), both.take(np.sort(drawn))
        results.append(_one_direction(*parts, fixed, metric, max_rank, seed))
    return average(results)


def _result(report: RankingReport, protocol: Protocol) -> Result:
    mAP = report.mAP_trapezoid if protocol.trapezoid else report.mAP
    return Result(mAP, report.mINP, report.cmc, 0.0, 0.0, np.zeros_like(report.cmc), 1)
