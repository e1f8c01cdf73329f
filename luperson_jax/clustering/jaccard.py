"""k-reciprocal Jaccard distance for clustering, as a sparse graph.

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", 2017
(arXiv:1701.08398), as SpCL (Ge et al., 2020, arXiv:2006.02713) and Cluster Contrast (Dai et al.,
2021, arXiv:2103.11568) cluster with it. It differs from re-ranking: the lists have k1 places and
not k1 + 1, the weights are those of exp(-squared distance) of unit features without division by
the largest, and the original distance has no share.
"""

import dataclasses
import functools

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float
from scipy import sparse

from data_pipeline.errors import InputError
from luperson_jax.retrieval import neighbors, reciprocal
from luperson_jax.retrieval.rows import HostRows

MAX_DENSE_ROWS = 20_000
"""1.6 GB of distances."""


@dataclasses.dataclass(frozen=True)
class SparseJaccard:
    """Jaccard distances up to a largest one; every pair that is not listed counts as 1.

    The three arrays are those of a compressed sparse row matrix. They are no `scipy.sparse` matrix
    because there a distance of 0 and a missing entry are easily confused.

    Attributes:
        indptr: [N + 1] the neighbors of row i are entries indptr[i] to indptr[i + 1].
        indices: [E] int32 the other row of every pair, ascending within a row.
        distance: [E] float32, 0 <= distance < 1; symmetric, and 0 up to rounding at i = j.
        max_distance: pairs that are farther are not listed.
    """

    indptr: np.ndarray
    indices: np.ndarray
    distance: np.ndarray
    max_distance: float = 1.0

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def graph(self, eps: float) -> sparse.csr_array:
        """Who is within eps of whom.

        Args:
            eps: largest distance, 0 < eps < 1, at most `max_distance`.

        Returns:
            [N, N] bool, symmetric, True on the diagonal.

        Raises:
            InputError: eps out of range; at 1 everybody is within reach of everybody.
        """
        if not 0 < eps < 1:
            raise InputError(
                f"eps is {eps}; expected a Jaccard distance above 0 and below 1, usually 0.4 to 0.7"
            )
        if eps > self.max_distance:
            raise InputError(
                f"eps is {eps}, but pairs beyond max_distance = {self.max_distance} were not kept; "
                "compute the distances with a larger max_distance"
            )
        num_rows = len(self)
        near = self.distance <= eps
        indptr = np.concatenate([[0], np.cumsum(near, dtype=np.int64)])[self.indptr]
        column = self.indices[near]
        return sparse.csr_array((np.ones(len(column), bool), column, indptr), (num_rows, num_rows))

    def dense(self) -> Float[np.ndarray, "n n"]:
        """All distances [N, N] float32.

        Raises:
            InputError: more than `MAX_DENSE_ROWS` rows.
        """
        num_rows = len(self)
        if num_rows > MAX_DENSE_ROWS:
            raise InputError(
                f"the dense matrix of {num_rows} images would take "
                f"{4e-9 * num_rows**2:.1f} GB; it is made for up to {MAX_DENSE_ROWS} images. Use "
                "`graph`, which stays sparse"
            )
        matrix = np.ones((num_rows, num_rows), np.float32)
        row = np.repeat(np.arange(num_rows), np.diff(self.indptr))
        matrix[row, self.indices] = self.distance
        return matrix


def jaccard_distance(
    features: np.ndarray,
    *,
    k1: int = 30,
    k2: int = 6,
    max_distance: float = 1.0,
    mesh: Mesh | None = None,
) -> SparseJaccard:
    """Jaccard distance of the neighborhoods of all pairs of images.

    Args:
        features: [N, D], in memory or memory-mapped; scaled to unit length here.
        k1: places of the lists of neighbors, the image itself included.
        k2: neighborhoods that are averaged, its own included; 1 for none, at most k1.
        max_distance: 0..1; pairs farther than this are dropped as they are found. Among features
            that are little trained nearly all pairs overlap a little, so that memory is bounded
            only with the eps of the clustering here.
        mesh: for the search of neighbors, as in `retrieval.neighbors.nearest`.

    Returns:
        See `SparseJaccard`.

    Raises:
        InputError: empty, misshapen or non-finite features, or k1, k2 or max_distance out of
            range.
    """
    neighbors.check_search({"clustering": features}, k1, "cosine", "k1")
    if not 1 <= k2 <= k1:
        raise InputError(f"k2 is {k2}; expected 1 to k1 = {k1}")
    if not 0 < max_distance <= 1:
        raise InputError(f"max_distance is {max_distance}; expected above 0 and at most 1")
    rows = HostRows(features)
    lists, _ = neighbors.nearest_and_farthest(rows, k1, self_first=True, mesh=mesh)
    sets = reciprocal.expanded_sets(lists.rows, k1, reciprocal.half_size(k1))
    measure = functools.partial(neighbors.pair_distances, rows, metric="cosine")
    # The squared Euclidean distance of unit vectors is twice their cosine distance.
    vectors = reciprocal.encode(sets, 2 * reciprocal.edge_distances(sets, lists, measure))
    vectors = reciprocal.average_over_neighbors(vectors, lists.rows, k2)
    return _pairs_within(vectors, max_distance)


def _pairs_within(vectors: sparse.csr_array, max_distance: float) -> SparseJaccard:
    # The overlap at the largest distance, and a little less, as rounding must not lose a pair.
    least = np.float32(0.9999 * 2 * (1 - max_distance) / (2 - max_distance))
    counts, indices, distances = [], [], []
    for _, overlap in reciprocal.overlaps(vectors, vectors.tocsc()):
        flat = np.flatnonzero(overlap > least)
        distance = reciprocal.jaccard_of_overlap(overlap.reshape(-1)[flat])
        kept = distance <= max_distance
        row, column = np.divmod(flat[kept], overlap.shape[1])
        counts.append(np.bincount(row, minlength=len(overlap)))
        indices.append(column.astype(np.int32))
        distances.append(distance[kept])
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    whole = np.concatenate(indices)
    indices.clear()  # before the distances are joined: the lists may be the most of all memory
    return SparseJaccard(indptr, whole, np.concatenate(distances), max_distance)
