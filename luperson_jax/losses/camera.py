"""Features that do not tell their camera: gradient reversal and the loss of a camera classifier.

Ganin and Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015,
arXiv 1409.7495, as Li et al., "CALR", 2024, arXiv 2403.16450, use it on cameras.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from luperson_jax.losses.masked import counted, masked_mean


def reverse_gradient(x: Float[Array, "*s"], alpha: float) -> Float[Array, "*s"]:
    """x itself, whose gradient is that of -alpha x: what is above learns, what is below unlearns.

    Args:
        x: any array.
        alpha: >= 0; strength of the reversal.
    """
    return jax.lax.stop_gradient((1 + alpha) * x) - alpha * x


def camera_loss(
    logits: Float[Array, "b c"],
    camera: Int[Array, " b"],
    *,
    twice: bool = False,
    mask: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
    """Cross-entropy of naming the camera of each image.

    Args:
        logits: [b, c].
        camera: [b] 0..c-1; a negative one does not count.
        twice: take the probabilities for logits again, as the authors' program does; the loss then
            lies between ln(e + c - 1) - 1 and ln(e + c - 1).
        mask: [b] False where the row is padding.

    Returns:
        The mean over the counted rows; 0 where there is none.
    """
    scores = jax.nn.softmax(logits, axis=1) if twice else logits
    own = scores.at[jnp.arange(len(camera)), camera].get(mode="fill", fill_value=0.0)
    return masked_mean(jax.nn.logsumexp(scores, axis=1) - own, counted(camera, mask))
