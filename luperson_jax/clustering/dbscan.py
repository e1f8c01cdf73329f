"""DBSCAN on a graph of neighbors.

Ester et al., "A Density-Based Algorithm for Discovering Clusters in Large Spatial Databases with
Noise", 1996.
"""

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from data_pipeline.errors import InputError

NOISE = -1


def dbscan(graph: sparse.csr_array, *, min_samples: int = 4) -> np.ndarray:
    """Clusters of rows that are densely connected.

    A row is a core if it has `min_samples` neighbors, itself included. Cores that are neighbors
    share a cluster; clusters are numbered in the order of their first core. A row that is no core
    belongs to the first cluster that has a core among its neighbors, and is noise without any.
    These are the labels that `sklearn.cluster.DBSCAN` gives, number by number.

    Args:
        graph: [N, N] symmetric, True where two rows are within eps of each other, the diagonal
            included; as from `SparseJaccard.graph`.
        min_samples: >= 1.

    Returns:
        [N] int64 cluster from 0, or -1 for noise.

    Raises:
        InputError: min_samples < 1.
    """
    if min_samples < 1:
        raise InputError(f"min_samples is {min_samples}; expected at least 1")
    core = np.flatnonzero(np.diff(graph.indptr) >= min_samples)
    labels = np.full(len(graph.indptr) - 1, NOISE, np.int64)
    if len(core) == 0:
        return labels
    to_core = graph[:, core]
    num_clusters, component = csgraph.connected_components(to_core[core], directed=False)
    first = np.full(num_clusters, len(core))
    np.minimum.at(first, component, np.arange(len(core)))
    number = np.empty(num_clusters, np.int64)
    number[np.argsort(first)] = np.arange(num_clusters)
    cluster = number[component]

    # The smallest number among the cores of a row's neighborhood; cores see only their own.
    reached = np.flatnonzero(np.diff(to_core.indptr))
    smallest = np.minimum.reduceat(cluster[to_core.indices], to_core.indptr[reached])
    labels[reached] = smallest
    return labels
