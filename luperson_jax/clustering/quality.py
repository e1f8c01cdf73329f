"""What is told of clusters: sizes, cameras, silhouette, and how far two groupings agree.

Labels are [N] int, a cluster from 0, or -1 for an outlier. Figures are plain numbers by name.
"""

import numpy as np
from scipy import sparse

from luperson_jax.clustering.dbscan import NOISE
from luperson_jax.clustering.jaccard import SparseJaccard


def figures(
    pairs: SparseJaccard,
    labels: np.ndarray,
    before: np.ndarray,
    camera: np.ndarray,
    true: np.ndarray,
) -> dict[str, float]:
    """All that a run tells of the clusters of an epoch.

    Args:
        pairs: distances of the N images, as far as they were kept.
        labels: [N].
        before: [N] labels of the epoch before; all -1 where there was none.
        camera: [N].
        true: [N] identity, for the figures alone; -1 where it is unknown.

    Returns:
        Those of `describe` and `agreement`, `silhouette` (the mean), and `stability`, where there
        was an epoch before.
    """
    found = {**describe(labels, camera), "silhouette": float(silhouette(pairs, labels).mean())}
    if np.any(before != NOISE):
        found["stability"] = stability(before, labels)
    return found | agreement(labels, true)


def describe(labels: np.ndarray, camera: np.ndarray) -> dict[str, float]:
    """Number and sizes of the clusters, and from how many cameras their images come.

    Args:
        labels: [N].
        camera: [N] number of the camera; unknown ones, -1, count as one.

    Returns:
        `count` of the clusters, `outliers`, `smallest`, `median_size`, `largest`, and
        `camera_entropy`: the mean over the clusters of the entropy of the cameras of their images,
        in nats: 0 where each has one camera, ln C where C cameras have equal shares.
    """
    inside = labels != NOISE
    numbers, sizes = np.unique(labels[inside], return_counts=True)
    both = np.stack([labels[inside], camera[inside]])
    (of_cluster, _), seen = np.unique(both, axis=1, return_counts=True)
    share = seen / sizes[np.searchsorted(numbers, of_cluster)]
    sizes = sizes if len(sizes) else np.zeros(1)
    return {
        "count": float(len(numbers)),
        "outliers": float(np.sum(~inside)),
        "smallest": float(sizes.min()),
        "median_size": float(np.median(sizes)),
        "largest": float(sizes.max()),
        "camera_entropy": float(np.sum(share * np.log(1 / share)) / len(sizes)),
    }


def silhouette(pairs: SparseJaccard, labels: np.ndarray) -> np.ndarray:
    """How much nearer each image is to its own cluster than to the next one.

    Rousseeuw, "Silhouettes: A graphical aid to the interpretation and validation of cluster
    analysis", 1987: (b - a) / max(a, b), with the mean distances a to the others of its cluster
    and b to the images of the nearest other one. An image that is alone in its cluster has 0, and
    so has an outlier here: else the mean would be best where only the easiest images are clustered.

    Args:
        pairs: of N images; pairs that are not listed count as distance 1.
        labels: [N].

    Returns:
        [N] float64, -1..1; 0 everywhere where there are fewer than two clusters.
    """
    result = np.zeros(len(labels))
    rows = np.flatnonzero(labels != NOISE)
    numbers, cluster = np.unique(labels[rows], return_inverse=True)
    if len(numbers) < 2:
        return result
    sizes = np.bincount(cluster)
    member = sparse.csr_array((np.ones(len(rows)), (rows, cluster)), (len(labels), len(numbers)))
    matrix = (1.0 - pairs.distance.astype(np.float64), pairs.indices, pairs.indptr)
    nearness = sparse.csr_array(matrix, (len(labels), len(labels)))
    near = sparse.csr_array(nearness[rows] @ member)  # summed by row and cluster
    row = np.repeat(np.arange(len(rows)), np.diff(near.indptr))
    is_own = near.indices == cluster[row]
    # The image itself is at distance 0 and is not counted.
    own = np.zeros(len(rows))
    own[row[is_own]] = near.data[is_own] - nearness.diagonal()[rows][row[is_own]]
    others = sizes[cluster] - 1
    inner = 1 - own / np.maximum(others, 1)
    outer = np.ones(len(rows))
    distance = 1 - near.data / sizes[near.indices]
    np.minimum.at(outer, row[~is_own], distance[~is_own])
    largest = np.maximum(inner, outer)
    value = np.divide(outer - inner, largest, out=np.zeros(len(rows)), where=largest > 0)
    result[rows] = np.where(others > 0, value, 0.0)
    return result


def agreement(labels: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """How far clusters are identities, over the images that have both.

    Args:
        labels: [N].
        true: [N] identity; -1 where it is unknown.

    Returns:
        `purity`: share of images in the majority of their cluster; `pairwise_precision`,
        `pairwise_recall` and `pairwise_f`: of pairs in one cluster against pairs of one identity;
        `ari`: adjusted Rand index; `homogeneity`, `completeness` and their harmonic mean
        `v_measure` (Rosenberg and Hirschberg, 2007), which is the normalized mutual information
        with arithmetic mean. Nothing where no image has both.
    """
    from sklearn.metrics import cluster as measures  # takes a second to import

    known = (labels != NOISE) & (true >= 0)
    if not np.any(known):
        return {}
    labels, true = labels[known], true[known]
    counts = measures.contingency_matrix(labels, true, sparse=True)
    (_, false), (missed, right) = measures.pair_confusion_matrix(true, labels)
    homogeneity, completeness, v_measure = measures.homogeneity_completeness_v_measure(true, labels)
    return {
        "purity": float(counts.max(axis=1).sum() / len(labels)),
        "pairwise_precision": float(right / (right + false)) if right + false else 1.0,
        "pairwise_recall": float(right / (right + missed)) if right + missed else 1.0,
        "pairwise_f": float(2 * right / (2 * right + false + missed)) if right else 0.0,
        "ari": float(measures.adjusted_rand_score(true, labels)),
        "homogeneity": float(homogeneity),
        "completeness": float(completeness),
        "v_measure": float(v_measure),
    }


def stability(before: np.ndarray, labels: np.ndarray) -> float:
    """Adjusted Rand index of two clusterings [N] over the images that are in a cluster of both, 1
    where they are the same up to numbers; 0 where no image is.

    Hubert and Arabie, "Comparing partitions", 1985.
    """
    from sklearn.metrics import adjusted_rand_score  # takes a second to import

    both = (before != NOISE) & (labels != NOISE)
    return float(adjusted_rand_score(before[both], labels[both])) if np.any(both) else 0.0
