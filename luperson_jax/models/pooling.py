"""From a feature map to one vector an image."""

from typing import Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PoolingKind = Literal["avg", "max", "gem", "gem_learned"]
POOLING_KINDS: tuple[str, ...] = get_args(PoolingKind)


class Pooling(nn.Module):
    """Global pooling over height and width.

    Attributes:
        kind: "avg", "max", "gem" (generalized mean with a fixed exponent) or "gem_learned" (the
            exponent is the parameter `p` [1], shared by all channels).
        p: exponent of the generalized mean, or its start.
    """

    kind: PoolingKind = "avg"
    p: float = 3.0

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
        """Pools `x` [B, h, w, C] to [B, C] float32."""
        assert self.kind in POOLING_KINDS, self.kind
        x = x.astype(jnp.float32)
        if self.kind == "avg":
            return x.mean(axis=(1, 2))
        if self.kind == "max":
            return x.max(axis=(1, 2))
        if self.kind == "gem":
            return generalized_mean(x, jnp.float32(self.p))
        start = nn.initializers.constant(self.p)
        return generalized_mean(x, self.param("p", start, (1,), jnp.float32)[0])


def generalized_mean(
    x: Float[Array, "b h w c"], p: Float[Array, ""], minimum: float = 1e-6
) -> Float[Array, "b c"]:
    """GeM: (mean of max(x, minimum)^p over height and width)^(1/p).

    Source: F. Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018,
    arXiv 1711.02512.

    Args:
        x: [B, h, w, C] float32.
        p: exponent, positive; 1 is the average, infinity the maximum.
        minimum: smaller values count as this one.

    Returns:
        [B, C] float32, at least `minimum`.
    """
    x = jnp.maximum(x, minimum)
    # The mean is homogeneous: dividing by the largest value changes neither it nor its gradient,
    # but 1e-6^p underflows from p = 7 on, and the root of 0 has no finite gradient.
    largest = jax.lax.stop_gradient(x.max(axis=(1, 2), keepdims=True))
    mean = jnp.power(x / largest, p).mean(axis=(1, 2))
    return largest.squeeze((1, 2)) * jnp.power(mean, 1 / p)
