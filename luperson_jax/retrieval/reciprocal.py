"""k-reciprocal neighbor sets and the sparse vectors made of them.

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", 2017
(arXiv:1701.08398), sections 3.2 to 3.4.

Everything starts from lists of nearest neighbors and stays sparse: a set holds some dozens of
rows whatever the number of images is. The relation "each is among the other's nearest" is
symmetric, which the code relies on.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from luperson_jax.retrieval.nearest_lists import Neighbors

BLOCK_WORK = 2**21
"""Terms summed at once by `overlaps`: about 100 MB of intermediate arrays."""


def half_size(k1: int) -> int:
    """Columns of the shorter lists, from which candidate sets are taken: half of k1, to the even
    neighbor where k1 is odd, and the image itself."""
    return round(k1 / 2) + 1


def reciprocal_sets(neighbors: Int[np.ndarray, "n k"], size: int) -> sparse.csr_array:
    """Who is among whose nearest, both ways.

    Args:
        neighbors: [N, K] rows of the nearest images, nearest first; -1 where there is none.
        size: columns to look at; may exceed K.

    Returns:
        [N, N] int32, symmetric, 1 where j is in the first columns of i and i in those of j.
    """
    directed = _incidence(neighbors[:, :size]).astype(np.int32)
    return sparse.csr_array(directed.multiply(directed.T.tocsr()))


def expanded_sets(neighbors: Int[np.ndarray, "n k"], size: int, half: int) -> sparse.csr_array:
    """R*(i): reciprocal neighbors and those of the members that resemble them (equation 2).

    The set of a member q, made of shorter lists, joins when more than two thirds of it belong to
    the reciprocal set of i before any joined.

    Args:
        neighbors: [N, K] as in `reciprocal_sets`.
        size: columns of the lists.
        half: columns of the shorter lists.

    Returns:
        [N, N] int32, row i is 1 at the members of R*(i); indices sorted.
    """
    near = reciprocal_sets(neighbors, size)
    core = reciprocal_sets(neighbors, half)
    core_size = np.diff(core.indptr)
    overlap = sparse.coo_array(sparse.csr_array(near @ core).multiply(near))
    # In integers: 2/3 has no exact float.
    joins = 3 * overlap.data > 2 * core_size[overlap.col]
    accepted = sparse.coo_array(
        (np.ones(joins.sum(), np.int32), (overlap.row[joins], overlap.col[joins])), near.shape
    )
    expanded = sparse.csr_array(near + accepted.tocsr() @ core)
    expanded.data[:] = 1
    expanded.sort_indices()
    return expanded


def shape_of(matrix: Any) -> tuple[int, int]:
    """Shape of a sparse matrix, which pyright believes to be None now and then."""
    return matrix.shape


def edges(sets: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every stored entry, in the order of `sets.data`."""
    return np.repeat(np.arange(len(sets.indptr) - 1), np.diff(sets.indptr)), sets.indices


def edge_distances(
    sets: sparse.csr_array,
    neighbors: Neighbors,
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Float[np.ndarray, "e"]:
    """Distances between every row and the members of its set.

    Most members stand in the row's list of neighbors; only the others are measured.

    Args:
        sets: [N, N], indices sorted.
        neighbors: lists of the N rows.
        measure: (rows [M], columns [M]) -> distances [M].

    Returns:
        [E] float32, in the order of `edges`.
    """
    num_rows = shape_of(sets)[0]
    row, column = edges(sets)
    wanted = row.astype(np.int64) * num_rows + column
    listed = neighbors.rows >= 0
    known = (np.arange(num_rows)[:, None] * num_rows + neighbors.rows)[listed]
    order = np.argsort(known)
    known = known[order]
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    distance = neighbors.distance[listed][order][place]
    unknown = known[place] != wanted
    distance[unknown] = measure(row[unknown], column[unknown])
    return distance


def encode(sets: sparse.csr_array, distance: Float[np.ndarray, "e"]) -> sparse.csr_array:
    """V: weights exp(-distance) on the members of every set, scaled to sum 1 (equation 7).

    Args:
        sets: [N, N] as from `expanded_sets`.
        distance: [E] of every stored entry, in the order of `edges`.

    Returns:
        [N, N] float32; a row without members stays empty.
    """
    row, _ = edges(sets)
    weight = np.exp(-distance.astype(np.float64))
    total = np.bincount(row, weights=weight, minlength=shape_of(sets)[0])
    scaled = (weight / total[row]).astype(np.float32)
    return sparse.csr_array((scaled, sets.indices, sets.indptr), sets.shape)


def average_over_neighbors(
    vectors: sparse.csr_array, neighbors: Int[np.ndarray, "n k"], k2: int
) -> sparse.csr_array:
    """Local query expansion: the mean of the vectors of the k2 nearest images (equation 11).

    Args:
        vectors: [N, N] from `encode`.
        neighbors: [N, K] as in `reciprocal_sets`.
        k2: images that are averaged, usually with the image itself as the first; 1 is none.

    Returns:
        [N, N] float32, indices sorted.
    """
    if k2 == 1:
        return vectors
    first = _incidence(neighbors[:, :k2])
    first.data /= np.repeat(np.diff(first.indptr), np.diff(first.indptr))
    averaged = sparse.csr_array(first @ vectors)
    averaged.sort_indices()
    return averaged


def jaccard_of_overlap(overlap: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Jaccard distance of two vectors of sum 1 whose minimum has the sum `overlap`: their maximum
    has the sum 2 - overlap (equation 10). Never negative."""
    return np.maximum(1 - overlap / (2 - overlap), 0).astype(np.float32)


def overlaps(
    rows: sparse.csr_array, columns: sparse.csc_array
) -> Iterator[tuple[slice, Float[np.ndarray, "t n"]]]:
    """Sum over k of min(rows[i, k], columns[j, k]), for all j, a few i at a time.

    Column k of `columns` lists the j that have an entry there. Only those can add to the sum, so
    the cost is the number of pairs of entries in the same column.

    Args:
        rows: [M, K] non-negative.
        columns: [N, K] non-negative, by columns.

    Yields:
        A slice of 0..M, in order, and [t, N] float32 sums of its rows.
    """
    num_columns = shape_of(columns)[0]
    length = np.diff(columns.indptr).astype(np.int64)
    work = np.concatenate([[0], np.cumsum(length[rows.indices])])[rows.indptr]
    # The dense result counts as well: it is written and read once.
    work = work + np.arange(len(work)) * num_columns
    start = 0
    while start < shape_of(rows)[0]:
        stop = int(np.searchsorted(work, work[start] + BLOCK_WORK, side="right")) - 1
        stop = min(max(stop, start + 1), shape_of(rows)[0])
        yield slice(start, stop), _overlaps_of_block(rows[start:stop], columns, length)
        start = stop


def _overlaps_of_block(
    rows: sparse.csr_array, columns: sparse.csc_array, length: np.ndarray
) -> np.ndarray:
    num_rows, num_columns = shape_of(rows)[0], shape_of(columns)[0]
    row, key = edges(rows)
    count = length[key]
    # Entry e of the block meets the run of `columns` that starts at indptr[key[e]]; the runs are
    # laid end to end.
    begin = np.cumsum(count) - count
    entry = np.repeat(np.arange(len(key)), count)
    met = np.arange(len(entry)) + (columns.indptr[key] - begin)[entry]
    smaller = np.minimum(rows.data[entry], columns.data[met])
    place = (row * num_columns)[entry] + columns.indices[met]
    sums = np.bincount(place, weights=smaller, minlength=num_rows * num_columns)
    return sums.astype(np.float32).reshape(num_rows, num_columns)


def _incidence(neighbors: np.ndarray) -> sparse.csr_array:
    """[N, N] float32, 1 where the column is in the list of the row."""
    present = neighbors >= 0
    indptr = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    column = neighbors[present]
    ones = np.ones(len(column), np.float32)
    matrix = sparse.csr_array((ones, column, indptr), (len(neighbors), len(neighbors)))
    matrix.sort_indices()
    return matrix
