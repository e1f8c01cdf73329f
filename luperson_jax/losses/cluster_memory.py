"""Contrast with a memory that has one vector for each cluster: Cluster Contrast.

Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", ACCV 2022,
arXiv 2103.11568. The memory [k, d] is state that the losses move by a rule of their own, not
parameters. It has a fixed number of rows, of which the first `num_clusters` are in use.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from luperson_jax.losses.masked import counted, masked_mean
from luperson_jax.vectors import l2_normalize


def cluster_contrast(
    features: Float[Array, "b d"],
    memory: Float[Array, "k d"],
    labels: Int[Array, " b"],
    num_clusters: Int[Array, ""],
    *,
    temperature: float,
    weights: Float[Array, " k"] | None = None,
    mask: Bool[Array, " b"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Cross-entropy of finding a picture's own cluster in the memory (equation 1).

    Args:
        features: [b, d] unit rows; only they have a gradient.
        memory: [k, d] unit rows.
        labels: [b] cluster, 0..num_clusters-1; a negative one is none and does not count.
        num_clusters: [] int32 rows of the memory in use; the others are no cluster to choose.
        temperature: > 0; the authors take 0.05.
        weights: [k] how much the pictures of each cluster count, >= 0; all alike by default.
        mask: [b] False where the row is padding.

    Returns:
        The mean over the counted rows by their weights, 0 where there is none, and {"top1"}: share
        of them that are nearest to their own cluster.
    """
    rows = jax.lax.stop_gradient(memory.astype(jnp.float32))
    similarity = jnp.matmul(features, rows.T, precision=jax.lax.Precision.HIGHEST) / temperature
    used = jnp.arange(len(memory), dtype=jnp.int32) < num_clusters.astype(jnp.int32)
    logits = jnp.where(used[None, :], similarity, -jnp.inf)
    own = logits.at[jnp.arange(len(labels)), labels].get(mode="fill", fill_value=jnp.nan)
    counts = counted(labels, mask)
    losses = jax.nn.logsumexp(logits, axis=1) - own
    if weights is None:
        loss = masked_mean(losses, counts)
    else:
        share = jnp.where(counts, weights.at[labels].get(mode="clip"), 0)
        total = jnp.sum(share)
        loss = jnp.sum(jnp.where(share > 0, share * losses, 0)) / jnp.where(total > 0, total, 1)
    nearest = (own >= logits.max(axis=1)).astype(jnp.float32)
    return loss, {"top1": masked_mean(nearest, counts)}


def move_memory(
    memory: Float[Array, "k d"],
    features: Float[Array, "b d"],
    labels: Int[Array, " b"],
    *,
    momentum: float,
    mask: Bool[Array, " b"] | None = None,
) -> Float[Array, "k d"]:
    """Moves the row of each feature's cluster towards it, one feature after the other (equation 2).

    m <- momentum m + (1 - momentum) f, scaled to unit length, in the order of the batch: with a
    small momentum a row is nearly the last feature of its cluster, and the order is part of the
    method.

    Args:
        memory: [k, d].
        features: [b, d] unit rows; no gradient runs through the result.
        labels: [b] row of each; a negative one moves none.
        momentum: share of itself that a row keeps, 0..1; the authors take 0.1.
        mask: [b] False where the row is padding.

    Returns:
        [k, d] float32.
    """
    features, counts = jax.lax.stop_gradient(features), counted(labels, mask)
    # The rows of the batch alone are carried, in the place of the first feature of each: the
    # memory may be large, and be cut over devices.
    same = labels[:, None] == labels[None, :]
    first = jnp.argmax(same, axis=1).astype(jnp.int32)
    rows = jax.lax.stop_gradient(memory.astype(jnp.float32)).at[labels].get(mode="clip")

    def move(rows: Array, one: tuple[Array, Array, Array]) -> tuple[Array, None]:
        feature, place, count = one
        moved = l2_normalize(momentum * rows[place] + (1 - momentum) * feature)
        return rows.at[place].set(jnp.where(count, moved, rows[place])), None

    rows, _ = jax.lax.scan(move, rows, (features, first, counts))
    return _written(memory, rows[first], labels, counts)


def move_memory_hard(
    memory: Float[Array, "k d"],
    features: Float[Array, "b d"],
    labels: Int[Array, " b"],
    *,
    momentum: float,
    mask: Bool[Array, " b"] | None = None,
) -> Float[Array, "k d"]:
    """Moves each row once, by the feature of its cluster that resembles it least ("CM hard").

    Among equal ones the first of the batch. Arguments and result as of `move_memory`.
    """
    features, counts = jax.lax.stop_gradient(features), counted(labels, mask)
    rows = jax.lax.stop_gradient(memory.astype(jnp.float32)).at[labels].get(mode="clip")
    similarity = jnp.where(counts, jnp.sum(rows * features, axis=1), jnp.inf)
    same = labels[:, None] == labels[None, :]
    hardest = jnp.argmin(jnp.where(same, similarity[None, :], jnp.inf), axis=1)
    moved = l2_normalize(momentum * rows + (1 - momentum) * features[hardest])
    return _written(memory, moved, labels, counts)


def _written(memory: Array, rows: Array, labels: Array, counts: Array) -> Float[Array, "k d"]:
    """The memory with the rows of a batch in it; features of one cluster bring the same row."""
    memory = jax.lax.stop_gradient(memory.astype(jnp.float32))
    return memory.at[jnp.where(counts, labels, len(memory))].set(rows, mode="drop")
