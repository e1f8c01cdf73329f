"""Communities of a graph of similar images, by the constant Potts model.

Traag, Van Dooren, Nesterov, "Narrow scope for resolution-limit-free community detection", 2011,
arXiv 1104.3083, optimized as in Blondel et al., "Fast unfolding of communities in large networks",
2008, arXiv 0803.0476, but with many nodes moving at once. Unlike modularity it has no scale of
its own: a community is whatever is denser inside than a given density, however many others there
are, and persons are many and small.
"""

import numpy as np
from scipy import sparse

from data_pipeline.errors import InputError

MAX_ROUNDS = 100
"""Rounds of a level; a few dozen are enough."""
LEAST_GAIN = 1e-9


def communities(similarity: sparse.csr_array, *, resolution: float, seed: int = 0) -> np.ndarray:
    """Groups nodes so that the sum over pairs in one group of (similarity - resolution) is large.

    Args:
        similarity: [N, N] symmetric, 0..1; a pair that is not stored has 0. The diagonal does not
            count.
        resolution: mean similarity that the pairs of a community must exceed, above 0 and below 1.
        seed: of the order in which nodes move.

    Returns:
        [N] int64 community from 0, numbered by their first node; a node may be alone.

    Raises:
        InputError: resolution out of range.
    """
    if not 0 < resolution < 1:
        raise InputError(f"resolution is {resolution}; expected above 0 and below 1")
    weights = sparse.csr_array(similarity, dtype=np.float64)
    num_nodes = len(weights.indptr) - 1
    generator = np.random.default_rng(seed)
    sizes, of_node = np.ones(num_nodes), np.arange(num_nodes)
    while True:
        weights = _without_diagonal(weights)
        labels = _move_until_settled(weights, sizes, resolution, generator)
        numbers, labels = np.unique(labels, return_inverse=True)
        of_node = labels[of_node]
        if len(numbers) == len(sizes):
            break
        # What has joined moves as one from here on.
        ones = (np.ones(len(labels)), (np.arange(len(labels)), labels))
        joined = sparse.csr_array(ones, (len(labels), len(numbers)))
        weights = sparse.csr_array(joined.T @ weights @ joined)
        sizes = joined.T @ sizes
    _, first, found = np.unique(of_node, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[found]


def _move_until_settled(
    weights: sparse.csr_array, sizes: np.ndarray, resolution: float, generator: np.random.Generator
) -> np.ndarray:
    """Communities [n] of the nodes of a level: each starts alone, and goes where it gains most."""
    num_nodes = len(sizes)
    labels = np.arange(num_nodes)
    for _ in range(MAX_ROUNDS):
        target, gain = _best_moves(weights, sizes, labels, resolution)
        wants = gain > LEAST_GAIN
        if not np.any(wants):
            break
        # All at once two nodes would trade places for ever.
        moves = np.flatnonzero(wants & (generator.random(num_nodes) < 0.5))
        alone = moves[target[moves] < 0]
        labels[moves] = target[moves]
        free = np.setdiff1d(np.arange(num_nodes), labels[labels >= 0])
        labels[alone] = free[: len(alone)]
    return labels


def _best_moves(
    weights: sparse.csr_array, sizes: np.ndarray, labels: np.ndarray, resolution: float
) -> tuple[np.ndarray, np.ndarray]:
    """The community where each node gains most, -1 for one of its own, and the gain: [n] each."""
    num_nodes = len(sizes)
    ones = (np.ones(num_nodes), (np.arange(num_nodes), labels))
    near = sparse.csr_array(weights @ sparse.csr_array(ones, (num_nodes, num_nodes)))
    node = np.repeat(np.arange(num_nodes), np.diff(near.indptr))
    total = np.bincount(labels, weights=sizes, minlength=num_nodes)
    own = near.indices == labels[node]
    others = total[near.indices] - np.where(own, sizes[node], 0)
    score = near.data - resolution * sizes[node] * others
    now = -resolution * sizes * (total[labels] - sizes)
    now[node[own]] = score[own]
    target, best = np.full(num_nodes, -1), np.zeros(num_nodes)
    order = np.lexsort((-near.indices, score, node))
    node, last = node[order], np.flatnonzero(np.diff(node[order], append=-1))
    better = score[order[last]] > 0
    chosen = last[better]
    target[node[chosen]], best[node[chosen]] = near.indices[order[chosen]], score[order[chosen]]
    return target, best - now


def _without_diagonal(weights: sparse.csr_array) -> sparse.csr_array:
    matrix = weights.tocoo()
    off = matrix.row != matrix.col
    entries = (matrix.data[off], (matrix.row[off], matrix.col[off]))
    return sparse.csr_array(sparse.coo_array(entries, weights.shape))
