"""From features to clusters: neighbors, sparse distances, labels, and the mean of each cluster."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import sparse

from data_pipeline.errors import InputError
from luperson_jax.clustering import infomap_modules
from luperson_jax.clustering.communities import communities
from luperson_jax.clustering.dbscan import NOISE, dbscan
from luperson_jax.clustering.density import hdbscan
from luperson_jax.clustering.jaccard import SparseJaccard, jaccard_distance
from luperson_jax.clustering.linkage import average_linkage
from luperson_jax.lengths import unit_rows

Method = Literal["dbscan", "hdbscan", "communities", "infomap", "average", "kmeans"]

IMAGES_PER_CLUSTER = 20
"""Where the number of clusters is not given."""


@dataclasses.dataclass(frozen=True)
class Grouping:
    """How images are grouped.

    Attributes:
        method: a key of `METHODS`.
        k1, k2: neighborhoods of the Jaccard distance, see `jaccard_distance`.
        eps: Jaccard distance beyond which pairs are not kept; of "dbscan" also that up to which
            images are neighbors.
        min_samples: of "dbscan" and "hdbscan" neighbors of a core, itself included; clusters of
            fewer images are dissolved by all methods but "dbscan".
        resolution: of "communities".
        min_similarity: of "infomap", whose number of neighbors is k1.
        num_clusters: of "average" and "kmeans"; 0 = a twentieth of the images.
    """

    method: Method = "dbscan"
    k1: int = 30
    k2: int = 6
    eps: float = 0.6
    min_samples: int = 4
    resolution: float = 0.1
    min_similarity: float = 0.5
    num_clusters: int = 0


class Clusters(NamedTuple):
    """Groups of N images.

    Attributes:
        labels: [N] int64 cluster from 0 without gaps, or -1 for an outlier.
        pairs: Jaccard distances up to eps.
    """

    labels: np.ndarray
    pairs: SparseJaccard


def group(features: np.ndarray, how: Grouping) -> Clusters:
    """Groups images by their features [N, D].

    Raises:
        InputError: a setting that does not fit the images, or as `jaccard_distance`.
    """
    pairs = jaccard_distance(features, k1=how.k1, k2=how.k2, max_distance=how.eps)
    return Clusters(labels_of(features, pairs, how), pairs)


def labels_of(features: np.ndarray, pairs: SparseJaccard, how: Grouping) -> np.ndarray:
    """The labels of `group`, by distances that are at hand."""
    labels = METHODS[how.method](features, pairs, how)
    return labels if how.method == "dbscan" else _large(labels, how.min_samples)


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
    return unit_rows(sums)


def _large(labels: np.ndarray, least: int) -> np.ndarray:
    """Clusters of at least so many images, without gaps in their numbers."""
    numbers, cluster, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    kept = (numbers != NOISE) & (sizes >= least)
    return np.where(kept, np.cumsum(kept) - 1, NOISE)[cluster]


def _dbscan(features: np.ndarray, pairs: SparseJaccard, how: Grouping) -> np.ndarray:
    del features
    return dbscan(pairs.graph(how.eps), min_samples=how.min_samples)


def _hdbscan(features: np.ndarray, pairs: SparseJaccard, how: Grouping) -> np.ndarray:
    del features
    return hdbscan(pairs, min_samples=max(how.min_samples, 2))


def _communities(features: np.ndarray, pairs: SparseJaccard, how: Grouping) -> np.ndarray:
    del features
    entries = (1 - pairs.distance.astype(np.float64), pairs.indices, pairs.indptr)
    similarity = sparse.csr_array(entries, (len(pairs), len(pairs)))
    return communities(similarity, resolution=how.resolution)


def _infomap(features: np.ndarray, pairs: SparseJaccard, how: Grouping) -> np.ndarray:
    del pairs
    return infomap_modules.infomap_modules(features, k=how.k1, min_similarity=how.min_similarity)


def _average(features: np.ndarray, pairs: SparseJaccard, how: Grouping) -> np.ndarray:
    number = _number(how, len(features))
    return average_linkage(pairs, [number])[number]


def _kmeans(features: np.ndarray, pairs: SparseJaccard, how: Grouping) -> np.ndarray:
    from sklearn.cluster import KMeans  # takes a second to import

    del pairs
    number = _number(how, len(features))
    unit = unit_rows(features)
    settings: dict[str, Any] = {"n_init": 1, "random_state": 0}
    return KMeans(number, **settings).fit_predict(unit).astype(np.int64)


def _number(how: Grouping, num_images: int) -> int:
    number = how.num_clusters or max(num_images // IMAGES_PER_CLUSTER, 2)
    if not 1 <= number <= num_images:
        raise InputError(
            f"num_clusters is {number} for {num_images} images; expected 1 to their number"
        )
    return number


METHODS: Mapping[Method, Callable[[np.ndarray, SparseJaccard, Grouping], np.ndarray]] = (
    MappingProxyType(
        {
            "dbscan": _dbscan,
            "hdbscan": _hdbscan,
            "communities": _communities,
            "infomap": _infomap,
            "average": _average,
            "kmeans": _kmeans,
        }
    )
)
"""By name: of features and distances the labels [N], -1 for none."""
