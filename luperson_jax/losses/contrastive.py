"""Contrast against a queue of earlier keys: MoCo.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", 2020
(arXiv:1911.05722); Chen et al., "Improved Baselines with Momentum Contrastive Learning", 2020
(arXiv:2003.04297); Fu et al., "Unsupervised Pre-training for Person Re-identification", 2021
(arXiv:2012.03753).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from luperson_jax.structs import Tree
from luperson_jax.vectors import l2_normalize


def info_nce(
    query: Float[Array, "b d"],
    key: Float[Array, "b d"],
    queue: Float[Array, "k d"],
    *,
    temperature: float,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Cross-entropy of finding a query's own key among the queue (He et al., equation 1).

    The logits of a query q are [q . key, q . queue_1, ..., q . queue_K] / temperature, and the
    first is the right answer. Only the query has a gradient.

    Args:
        query: [b, d] unit rows.
        key: [b, d] unit rows, row i the other view of query i.
        queue: [k, d] unit rows of other pictures.
        temperature: > 0; LUPerson takes 0.1.

    Returns:
        The mean loss, and {"top1", "top5"}: share of queries with at most 0 (4) entries of the
        queue more similar than the own key.
    """
    positive, negative, metrics = similarities(query, key, queue, temperature)
    total = jnp.logaddexp(positive, jax.nn.logsumexp(negative, axis=-1))
    return jnp.mean(total - positive), metrics


def similarities(
    query: Float[Array, "b d"],
    key: Float[Array, "b d"],
    queue: Float[Array, "k d"],
    temperature: float,
) -> tuple[Float[Array, " b"], Float[Array, "b k"], dict[str, Float[Array, ""]]]:
    """The logits of `info_nce`: of the own key [b] and of the queue [b, k], and its metrics.

    The [b, 1 + k] matrix of the paper is never put together: it is the largest array of the step,
    and joining two buffers would double it.
    """
    query, key, queue = (x.astype(jnp.float32) for x in (query, key, queue))
    key, queue = jax.lax.stop_gradient((key, queue))
    positive = jnp.sum(query * key, axis=-1) / temperature
    negative = jnp.matmul(query, queue.T, precision=jax.lax.Precision.HIGHEST) / temperature
    return positive, negative, shares_found(positive, negative)


def shares_found(own: Float[Array, " b"], others: Float[Array, "b k"]) -> dict[str, Array]:
    """{"top1", "top5"}: share of rows with at most 0 (4) of the others above their own."""
    ahead = jnp.sum(~(others <= own[:, None]), axis=-1)  # nan counts as ahead
    return {f"top{n}": jnp.mean((ahead < n).astype(jnp.float32)) for n in (1, 5)}


def enqueue(
    queue: Float[Array, "k d"], pointer: Int[Array, ""], keys: Float[Array, "b d"]
) -> tuple[Float[Array, "k d"], Int[Array, ""]]:
    """Overwrites the oldest rows of the ring with the keys, going on at row 0 past the end.

    Args:
        queue: [k, d].
        pointer: [] int32 row where the oldest entry stands, 0..k-1.
        keys: [b, d], b <= k; b need not divide k.

    Returns:
        The queue, and the pointer moved on by b.
    """
    size, batch = queue.shape[0], keys.shape[0]
    keys = jax.lax.stop_gradient(keys).astype(queue.dtype)
    rows = _oldest(size, pointer, batch)
    return queue.at[rows].set(keys, unique_indices=True), (pointer + batch) % size


def enqueue_labels(
    queue_id: Int[Array, " k"], pointer: Int[Array, ""], labels: Int[Array, " b"]
) -> Int[Array, " k"]:
    """The labels [k] of a queue, with those of the keys that `enqueue` puts at the same pointer."""
    rows = _oldest(len(queue_id), pointer, len(labels))
    return queue_id.at[rows].set(labels.astype(queue_id.dtype), unique_indices=True)


def _oldest(size: int, pointer: Array, batch: int) -> Int[Array, " b"]:
    assert batch <= size, f"{batch} keys do not fit into a queue of {size}"
    return (pointer + jnp.arange(batch, dtype=pointer.dtype)) % size


def ema(target: Tree, online: Tree, momentum: float | Float[Array, ""]) -> Tree:
    """momentum * target + (1 - momentum) * online, leaf by leaf (He et al., equation 2)."""
    return jax.tree.map(lambda old, new: momentum * old + (1 - momentum) * new, target, online)


def init_queue(key: PRNGKeyArray, size: int, dim: int) -> Float[Array, "k d"]:
    """Random directions [size, dim] float32, unit rows."""
    return l2_normalize(jax.random.normal(key, (size, dim), jnp.float32))
