"""Distances between features and the triplet loss over them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from data_pipeline.errors import InputError
from luperson_jax.losses.contrastive import l2_normalize

METRICS = ("cosine", "euclidean", "sqeuclidean")


def pairwise_distances(
    x: Float[Array, "m d"], y: Float[Array, "n d"], metric: str = "euclidean"
) -> Float[Array, "m n"]:
    """Distances of every row of x to every row of y.

    Args:
        x: [m, d], any float type; computed in float32 with full-precision products.
        y: [n, d].
        metric: "euclidean"; "sqeuclidean", its square; "cosine", 1 - cosine similarity (0..2).

    Returns:
        [m, n] float32, >= 0 but for rounding in "cosine". The Euclidean distance is at least 1e-6:
        its square is clamped at 1e-12 under the root, so that the gradient at 0 is 0, not nan.

    Raises:
        InputError: unknown metric.
    """
    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    if metric == "cosine":
        x, y = l2_normalize(x), l2_normalize(y)
    product = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    if metric == "cosine":
        return 1 - product
    norms = jnp.sum(jnp.square(x), axis=1)[:, None] + jnp.sum(jnp.square(y), axis=1)[None, :]
    squared = norms - 2 * product
    if metric == "sqeuclidean":
        return jnp.maximum(squared, 0)
    return jnp.sqrt(jnp.maximum(squared, 1e-12))


def batch_hard_triplet(
    features: Float[Array, "b d"],
    labels: Int[Array, "b"],
    *,
    margin: float | None = 0.3,
    mask: Bool[Array, "b"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Triplet loss with the hardest positive and the hardest negative of every anchor.

    With d_ap the largest distance to a picture of the same identity (the anchor itself included,
    so an identity with one picture has d_ap near 0) and d_an the smallest to any other identity:
    max(d_ap - d_an + margin, 0), or log(1 + exp(d_ap - d_an)) without a margin.

    Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017
    (arXiv:1703.07737), equation 5.

    Args:
        features: [b, d]; Euclidean distances in float32.
        labels: [b] identities, any integers.
        margin: in units of distance; None is the soft margin.
        mask: [b] False where the row is padding: neither anchor nor candidate.

    Returns:
        The mean over the anchors that have a negative (0 where none has), and metrics over the
        same anchors: "active_triplets", share that violates the margin (0 for the soft one);
        "hardest_positive" and "hardest_negative", mean distances.
    """
    distance = pairwise_distances(features, features, "euclidean")
    valid = jnp.ones(labels.shape, bool) if mask is None else mask
    same = labels[:, None] == labels[None, :]
    positive = same & valid[None, :]
    negative = ~same & valid[None, :]
    anchor = valid & jnp.any(negative, axis=1)

    hardest_positive = jnp.max(jnp.where(positive, distance, 0.0), axis=1)
    hardest_negative = jnp.min(jnp.where(negative, distance, jnp.inf), axis=1)
    gap = hardest_positive - hardest_negative
    losses = jax.nn.softplus(gap) if margin is None else jax.nn.relu(gap + margin)

    def mean_over_anchors(values: Float[Array, "b"]) -> Float[Array, ""]:
        count = jnp.maximum(jnp.sum(anchor, dtype=jnp.float32), 1)
        return jnp.sum(jnp.where(anchor, values, 0.0)) / count

    metrics = {
        "active_triplets": mean_over_anchors((gap + (margin or 0.0) > 0).astype(jnp.float32)),
        "hardest_positive": mean_over_anchors(hardest_positive),
        "hardest_negative": mean_over_anchors(hardest_negative),
    }
    return mean_over_anchors(losses), metrics
