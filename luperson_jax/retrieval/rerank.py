"""k-reciprocal re-ranking in memory that grows with the number of images, not with its square.

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", 2017
(arXiv:1701.08398), with the details of the authors' program, which LUPerson's copy of FastReID (He
et al., 2020) follows: queries and gallery are one set; distances are squared and divided by the
largest of their row; lists have k1 + 1 places, as the image itself is in its own. FastReID itself
takes the Jaccard distance of cluster methods instead (`clustering.jaccard`), whose lists have k1.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int
from scipy import sparse

from data_pipeline.errors import InputError
from luperson_jax.retrieval import neighbors, reciprocal
from luperson_jax.retrieval.inputs import check_finite
from luperson_jax.retrieval.nearest_lists import Neighbors
from luperson_jax.retrieval.rows import HostRows

DENSE_ROWS = 128
"""Queries at a time in `Reranked.dense`."""


@dataclasses.dataclass(frozen=True)
class Reranked:
    """Re-ranked distances, computed for the queries that are asked for.

    Attributes:
        original: rows of the queries [t] -> their distances to the gallery [t, G] before.
        farthest: [Q] largest distance of each query to any image, query or gallery.
        query_vectors: [Q, N] encoded neighborhoods of the queries over the N = Q + G images.
        gallery_vectors: [G, N] those of the gallery, by columns.
        lambda_value: share of the original distance.
    """

    original: Callable[[np.ndarray], np.ndarray]
    farthest: np.ndarray
    query_vectors: sparse.csr_array
    gallery_vectors: sparse.csc_array
    lambda_value: float

    def rows(self, rows: Int[np.ndarray, "t"]) -> Float[np.ndarray, "t g"]:
        """Distances of some queries to the whole gallery.

        Args:
            rows: [t] rows of the query set, in any order.

        Returns:
            [t, G] float32, 0..1.
        """
        num_gallery = reciprocal.shape_of(self.gallery_vectors)[0]
        final = np.zeros((len(rows), num_gallery), np.float32)
        if self.lambda_value > 0:
            final[:] = self.original(rows)
            _normalize(final, self.farthest[rows])
            final *= np.float32(self.lambda_value)
        if self.lambda_value < 1:
            share = np.float32(1 - self.lambda_value)
            wanted = self.query_vectors[rows]
            for part, overlap in reciprocal.overlaps(wanted, self.gallery_vectors):
                final[part] += share * reciprocal.jaccard_of_overlap(overlap)
        return final

    def dense(self) -> Float[np.ndarray, "q g"]:
        """All distances [Q, G] float32, 4 Q G bytes."""
        every = np.arange(len(self.farthest))
        pieces = [every[i : i + DENSE_ROWS] for i in range(0, len(every), DENSE_ROWS)]
        return np.concatenate([self.rows(piece) for piece in pieces])


def rerank(
    query: np.ndarray,
    gallery: np.ndarray,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    metric: str = "cosine",
    mesh: Mesh | None = None,
) -> Reranked:
    """Distances that also compare the neighborhoods of query and gallery image.

    Args:
        query: [Q, D] features, in memory or memory-mapped.
        gallery: [G, D].
        k1: neighbors that make up a neighborhood.
        k2: neighborhoods that are averaged; 1 for none.
        lambda_value: share of the original distance, 0..1; the rest is the Jaccard distance.
        metric: "cosine", "euclidean" or "sqeuclidean".
        mesh: for the search of neighbors, as in `neighbors.nearest`.

    Returns:
        See `Reranked`; `rows` fits `ranking.rank_rows`.

    Raises:
        InputError: as `neighbors.nearest`, and for k1, k2 or lambda_value out of range.
    """
    _check_settings(k1, k2, lambda_value)
    neighbors.check_search({"query": query, "gallery": gallery}, k1, metric, "k1")
    both = HostRows([query, gallery])
    lists, farthest = neighbors.nearest_and_farthest(
        both, _list_length(k1, k2), metric=metric, mesh=mesh
    )
    measure = functools.partial(neighbors.pair_distances, both, metric=metric)
    vectors = _encode(lists, farthest, measure, k1, k2)
    original = functools.partial(
        neighbors.distances_to_all, HostRows(query), HostRows(gallery), metric=metric
    )
    return _reranked(original, farthest, vectors, len(query), lambda_value)


def rerank_distances(
    query_query: np.ndarray,
    query_gallery: np.ndarray,
    gallery_gallery: np.ndarray,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> Reranked:
    """`rerank` for distances that are known already.

    Args:
        query_query: [Q, Q] distances, not squared; symmetric.
        query_gallery: [Q, G].
        gallery_gallery: [G, G] symmetric.
        k1: as in `rerank`.
        k2: as in `rerank`.
        lambda_value: as in `rerank`.

    Returns:
        See `Reranked`.

    Raises:
        InputError: shapes that do not fit, distances that are not finite, and as `rerank`.
    """
    _check_settings(k1, k2, lambda_value)
    num_queries, num_gallery = len(query_query), len(gallery_gallery)
    for name, block, shape in (
        ("query-query", query_query, (num_queries, num_queries)),
        ("query-gallery", query_gallery, (num_queries, num_gallery)),
        ("gallery-gallery", gallery_gallery, (num_gallery, num_gallery)),
    ):
        if block.shape != shape or 0 in shape:
            raise InputError(f"{name} distances have shape {block.shape}; expected {shape}, not 0")
        check_finite(f"{name} distances", block)
    whole = np.block([[query_query, query_gallery], [query_gallery.T, gallery_gallery]])
    lists = neighbors.nearest_in_matrix(whole, _list_length(k1, k2))
    farthest = whole.max(axis=1).astype(np.float32)
    vectors = _encode(lists, farthest, lambda row, column: whole[row, column], k1, k2)
    return _reranked(lambda rows: query_gallery[rows], farthest, vectors, num_queries, lambda_value)


def _check_settings(k1: int, k2: int, lambda_value: float) -> None:
    for name, value in (("k1", k1), ("k2", k2)):
        if value < 1:
            raise InputError(f"{name} is {value}; expected at least 1")
    if not 0 <= lambda_value <= 1:
        raise InputError(f"lambda_value is {lambda_value}; expected a share from 0 to 1")


def _list_length(k1: int, k2: int) -> int:
    return max(k1 + 1, k2)


def _encode(
    lists: Neighbors,
    farthest: np.ndarray,
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    k1: int,
    k2: int,
) -> sparse.csr_array:
    sets = reciprocal.expanded_sets(lists.rows, k1 + 1, reciprocal.half_size(k1))
    distance = reciprocal.edge_distances(sets, lists, measure)
    row, _ = reciprocal.edges(sets)
    _normalize(distance, farthest[row])
    vectors = reciprocal.encode(sets, distance)
    return reciprocal.average_over_neighbors(vectors, lists.rows, k2)


def _normalize(distance: np.ndarray, farthest: np.ndarray) -> None:
    """Squares and divides by the square of the largest of the row, in place."""
    # Where all images are the same every distance is 0, and stays 0.
    scale = np.where(farthest == 0, 1, farthest).astype(np.float32)
    distance /= scale.reshape(-1, *[1] * (distance.ndim - 1))
    np.square(distance, out=distance)


def _reranked(
    original: Callable[[np.ndarray], np.ndarray],
    farthest: np.ndarray,
    vectors: sparse.csr_array,
    num_queries: int,
    lambda_value: float,
) -> Reranked:
    return Reranked(
        original=original,
        farthest=farthest[:num_queries],
        query_vectors=vectors[:num_queries],
        gallery_vectors=vectors[num_queries:].tocsc(),
        lambda_value=lambda_value,
    )
