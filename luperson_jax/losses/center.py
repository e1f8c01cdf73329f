"""Center loss: features near the running center of their identity.

Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016. The
centers [C, D] are state that the losses move by a rule of their own, not parameters.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from luperson_jax.losses.masked import counted, masked_mean


def _differences(
    features: Float[Array, "b d"],
    centers: Float[Array, "c d"],
    labels: Int[Array, "b"],
    counts: Bool[Array, "b"],
) -> Float[Array, "b d"]:
    """Features minus the centers of their identities, constants; 0 where the row does not count."""
    centers = jax.lax.stop_gradient(centers.astype(jnp.float32))
    # A label beyond the centers gives nan; plain indexing would take the last center for it.
    own = centers.at[labels].get(mode="fill", fill_value=jnp.nan)
    return jnp.where(counts[:, None], features.astype(jnp.float32) - own, 0.0)


def center_loss(
    features: Float[Array, "b d"],
    centers: Float[Array, "c d"],
    labels: Int[Array, "b"],
    *,
    mask: Bool[Array, "b"] | None = None,
) -> Float[Array, ""]:
    """Half the mean squared Euclidean distance of features to their centers (equation 2).

    The paper sums over the batch; a weight for its sum is multiplied by the batch size here. The
    code of "Bag of Tricks" (Luo et al., 2019) weighs the mean without the half by 0.0005, which is
    0.001 here, and moves the centers by gradient descent on it instead of `move_centers`.

    Args:
        features: [b, d]; only they have a gradient.
        centers: [c, d] one row for each identity.
        labels: [b] identity, 0..c-1; a negative one is unknown and does not count.
        mask: [b] False where the row is padding.

    Returns:
        The mean over the counted rows; 0 where there is none.
    """
    counts = counted(labels, mask)
    difference = _differences(features, centers, labels, counts)
    return masked_mean(0.5 * jnp.sum(jnp.square(difference), axis=1), counts)


def move_centers(
    centers: Float[Array, "c d"],
    features: Float[Array, "b d"],
    labels: Int[Array, "b"],
    *,
    alpha: float = 0.5,
    mask: Bool[Array, "b"] | None = None,
) -> Float[Array, "c d"]:
    """Moves each center toward the features of its identity (equation 4).

    With n features of an identity in the batch, its center moves by alpha times the sum of
    (feature - center) divided by 1 + n; a center without one stays where it is.

    Args:
        centers: [c, d].
        features: [b, d]; no gradient runs through the result.
        labels: [b] identity, 0..c-1; a negative one is unknown and does not count.
        alpha: share of the way, 0..1.
        mask: [b] False where the row is padding.

    Returns:
        [c, d] float32.
    """
    counts = counted(labels, mask)
    difference = jax.lax.stop_gradient(_differences(features, centers, labels, counts))
    total = jax.ops.segment_sum(difference, labels, num_segments=len(centers))
    hits = jax.ops.segment_sum(counts.astype(jnp.float32), labels, num_segments=len(centers))
    return jax.lax.stop_gradient(centers.astype(jnp.float32)) + alpha * total / (1 + hits)[:, None]
