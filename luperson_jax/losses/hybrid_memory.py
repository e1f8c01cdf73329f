"""Contrast with a memory that has one vector for each training image, in classes: SpCL.

Ge et al., "Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive Object Re-ID",
NeurIPS 2020, arXiv 2006.02713, without a source domain. The memory [n, d] is state that the losses
move by a rule of their own; its rows move as those of `cluster_memory.move_memory`, with the number
of the image in place of that of the cluster.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from luperson_jax.losses.masked import counted, masked_mean

SMALL = 1e-6
"""Added to the sum of the softmax and to its result, as in the authors' code."""


def hybrid_contrast(
    features: Float[Array, "b d"],
    memory: Float[Array, "n d"],
    classes: Int[Array, " n"],
    labels: Int[Array, " b"],
    *,
    temperature: float,
    mask: Bool[Array, " b"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Cross-entropy of finding a picture's own class, a class being the mean of its images
    (equation 1, target domain alone).

    Args:
        features: [b, d] unit rows; only they have a gradient.
        memory: [n, d] unit rows, one an image.
        classes: [n] class of each image, 0..n-1; not every number need occur.
        labels: [b] class of each feature; a negative one is none and does not count.
        temperature: > 0; the authors take 0.05.
        mask: [b] False where the row is padding.

    Returns:
        The mean over the counted rows, 0 where there is none, and {"top1"}: share of them that are
        nearest to their own class.
    """
    num_images = len(memory)
    rows = jax.lax.stop_gradient(memory.astype(jnp.float32))
    similarity = jnp.matmul(features, rows.T, precision=jax.lax.Precision.HIGHEST) / temperature
    sums = jax.ops.segment_sum(similarity.T, classes, num_segments=num_images).T
    ones = jnp.ones(num_images, jnp.float32)
    sizes = jax.ops.segment_sum(ones, classes, num_segments=num_images)
    logits = jnp.where(sizes[None, :] > 0, sums / jnp.maximum(sizes, 1)[None, :], -jnp.inf)
    # The largest is taken out for the range of float32 alone: the result is that without it.
    largest = jax.lax.stop_gradient(logits.max(axis=1))
    total = jnp.sum(jnp.exp(logits - largest[:, None]), axis=1) + SMALL * jnp.exp(-largest)
    own = logits.at[jnp.arange(len(labels)), labels].get(mode="fill", fill_value=jnp.nan)
    counts = counted(labels, mask)
    loss = masked_mean(-jnp.log(jnp.exp(own - largest) / total + SMALL), counts)
    return loss, {"top1": masked_mean((own >= largest).astype(jnp.float32), counts)}
