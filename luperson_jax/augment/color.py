"""What color pixels have: grayscale, blur and color jitter.

Every function works on one picture [h, w, 3] float32, values 0..255, and is vectorised by the
caller with `jax.vmap`. A picture in Pillow has whole gray levels before and after each operation;
so it is here, with Pillow's rounding: blends drop the fraction, which darkens by half a level on
average, luma and blur round to the nearest. Only the hue, which Pillow keeps in 8 bits, is finer.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8, UInt32

from luperson_jax.augment.geometry import interpolate_range

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
# What Pillow weighs red, green and blue with, in 1 / 65536, to get whole gray levels.
LUMA_WEIGHTS = (19595, 38470, 7471)
# Pillow's blur counts in 1 / 2**24 of a gray level.
BLUR_UNIT = 1 << 24
BLUR_PASSES = 3


@dataclasses.dataclass(frozen=True)
class Jitter:
    """Strengths of the color jitter; an operation of strength 0 is left out at no cost.

    Attributes:
        brightness: the factor is uniform in [max(0, 1 - s), 1 + s].
        contrast: as brightness.
        saturation: as brightness.
        hue: the turn of the color wheel is uniform in [-s, s], in whole turns; at most 0.5.
        probability: share of the pictures that are changed.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    probability: float = 0.8


@dataclasses.dataclass(frozen=True)
class Blur:
    """Gaussian blur.

    Attributes:
        probability: share of the pictures that are blurred.
        sigma: least and greatest standard deviation in pixels of the output.
    """

    probability: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)


def luma(image: Float[Array, "h w 3"]) -> Float[Array, "h w 1"]:
    """Whole gray level of each pixel, 0..255 (ITU-R BT.601, as Pillow's mode "L").

    Args:
        image: whole levels 0..255.
    """
    weighted = image.astype(jnp.int32) * jnp.array(LUMA_WEIGHTS, jnp.int32)[None, None, :]
    return ((weighted.sum(axis=2, keepdims=True) + 32768) // 65536).astype(jnp.float32)


def mean_level(gray: Float[Array, "h w 1"]) -> Float[Array, ""]:
    """The mean of whole gray levels, rounded to one."""
    total, num = gray.astype(jnp.int32).sum(), gray.size
    return ((2 * total + num) // (2 * num)).astype(jnp.float32)


def blend(
    other: Float[Array, "..."], image: Float[Array, "..."], factor: Float[Array, ""]
) -> Float[Array, "..."]:
    """other + factor * (image - other) in whole levels 0..255; Pillow drops the fraction."""
    return jnp.floor(jnp.clip(other + factor * (image - other), 0.0, 255.0))


def random_grayscale(
    key: Key[Array, ""], image: Float[Array, "h w 3"], probability: float
) -> Float[Array, "h w 3"]:
    """Takes the color away, keeping three equal channels, with the given probability.

    Returns:
        Whole levels 0..255.
    """
    image = jnp.round(image)
    return jnp.where(jax.random.bernoulli(key, probability), luma(image), image)


def _change(image: Array, operation: Array, factor: Array) -> Array:
    """Brightness, contrast and saturation are one blend; they differ in what they blend with."""
    gray = luma(image)
    mean = mean_level(gray)
    other = jnp.where(operation == BRIGHTNESS, 0.0, jnp.where(operation == CONTRAST, mean, gray))
    return blend(other, image, factor)


def turn_hue(image: Float[Array, "h w 3"], turn: Float[Array, ""]) -> Float[Array, "h w 3"]:
    """Turns the color wheel; value and saturation (HSV) stay.

    Args:
        image: values 0..255.
        turn: in whole turns: 1/3 makes red green.
    """
    red, green, blue = image[:, :, 0:1], image[:, :, 1:2], image[:, :, 2:3]
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    divisor = jnp.where(chroma > 0, chroma, 1.0)
    sector = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(value == green, 2.0 + (blue - red) / divisor, 4.0 + (red - green) / divisor),
    )
    # How far each primary is from its own sector decides how much chroma it loses.
    origin = jnp.array([5.0, 3.0, 1.0])[None, None, :]
    phase = sector + 6.0 * turn + origin
    # jnp.mod is a library call for every value, many times slower on a CPU.
    phase = phase - 6.0 * jnp.floor(phase / 6.0)
    return value - chroma * jnp.clip(jnp.minimum(phase, 4.0 - phase), 0.0, 1.0)


def apply_jitter(
    image: Float[Array, "h w 3"],
    order: Int[Array, "n"],
    factors: Float[Array, "4"],
    has_hue: bool,
) -> Float[Array, "h w 3"]:
    """Applies the color operations one after the other.

    The order differs from picture to picture, and a switch under `vmap` would compute every
    operation in every place. The three blends share one formula, so that only hue, the costly
    one, must be placed: it is computed once, between the blends before and after it, and a blend
    on the wrong side has factor 1.

    Args:
        image: whole levels 0..255.
        order: the operations (BRIGHTNESS, CONTRAST, SATURATION, HUE), each at most once.
        factors: indexed by operation: three factors and the turn of the hue.
        has_hue: whether HUE is in `order`.

    Returns:
        Whole levels 0..255, as after each operation.
    """
    num = order.shape[0]
    blend_factors = jnp.where(order == HUE, 1.0, factors[order])
    place = jnp.arange(num)

    def change(image: Array, operation_and_factor: tuple[Array, Array]) -> tuple[Array, None]:
        return _change(image, *operation_and_factor), None

    # A loop and not straight code: each mean needs the whole picture, and the compiler would fold
    # the chain before it into both the mean and the pixels, over and over.
    if not has_hue:
        return jax.lax.scan(change, image, (order, blend_factors))[0]
    middle = jnp.argmax(order == HUE)
    before = jnp.where(place < middle, blend_factors, 1.0)
    after = jnp.where(place > middle, blend_factors, 1.0)
    image, _ = jax.lax.scan(change, image, (order[:-1], before[:-1]))
    image = jnp.round(turn_hue(image, factors[HUE]))
    return jax.lax.scan(change, image, (order[1:], after[1:]))[0]


def color_jitter(
    key: Key[Array, ""], image: Float[Array, "h w 3"], jitter: Jitter
) -> Float[Array, "h w 3"]:
    """Changes brightness, contrast, saturation and hue by random amounts in a random order.

    Returns:
        Whole levels 0..255.

    Source: torchvision's ColorJitter on Pillow pictures.
    """
    image = jnp.round(image)
    strengths = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    active = jnp.array([i for i, strength in enumerate(strengths) if strength > 0], jnp.int32)
    draws = jax.random.uniform(key, (9,))
    low = jnp.array([max(0.0, 1.0 - s) for s in strengths[:3]] + [-jitter.hue], jnp.float32)
    high = jnp.array([1.0 + s for s in strengths[:3]] + [jitter.hue], jnp.float32)
    factors = low + draws[:4] * (high - low)
    order = active[jnp.argsort(draws[4 : 4 + active.shape[0]])]
    jittered = apply_jitter(image, order, factors, jitter.hue > 0)
    return jnp.where(draws[8] < jitter.probability, jittered, image)


def _box_radius(sigma: Array) -> Array:
    variance = sigma**2 / BLUR_PASSES
    whole = jnp.floor((jnp.sqrt(12.0 * variance + 1.0) - 1.0) / 2.0)
    rest = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
    return whole + rest / (6.0 * (variance - (whole + 1.0) ** 2))


def box_weights(sigma: Float[Array, ""], max_sigma: float) -> UInt32[Array, "reach"]:
    """The box that makes Pillow's Gaussian when it is applied three times in each direction.

    Its ends are fractional, so that the variances of the three add up to sigma^2. The published
    recipes blur with Pillow, and a Gaussian sampled at whole pixels is not the same: below sigma
    0.4 it does nearly nothing.

    Args:
        sigma: standard deviation in pixels, 0..max_sigma; 0 gives the identity.
        max_sigma: fixes the number of weights.

    Returns:
        Weights by distance from the middle, 0 first, in 1 / `BLUR_UNIT`.

    Source: Gwosdek et al., "Theoretical Foundations of Gaussian Convolution by Extended Box
        Filtering", 2011.
    """
    reach = 1 + math.floor((math.sqrt(4.0 * max_sigma**2 + 1.0) - 1.0) / 2.0)
    radius = _box_radius(sigma)
    whole = jnp.floor(radius)
    inner = jnp.floor(BLUR_UNIT / (2.0 * radius + 1.0)).astype(jnp.uint32)
    outer = (BLUR_UNIT - (2 * whole.astype(jnp.uint32) + 1) * inner) // 2
    distance = jnp.arange(reach + 1, dtype=jnp.float32)
    return jnp.where(
        distance <= whole, inner, jnp.where(distance == whole + 1.0, outer, jnp.uint32(0))
    )


def _box_blur(
    levels: UInt8[Array, "h w 3"], weights: UInt32[Array, "reach"], axis: int
) -> UInt8[Array, "h w 3"]:
    """One pass along one axis; the border pixel is repeated outside."""
    reach, length = weights.shape[0] - 1, levels.shape[axis]
    widths = [(reach, reach) if axis == i else (0, 0) for i in range(3)]
    # Every tap reads the padded picture. Without the barrier the compiler would fold all that comes
    # before, the other passes included, into each tap and compute it that often.
    padded = jax.lax.optimization_barrier(jnp.pad(levels, widths, mode="edge"))

    def tap(offset: int) -> Array:
        start = reach + offset
        return jax.lax.slice_in_dim(padded, start, start + length, axis=axis).astype(jnp.uint32)

    total = weights[0] * tap(0) + jnp.uint32(BLUR_UNIT // 2)
    for distance in range(1, reach + 1):
        total += weights[distance] * (tap(-distance) + tap(distance))
    return (total // BLUR_UNIT).astype(jnp.uint8)


def gaussian_blur(
    image: Float[Array, "h w 3"], weights: UInt32[Array, "reach"]
) -> Float[Array, "h w 3"]:
    """Blurs as Pillow does: three passes along the rows, then along the columns, to whole levels.

    Args:
        image: whole levels 0..255.
        weights: see `box_weights`.
    """
    levels = image.astype(jnp.uint8)
    for axis in (1, 0):
        for _ in range(BLUR_PASSES):
            levels = _box_blur(levels, weights, axis)
    return levels.astype(jnp.float32)


def random_blur(
    key: Key[Array, ""], image: Float[Array, "h w 3"], blur: Blur
) -> Float[Array, "h w 3"]:
    """Blurs a share of the pictures; for the others sigma is 0, the identity.

    Returns:
        Whole levels 0..255.
    """
    image = jnp.round(image)
    chance, share = jax.random.uniform(key, (2,))
    sigma = jnp.where(chance < blur.probability, interpolate_range(share, blur.sigma), 0.0)
    return gaussian_blur(image, box_weights(sigma, blur.sigma[1]))
