"""What single pictures tell of how well people are found again before other cameras.

Where not even tracklets are known, groups of pictures take the place of people: pseudo labels. They
come from the same features that are to be judged, so that a figure measured with them is too high
wherever two people look alike, and says nothing by itself. Two halves of the features, of axes that
vary independently, make it less so: one half groups, the other is ranked. `statistics` measures
such figures and other traces of success between cameras; what they are worth has to be learned.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from data_pipeline.errors import InputError
from luperson_jax.clustering import grouping
from luperson_jax.clustering.dbscan import NOISE
from luperson_jax.lengths import unit_rows
from luperson_jax.retrieval.label_free import (
    free_of_means,
    largest_of,
    logit_of,
    off_diagonal,
)

FEWEST_PICTURES = 8
"""Of a camera that is looked at."""
MOST_PICTURES = 4000
"""All pairs of them are held in memory."""
K1, K2, LARGEST_DISTANCE = 15, 4, 0.8
"""Of communities, as `luperson cluster` has them; two pictures may be one."""
NAMES = (
    "pseudo_map",
    "pseudo_first",
    "halved_map",
    "halved_first",
    "halves",
    "mutual",
    "excess",
    "gap",
    "skew",
    "tail",
    "own_excess",
    "own_gap",
    "own_halves",
    "size",
    "spanning",
    "alone",
    "shift",
    "cameras",
    "pictures",
)
"""What is measured, see `statistics`."""


class Figures(NamedTuple):
    """mAP and Rank-1, 0..1; nan where nobody is seen by two cameras."""

    mAP: float
    rank1: float


def figures(
    similarity: Float[np.ndarray, "n n"],
    pid: Int[np.ndarray, "n"],
    camera: Int[np.ndarray, "n"],
) -> Figures:
    """Those of all pictures in all pictures by the rule of Market-1501, as `ranking.rank` has them.

    The tables of `estimation` were learned with these: equal similarities rank by row, where
    `ranking` puts wrong pictures first.

    Args:
        similarity: of each two pictures.
        pid: a negative identity is nobody's: as a query it has no match, in the gallery it is wrong
            for all.
        camera: of each picture.
    """
    same, near = (pid[:, None] == pid) & (pid >= 0), camera[:, None] == camera
    hidden = same & near
    np.fill_diagonal(hidden, True)
    order = np.argsort(np.where(hidden, np.inf, -similarity), axis=1, kind="stable")
    hits = np.take_along_axis(same & ~near, order, axis=1)
    hits = hits[hits.any(axis=1)]
    if not len(hits):
        return Figures(np.nan, np.nan)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    average = np.sum(precision * hits, axis=1) / hits.sum(axis=1)
    return Figures(float(average.mean()), float(hits[:, 0].mean()))


def statistics(
    features: Float[np.ndarray, "n d"], camera: Int[np.ndarray, "n"]
) -> dict[str, float]:
    """The traces, by `NAMES`.

    Similarities of two cameras are taken free of how similar each picture is to all of the other
    camera, and in units of what remains of their deviation.

    pseudo_map, pseudo_first   mAP and Rank-1 by groups of the same features, arcsin(sqrt(share))
    halved_map, halved_first   by groups of one half of the features, ranked by the other
    halves           pictures whose nearest before another camera is the same by both halves, logit
    mutual           who is nearest before another camera and finds this one nearest in turn, logit
    excess, gap      of the nearest: above the largest of so many normal numbers; above the second
    skew, tail       third and fourth moments
    own_excess, own_gap, own_halves   of the nearest other picture inside a camera
    size, spanning   logarithms of pictures and cameras of a picture's group
    alone            share of pictures without a group
    shift            by how much cameras make others less similar
    cameras, pictures   logarithms of their number; of pictures before a camera

    Args:
        features: of any length.
        camera: of each picture.

    Raises:
        InputError: fewer than two cameras with `FEWEST_PICTURES`, or more than `MOST_PICTURES`.
    """
    kept = _looked_at(camera)
    unit, camera = unit_rows(np.asarray(features, np.float32)[kept]), camera[kept]
    halves = [unit_rows(half) for half in _halves(unit, camera)]
    whole = unit @ unit.T
    by_half = [half @ half.T for half in halves]
    found = _of_groups(unit, whole, halves, by_half, camera)
    found |= _of_neighbors(whole, by_half, camera)
    numbers, sizes = np.unique(camera, return_counts=True)
    found["cameras"] = float(np.log(len(numbers)))
    found["pictures"] = float(np.log(sizes.mean()))
    return {name: found[name] for name in NAMES}


def _looked_at(camera: np.ndarray) -> Int[np.ndarray, "m"]:
    numbers, sizes = np.unique(camera, return_counts=True)
    large = numbers[sizes >= FEWEST_PICTURES]
    kept = np.flatnonzero(np.isin(camera, large))
    if len(large) < 2:
        raise InputError(
            f"there are {len(camera)} pictures before {len(numbers)} cameras; an estimate needs "
            f"two cameras with {FEWEST_PICTURES} pictures each, or more"
        )
    if len(kept) > MOST_PICTURES:
        raise InputError(
            f"an estimate without tracklets takes {MOST_PICTURES} pictures at most, not "
            f"{len(kept)}: it has learned from smaller sets, and figures depend on how many people "
            "are searched; give those of a shorter time"
        )
    return kept


def _halves(unit: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features along axes that vary independently inside cameras, dealt to two sides by turns."""
    free = unit.copy()
    for one in np.unique(camera):
        free[camera == one] -= unit[camera == one].mean(axis=0)
    _, _, axes = np.linalg.svd(free, full_matrices=False)
    along = free @ axes.T
    place = np.arange(along.shape[1]) % 4
    first = (place == 0) | (place == 3)
    return along[:, first], along[:, ~first]


def _groups(features: np.ndarray) -> np.ndarray:
    how = grouping.Grouping(
        method="communities",
        k1=min(K1, len(features) - 1),
        k2=K2,
        eps=LARGEST_DISTANCE,
        min_samples=2,
    )
    return grouping.group(features, how).labels


def _of_groups(
    unit: np.ndarray,
    whole: np.ndarray,
    halves: list[np.ndarray],
    by_half: list[np.ndarray],
    camera: np.ndarray,
) -> dict[str, float]:
    labels = _groups(unit)
    inside = labels != NOISE
    sizes = np.bincount(labels[inside], minlength=1)
    pairs = np.unique(np.stack([labels[inside], camera[inside]]), axis=1)
    spans = np.bincount(pairs[0], minlength=1)
    member = labels[inside]
    crossed = [
        figures(other, _groups(half), camera)
        for half, other in zip(halves, reversed(by_half), strict=True)
    ]
    own = figures(whole, labels, camera)
    return {
        "pseudo_map": _angle(own.mAP),
        "pseudo_first": _angle(own.rank1),
        "halved_map": float(np.mean([_angle(one.mAP) for one in crossed])),
        "halved_first": float(np.mean([_angle(one.rank1) for one in crossed])),
        "size": float(np.log(sizes[member]).mean()) if len(member) else 0.0,
        "spanning": float(np.log(spans[member]).mean()) if len(member) else 0.0,
        "alone": float(np.mean(~inside)),
    }


def _of_neighbors(
    whole: np.ndarray, by_half: list[np.ndarray], camera: np.ndarray
) -> dict[str, float]:
    across = ("mutual", "halves", "excess", "gap", "skew", "tail")
    counts: dict[str, list[np.ndarray]] = {
        name: [] for name in (*across, "own_excess", "own_gap", "own_halves")
    }
    inside, between, deviation = [], [], []
    for one in np.unique(camera).tolist():
        rows = np.flatnonzero(camera == one)
        block = np.ix_(rows, rows)
        own = off_diagonal(whole[block])
        inside.append(np.nanmean(own))
        deviation.append(np.nanstd(own))
        near, first, second = _nearest(free_of_means(own))
        counts["own_excess"].append(first - largest_of(len(rows) - 1))
        counts["own_gap"].append(first - second)
        counts["own_halves"].append(_same_nearest([off_diagonal(half[block]) for half in by_half]))
        for other in np.unique(camera[camera != one]).tolist():
            block = np.ix_(rows, np.flatnonzero(camera == other))
            between.append(whole[block].mean())
            free = free_of_means(whole[block])
            near, first, second = _nearest(free)
            counts["mutual"].append(free.argmax(axis=0)[near] == np.arange(len(rows)))
            counts["halves"].append(_same_nearest([half[block] for half in by_half]))
            counts["excess"].append(first - largest_of(free.shape[1]))
            counts["gap"].append(first - second)
            counts["skew"].append(np.mean(free**3, axis=1))
            counts["tail"].append(np.mean(free**4, axis=1))
    found = {name: np.concatenate(parts) for name, parts in counts.items()}
    values = {name: float(np.mean(each)) for name, each in found.items()}
    for name in ("mutual", "halves", "own_halves"):
        values[name] = logit_of(found[name])
    values["shift"] = float((np.mean(inside) - np.mean(between)) / max(np.mean(deviation), 1e-6))
    return values


def _nearest(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place and value of the largest of each row, and the second value; nan is none."""
    filled = np.nan_to_num(similarity, nan=-np.inf)
    second, first = np.partition(filled, -2, axis=1)[:, -2:].T
    return filled.argmax(axis=1), first, second


def _same_nearest(similarities: list[np.ndarray]) -> Bool[np.ndarray, "n"]:
    one, other = (_nearest(free_of_means(each))[0] for each in similarities)
    return one == other


def _angle(share: float) -> float:
    """On a scale where errors are about as large everywhere; 0 where there is none."""
    return float(np.arcsin(np.sqrt(np.nan_to_num(share))))
