"""A 1x1 convolution and the batch normalization of its result, whose gradient reads no result.

The convolutions at the end of a bottleneck make four channels of one, and their results are the
largest maps of a ResNet-50: what its backward pass reads and writes of them bounds it. A result y
is linear in the input x, so that all sums over its pixels follow from the kernel and two small
matrices, x^T g and x^T x, and the gradient of x is g and x times a small matrix each. The gradient
of y is never written, y never read again.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from luperson_jax import platforms, sharding
from luperson_jax.models import convolution, moments
from luperson_jax.models.moments import Anywhere, Flag

MIN_PIXELS = 16
"""Of a group, for each channel of the input: with fewer, matrices cost what the maps save."""

_exact = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
"""Of small matrices, whose products cancel."""


class Projection(NamedTuple):
    """What a map was made of by a 1x1 convolution at stride 1 without a bias.

    Attributes:
        x: [B, H, W, K], of the type it is convolved in.
        kernel: [1, 1, K, C] float32.
    """

    x: Array
    kernel: Anywhere

    def moves_less(self, size: int) -> bool:
        """Whether `normalized` is the better form for groups of so many images: products are
        exact in the float32 that they are summed in, as those of bfloat16 are; no group spans
        devices; the result is larger than the input, and maps are than the matrices of a group.
        On a TPU it must be one group, as maps are laid out anew for products by groups there."""
        channels, features = self.kernel.shape[-2:]
        own, pixels = sharding.num_own(len(self.x)), size * math.prod(self.x.shape[1:3])
        if self.x.dtype != jnp.bfloat16 or own is None or own % size:
            return False
        if own > size and platforms.current() == "tpu":
            return False
        return features >= 2 * channels and pixels >= MIN_PIXELS * channels


def normalized(
    size: int,
    y: Float[Array, "b h w c"],
    of: Projection,
    scale: Float[Anywhere, "c"],
    bias: Float[Anywhere, "c"],
    mean: Float[Array, "b c"],
    inverse: Float[Array, "b c"],
    live: Flag,
) -> Float[Array, "b h w c"]:
    """`moments.normalized` of a map `y`, for what it was made of: that has the gradient, `y` none.

    Rounding differs. In bfloat16 the gradient of the kernel is nearer to that of float64 than
    the plain form's where the mean of `x` is no more than its deviation (1e-3 for 3e-3 of its
    norm), and farther where it is many times as large (5e-2 for 2e-2 at ten times).

    Args:
        size: of a group of images that follow each other; each device holds whole groups.
        y: [B, H, W, C].
        of: see above.
        scale, bias, mean, inverse, live: as for `moments.normalized`.
    """
    own = jax.lax.stop_gradient((y, mean, inverse))
    whole = of.kernel, scale, bias, jnp.asarray(live)
    return sharding.on_own_images(functools.partial(_normalized, size), (of.x, *own), *whole)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalized(
    size: int,
    images: tuple[Array, ...],
    kernel: Anywhere,
    scale: Anywhere,
    bias: Anywhere,
    live: Array,
) -> Array:
    _, y, mean, inverse = images
    return moments.affine(y, scale, bias, mean, inverse).astype(y.dtype)


def _forward(size: int, images: tuple[Array, ...], *parameters: Any) -> tuple[Array, Any]:
    (x, _, mean, inverse), (kernel, scale, _, live) = images, parameters
    saved = x, kernel, scale, mean[::size], inverse[::size], live
    return _normalized(size, images, *parameters), saved


def _backward(size: int, saved: tuple[Any, ...], gradient: Array) -> tuple[Any, ...]:
    x, kernel, scale, mean, inverse, live = saved
    weights = kernel.reshape(kernel.shape[-2:]).astype(x.dtype).astype(jnp.float32)
    # Of what is before the barrier: the sum is then made where the gradient is written.
    of_images = gradient.astype(jnp.float32).sum(axis=(1, 2))
    total = moments.pooled(of_images, size, None) * size
    x, gradient = jax.lax.optimization_barrier((x, gradient))
    rows, pulls = (one.reshape(len(mean), -1, one.shape[-1]) for one in (x, gradient))
    number = rows.shape[1]
    center = rows.astype(jnp.float32).mean(axis=1)
    # Sums over pixels of (x - center) g and of (x - center) (x - center).
    with_pulls = _products(rows, pulls) - center[:, :, None] * total[:, None]
    with_rows = _products(rows, rows) - number * center[:, :, None] * center[:, None]

    # Where `mean` is that of the result this is rounding.
    apart = _exact("gk,kc->gc", center, weights) - mean
    slopes = inverse * (_exact("kc,gkc->gc", weights, with_pulls) + apart * total)
    shift, slope = (jnp.where(live, one / number, 0.0) for one in (total, slopes))
    slope = slope * inverse
    # The gradient of y is gain * (g - shift - slope * (y - mean)).
    gain = inverse * scale[None]
    of_kernel = with_pulls - slope[:, None] * _exact("gkj,jc->gkc", with_rows, weights)
    rest = total - number * (shift + slope * apart)
    of_kernel = (of_kernel + center[:, :, None] * rest[:, None]) * gain[:, None]

    back = (weights[None] * gain[:, None]).swapaxes(1, 2)
    mixed = -_exact("kc,gcj->gkj", weights, slope[:, :, None] * back).astype(x.dtype)
    constant = -_exact("gc,gck->gk", shift + slope * apart, back)
    constant -= _exact("gk,gkj->gj", center, mixed.astype(jnp.float32))
    constant = moments.spread(constant, size, None)
    around = _times(x, mixed) + moments.wide(constant, x).astype(x.dtype)
    of_x = _times(gradient, back.astype(x.dtype)) + around
    of_kernel = of_kernel.sum(axis=0).reshape(kernel.shape)
    return (of_x, None, None, None), of_kernel, slopes.sum(axis=0), total.sum(axis=0), None


_normalized.defvjp(_forward, _backward)


def _products(left: Array, right: Array) -> Array:
    """[groups, n, K], [groups, n, C] -> [groups, K, C] float32, sums over n."""
    return jnp.einsum("gnk,gnc->gkc", left, right, preferred_element_type=jnp.float32)


def _times(maps: Array, matrices: Array) -> Array:
    """[B, H, W, K], [groups, K, J] -> [B, H, W, J]: each pixel by the matrix of its group."""
    if len(matrices) == 1:  # as a convolution, to which a GPU's library adds another map at once
        return convolution.convolved(maps, matrices[None], 1, ((0, 0), (0, 0)))
    rows = maps.reshape(len(matrices), -1, maps.shape[-1])
    return jnp.einsum("gnk,gkj->gnj", rows, matrices).reshape(*maps.shape[:3], -1)
