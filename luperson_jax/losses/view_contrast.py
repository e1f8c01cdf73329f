"""Contrast of the two views of a batch with each other: SimCLR and supervised contrast.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", 2020
(arXiv:2002.05709); Khosla et al., "Supervised Contrastive Learning", 2020 (arXiv:2004.11362), as
Fu et al., "Large-Scale Pre-training for Person Re-identification with Noisy Labels", 2022
(arXiv:2203.16533), compare their method with both.

The rows of both are [query; key], 2b unit vectors, and no row is compared with itself.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from luperson_jax.losses import contrastive
from luperson_jax.vectors import l2_normalize

Result = tuple[Float[Array, ""], dict[str, Float[Array, ""]]]


def nt_xent(query: Float[Array, "b d"], key: Float[Array, "b d"], *, temperature: float) -> Result:
    """Cross-entropy of finding a view's partner among all other views (Chen et al., equation 1).

    Args:
        query: [b, d], of any length; b of at least 1.
        key: [b, d], row i the other view of row i.
        temperature: > 0.

    Returns:
        The mean loss over the 2b views, and {"top1", "top5"}: share of views with at most 0 (4)
        others more similar than their partner.
    """
    logits = _logits(query, key, temperature)
    own = _partner(logits)
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - own), contrastive.shares_found(own, logits)


def supervised_contrast(
    query: Float[Array, "b d"],
    key: Float[Array, "b d"],
    labels: Int[Array, " b"],
    *,
    temperature: float,
    base_temperature: float = 0.07,
) -> Result:
    """Contrast whose positives are all views of the same label (Khosla et al., equation 2).

    The logarithms of the probabilities are averaged over the positives, the other view among them.
    With a label for every picture it is `nt_xent` times temperature / base_temperature.

    Args:
        query: [b, d], of any length.
        key: [b, d], row i the other view of row i.
        labels: [b].
        temperature: > 0.
        base_temperature: > 0; the loss is multiplied by temperature / base_temperature.

    Returns:
        The mean loss over the 2b views, and {"top1", "top5"}: share of views with at most 0 (4)
        others more similar than the nearest one of their label.
    """
    logits = _logits(query, key, temperature)
    positive = _same(jnp.concatenate([labels, labels])) & ~_diagonal(logits)
    mean = jnp.mean(logits, axis=1, where=positive)
    loss = jnp.mean(jax.nn.logsumexp(logits, axis=1) - mean)
    nearest = jnp.max(logits, axis=1, where=positive, initial=-jnp.inf)
    return loss * (temperature / base_temperature), contrastive.shares_found(nearest, logits)


def with_gradient_times(loss: Float[Array, ""], factor: float) -> Float[Array, ""]:
    """The same number, whose gradient is multiplied."""
    scaled = loss * factor
    return scaled + jax.lax.stop_gradient(loss - scaled)


def _logits(query: Array, key: Array, temperature: float) -> Float[Array, "n n"]:
    """[2b, 2b] similarities over the temperature; -inf of a row with itself."""
    rows = jnp.concatenate([l2_normalize(query), l2_normalize(key)])
    similarity = jnp.matmul(rows, rows.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(_diagonal(similarity), -jnp.inf, similarity / temperature)


def _diagonal(square: Array) -> Bool[Array, "n n"]:
    return _same(jnp.arange(len(square)))


def _same(labels: Array) -> Bool[Array, "n n"]:
    return labels[:, None] == labels[None, :]


def _partner(logits: Array) -> Float[Array, " n"]:
    """[2b] logit of each view's partner."""
    half = len(logits) // 2
    return jnp.concatenate([jnp.diagonal(logits, half), jnp.diagonal(logits, -half)])
