"""Cross-entropy over identities and the accuracies that go with it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from luperson_jax.losses.masked import counted, masked_mean


def smoothed_cross_entropy(
    logits: Float[Array, "b c"],
    labels: Int[Array, "b"],
    *,
    epsilon: float = 0.1,
    mask: Bool[Array, "b"] | None = None,
) -> Float[Array, ""]:
    """Cross-entropy against a softened target, averaged over the rows that count.

    The target is 1 - epsilon for the true class and epsilon / (C - 1) for each other one. Szegedy
    et al. spread epsilon over all C classes instead; re-identification code (Luo et al., "Bag of
    Tricks and a Strong Baseline for Deep Person Re-Identification", 2019, as implemented in
    FastReID) spares the true class, and learning rates were tuned with that. FastReID divides by
    the number of rows whose loss is not 0, which is this mean wherever epsilon > 0: no row can
    cost less than the entropy of its target.

    Args:
        logits: [b, c], c >= 2; any float type, computed in float32.
        labels: [b] true class, 0..c-1; a negative one is unknown and does not count; one beyond
            the classes makes the loss nan, and not another class.
        epsilon: probability taken from the true class, 0..1.
        mask: [b] False where the row is padding; None counts every row.

    Returns:
        The mean over the counted rows; 0 where there is none.
    """
    num_classes = logits.shape[-1]
    assert num_classes >= 2, f"a loss over {num_classes} class has nothing to separate"
    log_probability = jax.nn.log_softmax(logits.astype(jnp.float32))
    true_class = jnp.take_along_axis(log_probability, labels[:, None], axis=1)[:, 0]
    other = epsilon / (num_classes - 1)
    losses = -(1 - epsilon - other) * true_class - other * jnp.sum(log_probability, axis=1)
    return masked_mean(losses, counted(labels, mask))


def topk_accuracy(
    logits: Float[Array, "b c"],
    labels: Int[Array, "b"],
    k: int,
    mask: Bool[Array, "b"] | None = None,
) -> Float[Array, ""]:
    """Share of rows whose true class is among the k largest logits.

    Equal logits rank by class number, so a model that says the same for all classes scores k / C
    and not 1. A row with a nan counts as wrong.

    Args:
        logits: [b, c].
        labels: [b] true class, 0..c-1; a negative one is unknown and does not count.
        k: how many guesses are allowed.
        mask: [b] False where the row is padding.

    Returns:
        Share of the counted rows, 0..1.
    """
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    classes = jnp.arange(logits.shape[-1], dtype=labels.dtype)[None, :]
    behind = (logits < own) | ((logits == own) & (classes > labels[:, None]))
    # The true class itself is not behind itself, hence <= k. Counting what is not behind, instead
    # of what is ahead, makes nan lose: every comparison with it is false.
    hits = jnp.sum(~behind, axis=1) <= k
    return masked_mean(hits.astype(jnp.float32), counted(labels, mask))


def accuracy(
    logits: Float[Array, "b c"],
    labels: Int[Array, "b"],
    mask: Bool[Array, "b"] | None = None,
) -> Float[Array, ""]:
    """Share of rows whose true class has the largest logit; see `topk_accuracy`."""
    return topk_accuracy(logits, labels, 1, mask)
