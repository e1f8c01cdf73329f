"""What color pixels have: grayscale, blur and color jitter.

Every function works on one picture [h, w, 3] float32, values 0..255, and is vectorised by the
caller with `jax.vmap`. Pillow rounds to whole gray levels after each operation; here nothing is
rounded, so the two differ by a level or two.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from luperson_jax.augment.geometry import interpolate_range

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


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
    """Gray level of each pixel, 0..255 (ITU-R BT.601, as Pillow's mode "L")."""
    return 0.299 * image[:, :, 0:1] + 0.587 * image[:, :, 1:2] + 0.114 * image[:, :, 2:3]


def random_grayscale(
    key: Key[Array, ""], image: Float[Array, "h w 3"], probability: float
) -> Float[Array, "h w 3"]:
    """Takes the color away, keeping three equal channels, with the given probability."""
    return jnp.where(jax.random.bernoulli(key, probability), luma(image), image)


def _blend(image: Array, operation: Array, factor: Array) -> Array:
    """Brightness, contrast and saturation are one blend; they differ in what they blend with."""
    gray = luma(image)
    # Pillow rounds this mean to a whole gray level.
    mean = jnp.floor(gray.mean() + 0.5)
    other = jnp.where(operation == BRIGHTNESS, 0.0, jnp.where(operation == CONTRAST, mean, gray))
    return jnp.clip(factor * image + (1.0 - factor) * other, 0.0, 255.0)


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
        image: values 0..255.
        order: the operations (BRIGHTNESS, CONTRAST, SATURATION, HUE), each at most once.
        factors: indexed by operation: three factors and the turn of the hue.
        has_hue: whether HUE is in `order`.

    Returns:
        Values 0..255, clipped after each operation.
    """
    num = order.shape[0]
    blend_factors = jnp.where(order == HUE, 1.0, factors[order])
    place = jnp.arange(num)

    def blend(image: Array, operation_and_factor: tuple[Array, Array]) -> tuple[Array, None]:
        return _blend(image, *operation_and_factor), None

    # A loop and not straight code: each mean needs the whole picture, and the compiler would fold
    # the chain before it into both the mean and the pixels, over and over.
    if not has_hue:
        return jax.lax.scan(blend, image, (order, blend_factors))[0]
    middle = jnp.argmax(order == HUE)
    before = jnp.where(place < middle, blend_factors, 1.0)
    after = jnp.where(place > middle, blend_factors, 1.0)
    image, _ = jax.lax.scan(blend, image, (order[:-1], before[:-1]))
    image = turn_hue(image, factors[HUE])
    return jax.lax.scan(blend, image, (order[1:], after[1:]))[0]


def color_jitter(
    key: Key[Array, ""], image: Float[Array, "h w 3"], jitter: Jitter
) -> Float[Array, "h w 3"]:
    """Changes brightness, contrast, saturation and hue by random amounts in a random order.

    Source: torchvision's ColorJitter on Pillow pictures.
    """
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
    variance = sigma**2 / 3.0
    whole = jnp.floor((jnp.sqrt(12.0 * variance + 1.0) - 1.0) / 2.0)
    rest = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
    return whole + rest / (6.0 * (variance - (whole + 1.0) ** 2))


def _convolve(left: Array, right: Array) -> Array:
    num = right.shape[0]
    return sum(
        (jnp.pad(left * right[i], (i, num - 1 - i)) for i in range(num)),
        start=jnp.zeros(left.shape[0] + num - 1),
    )


def blur_kernel(sigma: Float[Array, ""], max_sigma: float) -> Float[Array, "taps"]:
    """Pillow's Gaussian: three boxes with fractional ends whose variances add up to sigma^2.

    The published recipes blur with Pillow, and a Gaussian sampled at whole pixels is not the same:
    below sigma 0.4 it does nearly nothing, where these boxes still have the right variance.

    Args:
        sigma: standard deviation in pixels, 0..max_sigma; 0 gives the identity.
        max_sigma: fixes the number of taps.

    Returns:
        Symmetric weights that sum to 1.

    Source: Gwosdek et al., "Theoretical Foundations of Gaussian Convolution by Extended Box
        Filtering", 2011.
    """
    reach = 1 + math.floor((math.sqrt(4.0 * max_sigma**2 + 1.0) - 1.0) / 2.0)
    radius = _box_radius(sigma)
    offset = jnp.abs(jnp.arange(-reach, reach + 1, dtype=jnp.float32))
    box = jnp.clip(radius - offset + 1.0, 0.0, 1.0) / (2.0 * radius + 1.0)
    return _convolve(box, _convolve(box, box))


def gaussian_blur(
    image: Float[Array, "h w 3"], kernel: Float[Array, "taps"]
) -> Float[Array, "h w 3"]:
    """Filters rows and columns with one symmetric kernel; the border pixel is repeated outside."""
    reach = kernel.shape[0] // 2
    for axis in (0, 1):
        length = image.shape[axis]
        widths = [(reach, reach) if axis == i else (0, 0) for i in range(3)]
        # Every tap reads the padded picture. Without the barrier the compiler would fold all that
        # comes before, the other direction included, into each tap and compute it that often.
        padded = jax.lax.optimization_barrier(jnp.pad(image, widths, mode="edge"))
        image = jnp.zeros_like(image)
        for i, weight in enumerate(kernel):
            image += weight * jax.lax.slice_in_dim(padded, i, i + length, axis=axis)
    return image


def random_blur(
    key: Key[Array, ""], image: Float[Array, "h w 3"], blur: Blur
) -> Float[Array, "h w 3"]:
    """Blurs a share of the pictures; for the others sigma is 0, the identity."""
    chance, share = jax.random.uniform(key, (2,))
    sigma = jnp.where(chance < blur.probability, interpolate_range(share, blur.sigma), 0.0)
    return gaussian_blur(image, blur_kernel(sigma, blur.sigma[1]))
