"""Where pixels come from: random crops, resizing, padding, flips and affine maps.

Every function works on one picture and is vectorised by the caller with `jax.vmap`. Pictures are
[h, w, 3], values 0..255, not rounded to whole gray levels between the operations.
"""

import dataclasses
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num, Shaped

Interpolation = Literal["bilinear", "bicubic"]
NUM_TRIES = 10


class Box(NamedTuple):
    """A rectangle: scalars in pixels, whole numbers where a law draws it."""

    top: Float[Array, ""]
    left: Float[Array, ""]
    height: Float[Array, ""]
    width: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Crop:
    """The law of a random box and how its content is resized.

    Attributes:
        area: least and greatest share of the picture that is asked for.
        aspect: least and greatest height / width.
        spacing: how the aspect is drawn, uniformly in its logarithm or in itself.
        fallback: what is taken when no try fits: the largest centered box of an allowed aspect, or
            the whole picture.
        interpolation: filter of the resize, widened when the box is larger than the output.
    """

    area: tuple[float, float] = (0.2, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    spacing: Literal["log", "linear"] = "log"
    fallback: Literal["center", "whole"] = "center"
    interpolation: Interpolation = "bilinear"


@dataclasses.dataclass(frozen=True)
class Affine:
    """A random rotation, shift, scaling and shear about the center; black comes in from outside.

    Attributes:
        probability: share of the pictures that are moved.
        degrees: the rotation is uniform within plus and minus this.
        translate: greatest shift (horizontal, vertical) as a share of width and height.
        scale: least and greatest magnification.
        shear: the horizontal shear angle is uniform within plus and minus this, in degrees.
        interpolation: how a source position between pixels is read.
    """

    probability: float = 0.5
    degrees: float = 0.0
    translate: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    interpolation: Literal["nearest", "bilinear"] = "nearest"


def interpolate_range(share: Float[Array, "*n"], bounds: tuple[float, float]) -> Float[Array, "*n"]:
    """Maps uniform draws in [0, 1) to uniform draws between `bounds`."""
    return bounds[0] + share * (bounds[1] - bounds[0])


def draw_place(
    share: Float[Array, ""], outer: Float[Array, ""], inner: Float[Array, ""]
) -> Float[Array, ""]:
    """Turns a uniform draw in [0, 1) into a whole offset 0..outer - inner, each equally likely."""
    return jnp.floor(share * (outer - inner + 1.0))


def _center_box(height: Array, width: Array, aspect: tuple[float, float]) -> Box:
    box_height = jnp.minimum(height, jnp.round(width * aspect[1]))
    box_width = jnp.minimum(width, jnp.round(height / aspect[0]))
    return Box(
        jnp.floor((height - box_height) / 2.0),
        jnp.floor((width - box_width) / 2.0),
        box_height,
        box_width,
    )


def draw_crop_box(key: Key[Array, ""], size: Int[Array, "2"], crop: Crop) -> Box:
    """Draws the box of a random resized crop.

    Ten pairs (area, aspect) are drawn and the first whose rounded box fits is placed uniformly.
    A try that does not fit is dropped, not shrunk: on a tall picture the default aspects cap the
    area far below the largest that was asked for, which is part of the published recipe.

    Args:
        key: random key.
        size: height and width of the picture, at least 1.
        crop: the law.

    Returns:
        The box in pixels of a picture of that size: whole numbers, inside the picture.

    Source: the "Inception" crop of Szegedy et al., "Going Deeper with Convolutions", 2015, as
        torchvision's RandomResizedCrop draws it; with linear spacing and the whole picture as
        fallback it is the rectangle crop of the re-ID literature.
    """
    height, width = size[0].astype(jnp.float32), size[1].astype(jnp.float32)
    tries_key, place_key = jax.random.split(key)
    area_share, aspect_share = jax.random.uniform(tries_key, (2, NUM_TRIES))
    area = height * width * interpolate_range(area_share, crop.area)
    if crop.spacing == "log":
        bounds = (math.log(crop.aspect[0]), math.log(crop.aspect[1]))
        aspect = jnp.exp(interpolate_range(aspect_share, bounds))
    else:
        aspect = interpolate_range(aspect_share, crop.aspect)
    heights = jnp.round(jnp.sqrt(area * aspect))
    widths = jnp.round(jnp.sqrt(area / aspect))
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = jnp.argmax(fits)
    place = jax.random.uniform(place_key, (2,))
    drawn = Box(
        draw_place(place[0], height, heights[first]),
        draw_place(place[1], width, widths[first]),
        heights[first],
        widths[first],
    )
    if crop.fallback == "center":
        spare = _center_box(height, width, crop.aspect)
    else:
        spare = Box(jnp.zeros_like(height), jnp.zeros_like(width), height, width)
    found = fits.any()
    return Box(*(jnp.where(found, a, b) for a, b in zip(drawn, spare, strict=True)))


def scale_box(box: Box, size: Int[Array, "2"], canvas_size: tuple[int, int]) -> Box:
    """Carries a box from a picture of `size` to the canvas that picture was squeezed onto."""
    vertical = canvas_size[0] / size[0].astype(jnp.float32)
    horizontal = canvas_size[1] / size[1].astype(jnp.float32)
    return Box(
        box.top * vertical, box.left * horizontal, box.height * vertical, box.width * horizontal
    )


def _filter(distance: Array, interpolation: Interpolation) -> Array:
    distance = jnp.abs(distance)
    if interpolation == "bilinear":
        return jnp.maximum(1.0 - distance, 0.0)
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return jnp.where(distance < 1.0, near, jnp.where(distance < 2.0, far, 0.0))


def resample_weights(
    start: Float[Array, ""],
    extent: Float[Array, ""],
    num_in: int,
    num_out: int,
    interpolation: Interpolation,
) -> Float[Array, "out in"]:
    """Weights that resize the stretch [start, start + extent) of a line of pixels.

    Args:
        start: where the stretch begins, in pixels of the line; may lie inside a pixel.
        extent: its length in pixels, greater than 0.
        num_in: pixels of the line.
        num_out: pixels wanted.
        interpolation: "bilinear" (triangle of radius 1) or "bicubic" (Keys, a = -0.5, radius 2).

    Returns:
        [num_out, num_in], rows sum to 1. Pixels outside of the stretch weigh nothing, as though
        the stretch had been cut out before it was resized; a pixel that is cut by the border
        counts with the share that lies inside.

    Source: Pillow's `Image.resize`, which widens the filter by the reduction to avoid aliasing;
        Keys, "Cubic convolution interpolation for digital image processing", 1981.
    """
    scale = extent / num_out
    pixels = jnp.arange(num_in, dtype=jnp.float32)
    centers = start + (jnp.arange(num_out, dtype=jnp.float32) + 0.5) * scale
    inside = jnp.minimum(pixels + 1.0, start + extent) - jnp.maximum(pixels, start)
    distance = (pixels[None, :] + 0.5 - centers[:, None]) / jnp.maximum(scale, 1.0)
    weights = _filter(distance, interpolation) * jnp.clip(inside, 0.0, 1.0)[None, :]
    return weights / weights.sum(axis=1, keepdims=True)


def resample(
    image: Num[Array, "H W 3"],
    box: Box,
    output_size: tuple[int, int],
    interpolation: Interpolation,
) -> Float[Array, "h w 3"]:
    """Cuts `box` out of a picture and resizes it.

    Two small matrix products instead of gathers: they run well on every accelerator, and the
    antialiasing filter may have any width. What the cubic filter overshoots is clipped after each
    of the two, as Pillow does it.

    Args:
        image: values 0..255, uint8 or float32.
        box: in pixels of `image`, fractions allowed.
        output_size: (height, width).
        interpolation: see `resample_weights`.

    Returns:
        Values 0..255 float32. For a whole-numbered box within about one gray level of Pillow, which
        rounds after each of the two passes; a few where "bicubic" overshoots in the first.
    """
    columns = resample_weights(box.left, box.width, image.shape[1], output_size[1], interpolation)
    rows = resample_weights(box.top, box.height, image.shape[0], output_size[0], interpolation)
    precision = jax.lax.Precision.HIGHEST
    pixels = image.astype(jnp.float32)
    narrow = jnp.einsum("HWc,wW->Hwc", pixels, columns, precision=precision)
    if interpolation == "bicubic":
        narrow = jnp.clip(narrow, 0.0, 255.0)
    return jnp.clip(jnp.einsum("hH,Hwc->hwc", rows, narrow, precision=precision), 0.0, 255.0)


def resize(
    image: Num[Array, "H W 3"], output_size: tuple[int, int], interpolation: Interpolation
) -> Float[Array, "h w 3"]:
    """Resizes a whole picture; one that has the size already is only converted to float32."""
    if image.shape[:2] == output_size:
        return image.astype(jnp.float32)
    zero = jnp.zeros((), jnp.float32)
    whole = Box(zero, zero, zero + image.shape[0], zero + image.shape[1])
    return resample(image, whole, output_size, interpolation)


def random_resized_crop(
    key: Key[Array, ""],
    image: Num[Array, "H W 3"],
    size: Int[Array, "2"],
    output_size: tuple[int, int],
    crop: Crop,
) -> Float[Array, "h w 3"]:
    """Draws a box in the original picture and resizes that part of the canvas.

    Args:
        key: random key.
        image: the canvas, 0..255: the original picture squeezed to a fixed size.
        size: height and width of the original picture. Drawing in its coordinates keeps the
            published law whatever the shape of the canvas.
        output_size: (height, width).
        crop: the law.
    """
    # Padding rows carry size 0, which would turn the weights into nan.
    size = jnp.maximum(size, 1)
    box = draw_crop_box(key, size, crop)
    box = scale_box(box, size, (image.shape[0], image.shape[1]))
    return resample(image, box, output_size, crop.interpolation)


def random_flip(
    key: Key[Array, ""], image: Shaped[Array, "h w 3"], probability: float
) -> Shaped[Array, "h w 3"]:
    """Mirrors left and right with the given probability."""
    return jnp.where(jax.random.bernoulli(key, probability), image[:, ::-1], image)


def pad_and_crop(
    key: Key[Array, ""], image: Shaped[Array, "h w 3"], pad: int
) -> Shaped[Array, "h w 3"]:
    """Puts `pad` zeros on every side and cuts the old size out at a uniform place."""
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    top, left = jax.random.randint(key, (2,), 0, 2 * pad + 1)
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def inverse_affine(
    angle: Float[Array, ""],
    shift: Float[Array, "2"],
    scale: Float[Array, ""],
    shear: Float[Array, ""],
    image_size: tuple[int, int],
) -> Float[Array, "2 3"]:
    """The matrix that maps output positions to input positions.

    Args:
        angle: rotation in degrees, clockwise on the screen, about the center.
        shift: (right, down) in pixels.
        scale: magnification.
        shear: horizontal shear in degrees.
        image_size: (height, width).

    Returns:
        [[a, b, c], [d, e, f]] with x_in = a x + b y + c and y_in = d x + e y + f, where the
        center of the first pixel is (0.5, 0.5): the convention of Pillow's AFFINE transform and,
        with one shear angle, of torchvision's RandomAffine.
    """
    angle, shear = jnp.deg2rad(angle), jnp.deg2rad(shear)
    cosine, sine, slant = jnp.cos(angle), jnp.sin(angle), jnp.tan(shear)
    linear = jnp.array([[cosine - sine * slant, cosine * slant + sine], [-sine, cosine]]) / scale
    center = jnp.array([image_size[1] / 2, image_size[0] / 2], jnp.float32)
    offset = center - jnp.matmul(linear, center + shift, precision=jax.lax.Precision.HIGHEST)
    return jnp.concatenate([linear, offset[:, None]], axis=1)


def warp(
    image: Float[Array, "h w 3"],
    matrix: Float[Array, "2 3"],
    interpolation: Literal["nearest", "bilinear"],
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Float[Array, "h w 3"]:
    """Reads every output pixel at `matrix @ (x, y, 1)`; `fill` where that lies outside.

    Args:
        image: values 0..255.
        matrix: output to input positions, see `inverse_affine`.
        interpolation: "nearest" (torchvision's default) or "bilinear"; within half a pixel of the
            border the latter repeats the border.
        fill: red, green and blue.
    """
    height, width = image.shape[:2]
    x = jnp.arange(width, dtype=jnp.float32)[None, :] + 0.5
    y = jnp.arange(height, dtype=jnp.float32)[:, None] + 0.5
    source_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    source_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    flat = image.reshape(height * width, 3)

    def read(row: Array, column: Array) -> Array:
        row = jnp.clip(row.astype(jnp.int32), 0, height - 1)
        column = jnp.clip(column.astype(jnp.int32), 0, width - 1)
        return flat[row * width + column]

    if interpolation == "nearest":
        moved = read(jnp.floor(source_y), jnp.floor(source_x))
    else:
        left, top = jnp.floor(source_x - 0.5), jnp.floor(source_y - 0.5)
        right_share = (source_x - 0.5 - left)[:, :, None]
        low_share = (source_y - 0.5 - top)[:, :, None]
        upper = read(top, left) * (1.0 - right_share) + read(top, left + 1.0) * right_share
        lower = read(top + 1.0, left) * (1.0 - right_share)
        lower += read(top + 1.0, left + 1.0) * right_share
        moved = upper * (1.0 - low_share) + lower * low_share
    return jnp.where(inside[:, :, None], moved, jnp.array(fill, jnp.float32)[None, None, :])


def random_affine(
    key: Key[Array, ""], image: Float[Array, "h w 3"], affine: Affine
) -> Float[Array, "h w 3"]:
    """Moves a share of the pictures; the others pass unchanged (their map is the identity)."""
    height, width = image.shape[:2]
    draws = jax.random.uniform(key, (6,))
    chosen = draws[0] < affine.probability
    angle = interpolate_range(draws[1], (-affine.degrees, affine.degrees))
    reach = jnp.array([affine.translate[0] * width, affine.translate[1] * height], jnp.float32)
    shift = jnp.round((2.0 * draws[2:4] - 1.0) * reach)
    scale = interpolate_range(draws[4], affine.scale)
    shear = interpolate_range(draws[5], (-affine.shear, affine.shear))
    matrix = inverse_affine(
        jnp.where(chosen, angle, 0.0),
        jnp.where(chosen, shift, 0.0),
        jnp.where(chosen, scale, 1.0),
        jnp.where(chosen, shear, 0.0),
        (height, width),
    )
    return warp(image, matrix, affine.interpolation)
