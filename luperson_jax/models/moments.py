"""Means and variances of groups of images, and what they normalize, in few passes over a map.

A map of a large network is read from memory for every pass, and that, not the arithmetic, takes
most of a step's time on an accelerator. Statistics are made in one pass, the gradient in two, and
the mask of a ReLU is computed again where it is needed.

A group is given by its `size` in images that follow each other, or by `group` [B], the number of
the group of each image, of B / size groups of equal size.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from luperson_jax import platforms

Flag = bool | Bool[Array, ""]
"""A truth that may be traced."""
Anywhere = Array | np.ndarray
"""Parameters may be on the host."""


class OfImages(NamedTuple):
    """Of each channel of each image, [B, C] float32.

    Attributes:
        near: a value near the mean.
        offset: the mean, less `near`.
        variance: biased.
    """

    near: Array
    offset: Array
    variance: Array


def of_images(x: Float[Array, "b *space c"]) -> OfImages:
    """Statistics of each channel of each image in one pass.

    Sums are of differences to the mean of the row in the middle. E[x^2] - E[x]^2 cancels where the
    mean is large against the deviation; with the difference d of that row's mean to the mean of
    all H rows the relative error is at most about (1 + d^2 / variance) times that of a sum in
    float32, and d^2 / variance is at most H, whatever the mean.
    """
    batch, channels = x.shape[0], x.shape[-1]
    if x.ndim == 2:
        values = x.astype(jnp.float32)
        return OfImages(values, jnp.zeros_like(values), jnp.zeros_like(values))
    half = x.shape[1] // 2
    row = jax.lax.slice_in_dim(x, half, half + 1, axis=1).reshape(batch, -1, channels)
    near = row.astype(jnp.float32).mean(axis=1)
    pixels = x.reshape(batch, -1, channels)
    offset = (pixels.astype(jnp.float32) - near[:, None]).mean(axis=1)
    # In another shape: a CPU would write a difference that is used twice to memory.
    apart = x.astype(jnp.float32) - wide(near, x)
    square = jnp.square(apart).mean(axis=tuple(range(1, x.ndim - 1)))
    return OfImages(near, offset, jnp.maximum(square - jnp.square(offset), 0.0))


def of_groups(
    images: OfImages, size: int, group: Int[Array, "b"] | None
) -> tuple[Float[Array, "g c"], Float[Array, "g c"]]:
    """Mean and biased variance of each group from those of its images."""
    mean = pooled(images.near + images.offset, size, group)
    # The sum of near and offset is rounded, and large means would show.
    between = (images.near - spread(mean, size, group)) + images.offset
    return mean, pooled(images.variance + jnp.square(between), size, group)


def pooled(
    values: Float[Array, "b c"], size: int, group: Int[Array, "b"] | None
) -> Float[Array, "g c"]:
    """The mean over the images of each group. Given numbers of groups, a sum over the devices that
    hold the images: of a row for each group, not of pictures or maps."""
    if group is None:
        return values.reshape(-1, size, values.shape[-1]).mean(axis=1)
    member = jax.nn.one_hot(group, len(values) // size, dtype=values.dtype, axis=0)
    return jnp.dot(member, values, precision=jax.lax.Precision.HIGHEST) / size


def spread(
    values: Float[Array, "g c"], size: int, group: Int[Array, "b"] | None
) -> Float[Array, "b c"]:
    """The row of its group for every image."""
    if group is not None:
        return values[group]
    return jnp.repeat(values, size, axis=0) if size > 1 else values


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def normalized(
    size: int,
    relu: bool,
    x: Float[Array, "b *space c"],
    scale: Float[Anywhere, "c"],
    bias: Float[Anywhere, "c"],
    mean: Float[Array, "b c"],
    inverse: Float[Array, "b c"],
    live: Flag,
    group: Int[Array, "b"] | None,
) -> Float[Array, "b *space c"]:
    """(x - mean) * inverse * scale + bias, and max(., 0) where `relu`; float32 inside.

    Args:
        size, group: which images share statistics.
        relu: see above.
        x: [B, ..., C].
        scale, bias: [C] float32.
        mean, inverse: [B, C] float32; `inverse` = 1 / sqrt(variance + epsilon).
        live: they are the statistics of `x`, so that its gradient goes through them as well; where
            False they are constants. May be traced.

    Returns:
        Array like `x`. `mean` and `inverse` have no gradient of their own.
    """
    y = affine(x, scale, bias, mean, inverse)
    return (jnp.maximum(y, 0.0) if relu else y).astype(x.dtype)


def _forward(size: int, relu: bool, *args: Any) -> tuple[Array, tuple[Any, ...]]:
    return normalized(size, relu, *args), args


def _backward(
    size: int, relu: bool, saved: tuple[Any, ...], gradient: Array
) -> tuple[Array | None, ...]:
    x, scale, bias, mean, inverse, live, group = saved
    space = tuple(range(1, x.ndim - 1))
    pixels = x[0, ..., 0].size
    gradient = platforms.computed_once(gradient)

    def pair(x: Array, mean: Array, inverse: Array) -> tuple[Array, Array]:
        """The gradient of the affine map, and the normalized values."""
        masked = gradient.astype(jnp.float32)
        if relu:
            masked = jnp.where(affine(x, scale, bias, mean, inverse) > 0, masked, 0.0)
        return masked, (x.astype(jnp.float32) - wide(mean, x)) * wide(inverse, x)

    # Without barriers XLA writes the mask to memory, in the forward pass already, and reads it for
    # every use; and sums over all images are taken from the maps again. A barrier behind another,
    # as equal ones are merged.
    once = jax.lax.optimization_barrier((x, mean, inverse))
    twice = jax.lax.optimization_barrier(once)
    (masked, _), (masked_again, unit) = pair(*once), pair(*twice)
    sums = masked.sum(axis=space), (masked_again * unit).sum(axis=space)
    sums = jax.lax.optimization_barrier(sums)
    shift, slope = (
        jnp.where(live, spread(pooled(one / pixels, size, group), size, group), 0.0) for one in sums
    )
    masked, unit = pair(*jax.lax.optimization_barrier(twice))
    moved = masked - wide(shift, x) - unit * wide(slope, x)
    moved = moved * wide(inverse * scale[None], x)
    return moved.astype(x.dtype), sums[1].sum(axis=0), sums[0].sum(axis=0), None, None, None, None


normalized.defvjp(_forward, _backward)


def affine(
    x: Float[Array, "b *space c"],
    scale: Float[Anywhere, "c"],
    bias: Float[Anywhere, "c"],
    mean: Float[Anywhere, "n c"],
    inverse: Float[Anywhere, "n c"],
) -> Float[Array, "b *space c"]:
    """(x - mean) * inverse * scale + bias in float32; `mean` and `inverse` of each image, or of all
    of them (n = 1)."""
    gain = inverse * scale[None]
    return (x.astype(jnp.float32) - wide(mean, x)) * wide(gain, x) + wide(bias[None], x)


def wide(values: Float[Anywhere, "n c"], x: Array) -> Float[Anywhere, "..."]:
    """[n, C] -> [n, 1, ..., 1, C], to stand beside `x`."""
    return values.reshape(values.shape[0], *(1,) * (x.ndim - 2), values.shape[-1])


@jax.custom_vjp
def relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """max(x, 0), whose gradient looks at the result, which the next layer keeps anyway."""
    # Else a CPU computes it again for each use: at the end of a block from two maps, one of which
    # is another such result, and so on to the first block.
    return platforms.computed_once(jnp.maximum(x, 0))


relu.defvjp(
    # Else XLA computes the result again where its sign is needed, from two maps.
    lambda x: (jax.lax.optimization_barrier(jnp.maximum(x, 0)),) * 2,
    lambda result, gradient: (jnp.where(result > 0, gradient, 0),),
)
