"""Which images stay in their cluster: the reliability criteria of SpCL.

Ge et al., "Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive Object Re-ID",
NeurIPS 2020, arXiv 2006.02713, section 3.3. A cluster is trusted where a looser and a tighter
clustering agree with it. Sets of images are compared by counting pairs of labels, never by N x N
matrices.
"""

from typing import NamedTuple

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.clustering.dbscan import NOISE

SHARE_KEPT = 0.9
"""Place of the threshold among the clusters, from the most independent to the least."""


class SelfPaced(NamedTuple):
    """Classes of N images.

    Attributes:
        labels: [N] int64 class of every image: clusters keep their number, outliers follow in the
            order of the images, then images that were taken out of their class, each on its own.
            Numbers of outliers that were taken out do not occur.
        compactness: [N] float32, 0..1, 0 where the tight clustering agrees.
        independence: [N] float32, 0..1, 0 where the loose clustering agrees.
        threshold: largest independence of a class that keeps its images, float32.
    """

    labels: np.ndarray
    compactness: np.ndarray
    independence: np.ndarray
    threshold: np.float32


def self_paced(
    labels: np.ndarray,
    tight: np.ndarray,
    loose: np.ndarray,
    threshold: np.float32 | None = None,
) -> SelfPaced:
    """Takes images out of clusters that are not reliable.

    An image stays where its class is independent enough, and where no image of the class is more
    compact than it. Both values of a class are the least of its images; smaller is better.

    Args:
        labels: [N] clusters from 0 without gaps, -1 for outliers, which are classes of their own.
        tight: [N] those of a smaller eps.
        loose: [N] those of a larger one.
        threshold: that of the first epoch; None = of these clusters: the place round(0.9 n) among
            the n clusters of several images, from 0.

    Raises:
        InputError: no threshold, and no cluster of several images to take it from.
    """
    given, tight, loose = (with_outliers(one) for one in (labels, tight, loose))
    compactness, independence = _distance_of_sets(given, tight), _distance_of_sets(given, loose)
    numbers, of_image, sizes = np.unique(given, return_inverse=True, return_counts=True)
    least = np.full((2, len(numbers)), np.inf, np.float32)
    np.minimum.at(least[0], of_image, compactness)
    np.minimum.at(least[1], of_image, independence)
    if threshold is None:
        several = np.sort(least[1][sizes > 1])
        if not len(several):
            raise InputError(
                f"no two of {len(labels)} images share a cluster; expected some to learn from"
            )
        threshold = several[min(round(SHARE_KEPT * len(several)), len(several) - 1)]
    stays = (least[1][of_image] <= threshold) & (compactness <= least[0][of_image])
    found = np.where(stays, given, len(numbers) + np.cumsum(~stays) - 1)
    return SelfPaced(found, compactness, independence, np.float32(threshold))


def with_outliers(labels: np.ndarray) -> np.ndarray:
    """Labels [N] int64 in which outliers are classes of their own: numbers after the clusters, in
    the order of the images."""
    outlier = labels == NOISE
    first = int(labels.max(initial=NOISE)) + 1
    return np.where(outlier, first + np.cumsum(outlier) - 1, labels).astype(np.int64)


def _distance_of_sets(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[N] float32 1 - |A and B| / |A or B|, A and B the classes of an image in two clusterings."""
    own, other, both = (
        _size_of_class(one) for one in (labels, others, labels * (others.max() + 1) + others)
    )
    return np.float32(1) - both.astype(np.float32) / (own + other - both).astype(np.float32)


def _size_of_class(labels: np.ndarray) -> np.ndarray:
    _, of_image, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return sizes[of_image]
