"""What is measured of features while a run trains, beside their ranking: a few numbers each.

A probe takes the embedded query and gallery and their ranking, and gives numbers by name.
`eval.probes` names those of a run; their figures stand in `metrics.jsonl` as `DATASET/NAME`, and
`train.best` may name one.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from luperson_jax.structs import EmbeddingSet, RankingReport

NUM_NEIGHBORS = 20
TEMPERATURE = 0.07
BLOCK = 256
"""Queries whose similarities are in memory."""
SAMPLE = 4096
"""Rows whose singular values are taken: enough for features of a few thousand numbers."""

Probe = Callable[[EmbeddingSet, EmbeddingSet, RankingReport], dict[str, float]]


def knn(query: EmbeddingSet, gallery: EmbeddingSet, report: RankingReport) -> dict[str, float]:
    """`knn`: share of the queries whose identity the nearest gallery pictures vote for.

    Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", 2018,
    arXiv 1805.01978: weights exp(cosine / 0.07) over the 20 nearest. Pictures of the query's own
    person by the same camera have no vote, as in every protocol of re-identification.
    """
    del report
    query, gallery = query.known(), gallery.known()
    if not len(query.pid) or not len(gallery.pid):
        return {"knn": 0.0}
    rows, voters = _unit(query.features), _unit(gallery.features)
    hits = 0
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        similarity = rows[part] @ voters.T
        same_camera = query.camera[part, None] == gallery.camera
        similarity[same_camera & (query.pid[part, None] == gallery.pid)] = -np.inf
        hits += np.sum(_elected(similarity, gallery.pid) == query.pid[part])
    return {"knn": float(hits / len(rows))}


def _elected(similarity: np.ndarray, pid: np.ndarray) -> np.ndarray:
    """The identity with the most votes in each row."""
    num = min(NUM_NEIGHBORS, similarity.shape[1])
    nearest = np.argpartition(-similarity, num - 1, axis=1)[:, :num]
    weights = np.exp(np.take_along_axis(similarity, nearest, 1) / TEMPERATURE)
    classes, voted = np.unique(pid[nearest], return_inverse=True)
    votes = np.zeros((len(nearest), len(classes)))
    np.add.at(votes, (np.arange(len(nearest))[:, None], voted.reshape(nearest.shape)), weights)
    return classes[votes.argmax(axis=1)]


def collapse(query: EmbeddingSet, gallery: EmbeddingSet, report: RankingReport) -> dict[str, float]:
    """Whether features have shrunk to a point or to few directions.

    `feature_std`: deviation of the numbers of unit vectors times sqrt(D), from 0 (all are one
    vector) to 1 (Chen and He, "Exploring Simple Siamese Representation Learning", 2021, arXiv
    2011.10566). `mean_cosine`: of all pairs of features, 1 where all are one vector.
    `effective_rank`: exp of the entropy of the singular values of the features, 1..D (Garrido et
    al., "RankMe", 2023, arXiv 2210.02885).
    """
    del query, report
    rows = np.linspace(0, len(gallery.features) - 1, min(SAMPLE, len(gallery.features)), dtype=int)
    features = gallery.features[rows].astype(np.float64)
    unit = _unit(features)
    spread = unit.std(axis=0).mean() * np.sqrt(features.shape[1])
    # The sum over all pairs is the square of the sum of all vectors, less those with themselves.
    total = np.sum(unit.sum(axis=0) ** 2) - np.sum(unit**2)
    cosine = total / max(len(unit) * (len(unit) - 1), 1)
    values = np.linalg.svd(features, compute_uv=False)
    shares = values / max(values.sum(), np.finfo(np.float64).tiny)
    shares = shares[shares > 0]
    rank = np.exp(-np.sum(shares * np.log(shares))) if len(shares) else 0.0
    return {
        "feature_std": float(spread),
        "mean_cosine": float(cosine),
        "effective_rank": float(rank),
    }


def trapezoid(
    query: EmbeddingSet, gallery: EmbeddingSet, report: RankingReport
) -> dict[str, float]:
    """`mAP_trapezoid`: the mean average precision that LUPerson's pre-training prints."""
    del query, gallery
    return {"mAP_trapezoid": report.mAP_trapezoid}


def _unit(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, np.finfo(features.dtype).tiny)


PROBES: Mapping[str, Probe] = MappingProxyType(
    {"knn": knn, "collapse": collapse, "trapezoid": trapezoid}
)
