"""The non-local block of AGW and SBS: every pixel of a map reads all the others."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class NonLocalBlock(nn.Module):
    """x + W(theta(x) phi(x)^T / N g(x)) over the N pixels of a map, without softmax.

    Subtrees `g`, `theta`, `phi` and `W_0`, 1x1 convolutions with bias to and from half the
    channels, and `W_1`, a batch normalization whose scale and bias start at 0: at first the block
    changes nothing, and a network that has learned without it can go on with it.

    Source: X. Wang et al., "Non-local Neural Networks", 2018, arXiv 1711.07971, section 3.2 (the
    dot product); M. Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook"
    (AGW), 2021, arXiv 2001.04193. Names and initial values as in FastReID.

    Attributes:
        conv: `Conv` with its type and form.
        norm: `GroupedBatchNorm` with its group size.
    """

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        """Adds to every pixel of `x` what it reads; see `ResNet.__call__` for `train`."""
        batch, height, width, channels = x.shape
        pixels = height * width
        theta, phi, g = (
            self.conv(channels // 2, 1, use_bias=True, name=name)(x).reshape(batch, pixels, -1)
            for name in ("theta", "phi", "g")
        )
        # A sum over up to 1024 channels and then over all pixels, in float32 whatever the maps are.
        affinity = jnp.einsum("bnc,bmc->bnm", theta, phi, preferred_element_type=jnp.float32)
        read = jnp.einsum("bnm,bmc->bnc", affinity / pixels, g.astype(jnp.float32))
        read = read.reshape(batch, height, width, -1)
        read = self.conv(channels, 1, use_bias=True, name="W_0")(read)
        norm = self.norm(scale_init=nn.initializers.zeros, name="W_1")
        return x + norm(read, train=train).astype(x.dtype)
