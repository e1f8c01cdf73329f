"""Clusters of all cameras, refined by what each camera alone has found.

Yunfei Li et al., "CALR: Camera-Aware Label Refinement for Unsupervised Person Re-Identification",
2024, arXiv 2403.16450. Within one camera people look alike under one light, so clusters of one
camera are trusted: where an image and the pivot of its cluster come from one camera and that
camera's own clusters part them, the image leaves. Arrays are in the order of the training images.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from luperson_jax.clustering.dbscan import NOISE

PivotRule = Literal["best", "per_camera", "released"]

MIN_CAMERA_MEMBERS = 5
"""Images of one camera that a cluster must have for a pivot of that camera."""


def centrality(
    distance: Float[np.ndarray, "n k"], rows: Int[np.ndarray, "n k"], *, min_similarity: float = 0.5
) -> Float[np.ndarray, " n"]:
    """How close an image stands to its neighbors: the sum of 1 / (distance + mean distance).

    Args:
        distance: [N, k] cosine distances of the nearest images, the image itself among them.
        rows: [N, k] which images these are.
        min_similarity: cosine below which a neighbor does not count.

    Returns:
        [N] float64; 0 for an image without a neighbor. The mean is over the whole table.
    """
    distance = np.asarray(distance, np.float64)
    counts = distance <= 1 - min_similarity
    counts &= np.asarray(rows) != np.arange(len(distance))[:, None]
    mean = distance.mean()
    return (
        np.sum(np.where(counts, 1 / (distance + mean), 0.0), axis=1)
        if mean > 0
        else (counts.sum(axis=1).astype(np.float64))
    )


def pivots(
    labels: Int[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    camera: Int[np.ndarray, " n"],
    rule: PivotRule = "best",
) -> Int[np.ndarray, " p"]:
    """The images that speak for their clusters.

    Args:
        labels: [N] cluster of each image, -1 for none.
        score: [N] see `centrality`.
        camera: [N] camera of each image.
        rule: "best" is the image of the largest score of each cluster, "per_camera" that of each
            camera with at least `MIN_CAMERA_MEMBERS` images in it. "released" is what the authors'
            program does: of the images above the mean score of all, the last of the cluster in the
            order of the rows. There it is the order of file names, which follows the true
            identity, and a cluster may have none.

    Returns:
        [P] rows, ascending; at most one of a cluster, or of a cluster and camera.
    """
    member = np.flatnonzero(labels != NOISE)
    if rule == "released":
        member = member[score[member] > score.mean()]
        return _last_of_each(member, labels[member])
    group = labels[member]
    if rule == "per_camera":
        group = _pairs(labels, camera)[member]
        _, place, size = np.unique(group, return_inverse=True, return_counts=True)
        member, group = (one[size[place] >= MIN_CAMERA_MEMBERS] for one in (member, group))
    # By score, and among equal ones the first row last.
    order = np.lexsort((-member, score[member]))
    return _last_of_each(member[order], group[order])


def refine(
    labels: Int[np.ndarray, " n"],
    camera: Int[np.ndarray, " n"],
    local: Int[np.ndarray, " n"],
    pivot: Int[np.ndarray, " p"],
) -> Int[np.ndarray, " n"]:
    """Takes images out of clusters whose pivot their own camera tells from them.

    Args:
        labels: [N] cluster of each image, -1 for none.
        camera: [N] camera of each image.
        local: [N] cluster of each image among those of its camera; -1 where there is none, which
            is never told from another.
        pivot: [P] of `pivots`.

    Returns:
        [N] labels; -1 for those that left. A pivot stays, so no cluster becomes empty.
    """
    pairs = _pairs(labels, camera)
    pivot = pivot[local[pivot] != NOISE]
    spoken = np.full(pairs.max(initial=-1) + 2, NOISE)
    spoken[pairs[pivot]] = local[pivot]
    wanted = spoken[pairs]
    leaves = (labels != NOISE) & (wanted != NOISE) & (local != NOISE) & (local != wanted)
    return np.where(leaves, NOISE, labels)


def reassign(
    before: Int[np.ndarray, " n"],
    refined: Int[np.ndarray, " n"],
    camera: Int[np.ndarray, " n"],
    local: Int[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
    """Gives an image that left its cluster to the one where most of its local cluster is.

    Args:
        before, refined: [N] labels before and after `refine`.
        camera, local: as of `refine`.

    Returns:
        [N] labels. Among equally many the lower number; -1 where no other cluster has any.
    """
    left = np.flatnonzero((before != NOISE) & (refined == NOISE))
    stays = np.flatnonzero((refined != NOISE) & (local != NOISE))
    if len(left) == 0 or len(stays) == 0:
        return refined
    groups = _pairs(local, camera)
    shape = (groups.max() + 1, refined.max() + 1)
    votes = sparse.coo_array(
        (np.ones(len(stays), np.int64), (groups[stays], refined[stays])), shape
    ).tocsr()
    result = np.array(refined)
    for row in left:
        mine = votes[[groups[row]]]
        other = mine.indices != before[row]
        if other.any():
            clusters, counts = mine.indices[other], mine.data[other]
            result[row] = clusters[np.lexsort((clusters, -counts))[0]]
    return result


def camera_weights(
    labels: Int[np.ndarray, " n"], camera: Int[np.ndarray, " n"], *, floor: float = 0.0
) -> Float[np.ndarray, " k"]:
    """ln(1 + H), H the entropy of the cameras of a cluster: many cameras are worth more.

    Args:
        labels: [N] cluster 0..K-1 of each image without gaps, -1 for none.
        camera: [N] camera of each image.
        floor: least weight. The authors have 0: a cluster of one camera then counts nothing.

    Returns:
        [K] float32.
    """
    member = labels != NOISE
    cameras, place = np.unique(camera, return_inverse=True)
    shape = (labels.max(initial=-1) + 1, len(cameras))
    count = np.zeros(shape)
    np.add.at(count, (labels[member], place[member]), 1)
    share = count / np.maximum(count.sum(axis=1, keepdims=True), 1)
    entropy = -np.sum(share * np.log(np.where(share > 0, share, 1)), axis=1)
    return np.maximum(np.log1p(entropy), floor).astype(np.float32)


def _pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A number for each pair of values: [N] from 0."""
    return np.unique(np.stack([first, second]), axis=1, return_inverse=True)[1].reshape(-1)


def _last_of_each(rows: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The last row of each group, ascending."""
    _, first = np.unique(group[::-1], return_index=True)
    return np.sort(rows[::-1][first])
