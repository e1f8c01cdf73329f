"""Losses over the pairs of a batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from luperson_jax.losses.masked import counted, masked_mean
from luperson_jax.vectors import l2_normalize, pairwise_distances

FASTREID_EPSILON = 1e-6
"""What FastReID adds to the sum of the weights of its weighted triplets."""


def _pairs(
    features: Float[Array, "b d"], labels: Int[Array, "b"], mask: Bool[Array, "b"] | None
) -> tuple[Float[Array, "b d"], Bool[Array, "b b"], Bool[Array, "b b"], Bool[Array, "b"]]:
    """Features without what padding holds; columns of the same, of another identity; anchors."""
    counts = counted(labels, mask)
    # Whatever a padded row holds would reach the others as 0 * nan in the gradient.
    features = jnp.where(counts[:, None], features.astype(jnp.float32), 0.0)
    same = labels[:, None] == labels[None, :]
    positive, negative = same & counts[None, :], ~same & counts[None, :]
    return features, positive, negative, counts & jnp.any(negative, axis=1)


def _distances_within(features: Float[Array, "b d"], normalize: bool) -> Float[Array, "b b"]:
    features = l2_normalize(features) if normalize else features
    distance = pairwise_distances(features, features, "euclidean")
    # A row's distance to itself would be the root of what rounding leaves, with a steep gradient.
    return jnp.where(jnp.eye(len(features), dtype=bool), 1e-6, distance)


def _ranking_loss(
    positive: Float[Array, "b"],
    negative: Float[Array, "b"],
    anchor: Bool[Array, "b"],
    margin: float | None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean loss over the anchors, and the share of them that violates the margin."""
    gap = positive - negative
    # This softplus does not overflow: FastReID, whose does, falls back to a margin of 0.3 there.
    losses = jax.nn.softplus(gap) if margin is None else jax.nn.relu(gap + margin)
    active = (gap + (margin or 0.0) > 0).astype(jnp.float32)
    return masked_mean(losses, anchor), masked_mean(active, anchor)


def batch_hard_triplet(
    features: Float[Array, "b d"],
    labels: Int[Array, "b"],
    *,
    margin: float | None = 0.3,
    normalize: bool = False,
    mask: Bool[Array, "b"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Triplet loss with the hardest positive and the hardest negative of every anchor.

    With d_ap the largest distance to a picture of the same identity and d_an the smallest to any
    other identity: max(d_ap - d_an + margin, 0), or log(1 + exp(d_ap - d_an)) without a margin.
    The anchor itself counts as a positive at distance 1e-6, so that an identity with one picture
    is only pushed away.

    Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017
    (arXiv:1703.07737), equation 5.

    Args:
        features: [b, d]; Euclidean distances in float32.
        labels: [b] identities; a negative one is unknown, and its row counts as padding.
        margin: in units of distance; None is the soft margin.
        normalize: distances between directions, 0..2, instead of features.
        mask: [b] False where the row is padding: neither anchor nor candidate.

    Returns:
        The mean over the anchors that have a negative (0 where none has), and metrics over the
        same anchors: "active_triplets", share that violates the margin (0 for the soft one);
        "hardest_positive" and "hardest_negative", mean distances.
    """
    features, positive, negative, anchor = _pairs(features, labels, mask)
    distance = _distances_within(features, normalize)
    hardest_positive = jnp.max(jnp.where(positive, distance, 0.0), axis=1)
    hardest_negative = jnp.min(jnp.where(negative, distance, jnp.inf), axis=1)
    loss, active = _ranking_loss(hardest_positive, hardest_negative, anchor, margin)
    return loss, {
        "active_triplets": active,
        "hardest_positive": masked_mean(hardest_positive, anchor),
        "hardest_negative": masked_mean(hardest_negative, anchor),
    }


def _softmax_mean(
    values: Float[Array, "b b"], scores: Float[Array, "b b"], where: Bool[Array, "b b"]
) -> Float[Array, "b"]:
    """Mean of the chosen values of each row, weighted by the softmax of their scores."""
    # The lowest number instead of -inf: a row without any choice has to stay finite.
    weights = jax.nn.softmax(jnp.where(where, scores, jnp.finfo(scores.dtype).min), axis=1)
    return jnp.sum(jnp.where(where, weights * values, 0.0), axis=1)


def _fastreid_mean(
    values: Float[Array, "b b"], scores: Float[Array, "b b"], where: Bool[Array, "b b"]
) -> Float[Array, "b"]:
    """`_softmax_mean` with FastReID's sum: the largest score is sought among those of the other
    columns too, which count as 0 there, and the sum of the powers has 1e-6 added."""
    largest = jnp.max(jnp.where(where, scores, 0.0), axis=1, keepdims=True)
    powers = jnp.where(where, jnp.exp(jnp.where(where, scores - largest, 0.0)), 0.0)
    return jnp.sum(powers * values, axis=1) / (jnp.sum(powers, axis=1) + FASTREID_EPSILON)


def weighted_triplet(
    features: Float[Array, "b d"],
    labels: Int[Array, "b"],
    *,
    margin: float | None = None,
    normalize: bool = False,
    as_fastreid: bool = False,
    mask: Bool[Array, "b"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Triplet loss over all positives and negatives of an anchor, the hard ones weighing most.

    d_ap is the mean distance to the pictures of the same identity with weights softmax(distance),
    d_an that to the other identities with weights softmax(-distance); then as in
    `batch_hard_triplet`. The gradient runs through the weights too. The anchor itself is among its
    positives, as in FastReID.

    FastReID divides by a sum of exp(-distance) that has 1e-6 added: its weights do not sum to 1
    where negatives are far, and d_an falls towards 0 where all are farther than about 14 (minus the
    log of 1e-6). The loss grows there and draws the negatives nearer. The softmax is exact by
    default.

    Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", 2021
    (arXiv:2001.04193), the weighted regularization triplet of AGW.

    Args:
        features: [b, d]; Euclidean distances in float32.
        labels: [b] identities; a negative one is unknown, and its row counts as padding.
        margin: in units of distance; None is the soft margin, as in AGW.
        normalize: distances between directions, 0..2, instead of features.
        as_fastreid: FastReID's weights instead of the exact ones.
        mask: [b] False where the row is padding: neither anchor nor candidate.

    Returns:
        The mean over the anchors that have a negative (0 where none has), and metrics over the
        same anchors: "active_triplets", as in `batch_hard_triplet`; "weighted_positive" and
        "weighted_negative", mean distances.
    """
    features, positive, negative, anchor = _pairs(features, labels, mask)
    distance = _distances_within(features, normalize)
    mean = _fastreid_mean if as_fastreid else _softmax_mean
    weighted_positive = mean(distance, distance, positive)
    weighted_negative = mean(distance, -distance, negative)
    loss, active = _ranking_loss(weighted_positive, weighted_negative, anchor, margin)
    return loss, {
        "active_triplets": active,
        "weighted_positive": masked_mean(weighted_positive, anchor),
        "weighted_negative": masked_mean(weighted_negative, anchor),
    }


def circle_loss(
    features: Float[Array, "b d"],
    labels: Int[Array, "b"],
    *,
    margin: float = 0.25,
    gamma: float = 128.0,
    mask: Bool[Array, "b"] | None = None,
) -> Float[Array, ""]:
    """Circle loss over the pairs of a batch.

    With s the cosine of a pair and m the margin, each anchor costs log(1 + N P), where
    N = sum exp(gamma max(s + m, 0) (s - m)) over its negatives and
    P = sum exp(-gamma max(1 + m - s, 0) (s - (1 - m))) over its positives, itself not among them.
    The weights max(...) are constants of the step. Pairs of neither kind add nothing to N and P.

    Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", 2020
    (arXiv:2002.10857), equation 6. `margins.circle_logits` is the same with classes.

    Args:
        features: [b, d], any length.
        labels: [b] identities; a negative one is unknown, and its row counts as padding.
        margin: m, 0..1.
        gamma: the paper's scale.
        mask: [b] False where the row is padding.

    Returns:
        The mean over the anchors that have a positive and a negative; 0 where none has.
    """
    features, positive, negative, anchor = _pairs(features, labels, mask)
    positive &= ~jnp.eye(len(labels), dtype=bool)
    unit = l2_normalize(features)
    similarity = jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)
    constant = jax.lax.stop_gradient(similarity)
    push = gamma * jax.nn.relu(constant + margin) * (similarity - margin)
    pull = -gamma * jax.nn.relu(1 + margin - constant) * (similarity - (1 - margin))
    # The lowest number instead of -inf: a row without any pair has to stay finite.
    lowest = jnp.finfo(jnp.float32).min / 4
    losses = jax.nn.softplus(
        jax.nn.logsumexp(jnp.where(negative, push, lowest), axis=1)
        + jax.nn.logsumexp(jnp.where(positive, pull, lowest), axis=1)
    )
    return masked_mean(losses, anchor & jnp.any(positive, axis=1))
