"""Query expansion and database-side augmentation: features averaged with those of their neighbors.

Chum et al., "Total Recall: Automatic Query Expansion with a Generative Feature Model for Object
Retrieval", 2007; Arandjelović and Zisserman, "Three Things Everyone Should Know to Improve Object
Retrieval", 2012 (the database side); Radenović et al., "Fine-Tuning CNN Image Retrieval with No
Human Annotation", 2019 (arXiv:1711.02512), section 3.4 (alpha).

Neighbors are those by cosine similarity s, and the weight of a neighbor is s^alpha: alpha 0
averages, a large alpha trusts near neighbors alone.
"""

import numpy as np
from jax.sharding import Mesh

from data_pipeline.errors import InputError
from luperson_jax.retrieval import neighbors
from luperson_jax.retrieval.nearest_lists import Neighbors
from luperson_jax.retrieval.rows import HostRows

BLOCK_ELEMENTS = 2**23
"""Numbers gathered at once: 32 MB."""


def average_both(
    query: np.ndarray,
    gallery: np.ndarray,
    *,
    k: int = 5,
    alpha: float = 3.0,
    mesh: Mesh | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """FastReID's expansion (He et al., 2020): every feature of query and gallery becomes the mean
    of s^alpha times feature over its k nearest among all of them, itself included.

    The features are weighted as they are, with their length. A negative similarity keeps its sign.

    Args:
        query: [Q, D], in memory or memory-mapped.
        gallery: [G, D].
        k: images in the mean; may exceed Q + G.
        alpha: >= 0.
        mesh: as in `neighbors.nearest`.

    Returns:
        [Q, D] and [G, D] float32, not of unit length.

    Raises:
        InputError: as `neighbors.nearest`, and for alpha < 0.
    """
    _check_alpha(alpha)
    neighbors.check_search({"query": query, "gallery": gallery}, k, "cosine")
    both = HostRows([query, gallery])
    lists, _ = neighbors.nearest_and_farthest(both, k, mesh=mesh)
    similarity = 1 - lists.distance
    weight = np.copysign(np.abs(similarity) ** np.float32(alpha), similarity)
    expanded = _weighted_sum(both, lists, weight, unit=False) / np.float32(min(k, len(both)))
    return expanded[: len(query)], expanded[len(query) :]


def expand_queries(
    query: np.ndarray,
    gallery: np.ndarray,
    *,
    k: int = 10,
    alpha: float = 3.0,
    mesh: Mesh | None = None,
) -> np.ndarray:
    """Alpha query expansion: the query, with weight 1, and its k nearest gallery images, as unit
    vectors; a negative similarity counts as 0. With alpha 0, average query expansion.

    Args:
        query: [Q, D], in memory or memory-mapped.
        gallery: [G, D].
        k: gallery images in the sum; may exceed G.
        alpha: >= 0.
        mesh: as in `neighbors.nearest`.

    Returns:
        [Q, D] float32 unit rows, to be searched for again.

    Raises:
        InputError: as `average_both`.
    """
    _check_alpha(alpha)
    lists = neighbors.nearest(query, gallery, k, mesh=mesh)
    expanded = _weighted_sum(HostRows(gallery), lists, _weights(lists, alpha), unit=True)
    own = HostRows(query)
    for start in range(0, len(query), neighbors.TILE_ROWS):
        rows = slice(start, start + neighbors.TILE_ROWS)
        block = own.span(start, len(expanded[rows]))
        expanded[rows] += block / _lengths(block)
    return expanded / _lengths(expanded)


def augment_gallery(
    gallery: np.ndarray, *, k: int = 10, alpha: float = 3.0, mesh: Mesh | None = None
) -> np.ndarray:
    """Database-side augmentation: `expand_queries` of the gallery in itself, before any query.

    Args:
        gallery: [G, D], in memory or memory-mapped.
        k: images in the sum, the image itself included; may exceed G.
        alpha: >= 0.
        mesh: as in `neighbors.nearest`.

    Returns:
        [G, D] float32 unit rows.

    Raises:
        InputError: as `average_both`.
    """
    _check_alpha(alpha)
    lists = neighbors.nearest(gallery, gallery, k, self_first=True, mesh=mesh)
    weight = _weights(lists, alpha)
    weight[:, 0] = 1
    expanded = _weighted_sum(HostRows(gallery), lists, weight, unit=True)
    return expanded / _lengths(expanded)


def _check_alpha(alpha: float) -> None:
    if not alpha >= 0:
        raise InputError(f"alpha is {alpha}; expected 0 (plain average) or more, usually 3")


def _weights(lists: Neighbors, alpha: float) -> np.ndarray:
    return np.maximum(1 - lists.distance, 0) ** np.float32(alpha)


def _lengths(rows: np.ndarray) -> np.ndarray:
    """Lengths of the rows, 1 for zeros."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.where(length > 0, length, 1)


def _weighted_sum(
    features: HostRows, lists: Neighbors, weight: np.ndarray, *, unit: bool
) -> np.ndarray:
    """[Q, D] sums over the lists, of the features or of unit vectors."""
    num_queries, k = lists.rows.shape
    total = np.empty((num_queries, features.shape[1]), np.float32)
    size = max(1, BLOCK_ELEMENTS // (k * features.shape[1]))
    weight = np.where(lists.rows >= 0, weight, 0)
    for start in range(0, num_queries, size):
        block = slice(start, start + size)
        rows = np.maximum(lists.rows[block], 0)
        near = features.take(rows.reshape(-1), rows.size).reshape(*rows.shape, -1)
        share = weight[block][:, None, :]
        if unit:
            share = share / _lengths(near)[:, None, :, 0]
        total[block] = np.matmul(share, near)[:, 0]
    return total
