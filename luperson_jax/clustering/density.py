"""HDBSCAN on a graph of neighbors: density clusters without one eps for all.

Campello, Moulavi, Sander, "Density-Based Clustering Based on Hierarchical Density Estimates", 2013,
by scikit-learn.
"""

from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from luperson_jax.clustering.jaccard import SparseJaccard

LEAST_DISTANCE = 1e-9
"""In place of 0, which a sparse matrix may take for no entry."""


def hdbscan(pairs: SparseJaccard, *, min_samples: int = 4) -> np.ndarray:
    """Clusters that last longest while the distance that joins images shrinks.

    Args:
        pairs: distances of N images; those that are not listed count as 1.
        min_samples: least images of a cluster, and neighbors that measure how dense it is around
            an image, itself included; at least 2.

    Returns:
        [N] int64 cluster from 0, or -1 for an outlier. Where several merge at equal distances it
        may depend on the order of the images.
    """
    from sklearn.cluster import HDBSCAN  # takes a second to import

    if len(pairs) < min_samples:
        return np.full(len(pairs), -1, np.int64)
    matrix = _connected(pairs)
    settings: dict[str, Any] = {"metric": "precomputed", "metric_params": {"max_distance": 1.0}}
    settings |= {"min_cluster_size": min_samples, "min_samples": min_samples, "copy": False}
    return HDBSCAN(**settings).fit_predict(matrix).astype(np.int64)


def _connected(pairs: SparseJaccard) -> sparse.csr_matrix:
    """The distances with as many pairs at 1 as join everything, which is what they are."""
    num_rows = len(pairs)
    distance = np.maximum(pairs.distance.astype(np.float64), LEAST_DISTANCE)
    matrix = sparse.csr_matrix((distance, pairs.indices, pairs.indptr), (num_rows, num_rows))
    _, component = csgraph.connected_components(matrix, directed=False)
    _, first = np.unique(component, return_index=True)
    row = np.concatenate([first[:-1], first[1:]])
    column = np.concatenate([first[1:], first[:-1]])
    joins = sparse.csr_matrix((np.ones(len(row)), (row, column)), (num_rows, num_rows))
    return sparse.csr_matrix(matrix + joins)
