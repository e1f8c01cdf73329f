"""Average linkage: a wanted number of clusters, and no outliers."""

from collections.abc import Sequence

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.clustering.jaccard import SparseJaccard


def average_linkage(pairs: SparseJaccard, numbers: Sequence[int]) -> dict[int, np.ndarray]:
    """Joins the two clusters whose images are nearest on average, until so many are left.

    Sokal and Michener, "A Statistical Method for Evaluating Systematic Relationships", 1958. All
    pairs are laid out: it is for the images of one camera. CALR's local labels are made so.

    Args:
        pairs: distances of N images; those that are not listed count as 1.
        numbers: of clusters, each 1..N.

    Returns:
        [N] int64 labels of each number; clusters are numbered by their first image.

    Raises:
        InputError: a number out of range, or as `SparseJaccard.dense`.
    """
    from scipy.cluster import hierarchy  # half a second to import
    from scipy.spatial.distance import squareform

    wrong = [number for number in numbers if not 1 <= number <= len(pairs)]
    if wrong:
        raise InputError(f"{wrong[0]} clusters of {len(pairs)} images; expected 1 to their number")
    if len(pairs) == 1:
        return {number: np.zeros(1, np.int64) for number in numbers}
    distance = pairs.dense()
    np.fill_diagonal(distance, 0)
    joined = hierarchy.linkage(squareform(distance, checks=False), "average")
    return {number: _cut(joined, number) for number in numbers}


def _cut(joined: np.ndarray, number: int) -> np.ndarray:
    """Labels after all but the last number - 1 of the N - 1 unions of `linkage`."""
    num_images = len(joined) + 1
    parent = np.arange(2 * num_images - 1)
    for step in range(num_images - number):
        parent[joined[step, :2].astype(np.int64)] = num_images + step
    for node in range(len(parent) - 1, -1, -1):  # from the roots down
        parent[node] = parent[parent[node]]
    _, first, cluster = np.unique(parent[:num_images], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[cluster]
