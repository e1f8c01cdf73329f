"""From features to clusters: neighbors, sparse distances, labels, and the mean of each cluster."""

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy import sparse

from luperson_jax.clustering.dbscan import NOISE, dbscan
from luperson_jax.clustering.jaccard import SparseJaccard, jaccard_distance


@dataclasses.dataclass(frozen=True)
class Grouping:
    """How images are grouped.

    Attributes:
        k1, k2: neighborhoods of the Jaccard distance, see `jaccard_distance`.
        eps: Jaccard distance up to which images are neighbors.
        min_samples: neighbors that make an image a core, itself included.
    """

    k1: int = 30
    k2: int = 6
    eps: float = 0.6
    min_samples: int = 4


class Clusters(NamedTuple):
    """Groups of N images.

    Attributes:
        labels: [N] int64 cluster from 0 without gaps, or -1 for an outlier.
        pairs: the distances that they follow from.
    """

    labels: np.ndarray
    pairs: SparseJaccard


def group(features: np.ndarray, how: Grouping) -> Clusters:
    """Groups images by their features [N, D].

    Raises:
        InputError: as `jaccard_distance`, `SparseJaccard.graph` and `dbscan`.
    """
    pairs = jaccard_distance(features, k1=how.k1, k2=how.k2, max_distance=how.eps)
    return Clusters(dbscan(pairs.graph(how.eps), min_samples=how.min_samples), pairs)


def centers(features: np.ndarray, labels: np.ndarray, num_rows: int) -> np.ndarray:
    """The mean of the features of each cluster, of unit length.

    Args:
        features: [N, D].
        labels: [N] cluster, 0..K-1 with K at most num_rows; -1 belongs to none.
        num_rows: of the result.

    Returns:
        [num_rows, D] float32; rows from K on are 0.
    """
    rows = np.flatnonzero(labels != NOISE)
    member = (np.ones(len(rows), np.float32), (labels[rows], rows))
    sums = sparse.csr_array(member, (num_rows, len(labels))) @ np.asarray(features, np.float32)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
