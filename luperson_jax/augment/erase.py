"""Random erasing."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from luperson_jax.augment.geometry import Box, draw_place, interpolate_range

NUM_TRIES = 100


@dataclasses.dataclass(frozen=True)
class Erase:
    """The law of the erased box.

    Attributes:
        probability: share of the pictures that lose a box.
        area: least and greatest share of the picture that is erased.
        aspect: least and greatest height / width.
        spacing: how the aspect is drawn: uniform in itself or in its logarithm.
        space: where it happens: "normalized" after the mean is subtracted and divided by the
            standard deviation (pre-training), "raw" before, in 0..255 (LUPerson's fine-tuning).
        fill: red, green and blue put into the box, in the values of `space`: 0 is the mean color
            in "normalized" and black in "raw".
    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.4)
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    spacing: Literal["linear", "log"] = "linear"
    space: Literal["normalized", "raw"] = "normalized"
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)


def draw_erase_box(key: Key[Array, ""], image_size: tuple[int, int], erase: Erase) -> Box:
    """Draws the box to erase.

    A hundred pairs (area, aspect) are drawn; the first whose rounded box is strictly smaller than
    the picture in both directions is placed uniformly.

    Returns:
        The box in whole pixels, of height and width 0 where nothing is to be erased.

    Source: Zhong et al., "Random Erasing Data Augmentation", 2020.
    """
    height, width = (jnp.float32(length) for length in image_size)
    tries_key, place_key = jax.random.split(key)
    area_share, aspect_share = jax.random.uniform(tries_key, (2, NUM_TRIES))
    area = height * width * interpolate_range(area_share, erase.area)
    if erase.spacing == "log":
        least, greatest = (math.log(end) for end in erase.aspect)
        aspect = jnp.exp(interpolate_range(aspect_share, (least, greatest)))
    else:
        aspect = interpolate_range(aspect_share, erase.aspect)
    heights = jnp.round(jnp.sqrt(area * aspect))
    widths = jnp.round(jnp.sqrt(area / aspect))
    fits = (heights < height) & (widths < width)
    first = jnp.argmax(fits)
    draws = jax.random.uniform(place_key, (3,))
    erased = (draws[0] < erase.probability) & fits.any()
    box_height = jnp.where(erased, heights[first], 0.0)
    box_width = jnp.where(erased, widths[first], 0.0)
    return Box(
        draw_place(draws[1], height, box_height),
        draw_place(draws[2], width, box_width),
        box_height,
        box_width,
    )


def fill_box(
    image: Float[Array, "h w 3"], box: Box, fill: tuple[float, float, float]
) -> Float[Array, "h w 3"]:
    """Paints a box of whole pixels with one color."""
    row = jnp.arange(image.shape[0], dtype=jnp.float32)
    column = jnp.arange(image.shape[1], dtype=jnp.float32)
    rows = (row >= box.top) & (row < box.top + box.height)
    columns = (column >= box.left) & (column < box.left + box.width)
    color = jnp.array(fill, image.dtype)[None, None, :]
    return jnp.where((rows[:, None] & columns[None, :])[:, :, None], color, image)


def random_erase(
    key: Key[Array, ""], image: Float[Array, "h w 3"], erase: Erase
) -> Float[Array, "h w 3"]:
    """Erases a random box; the values of `image` must be those of `erase.space`."""
    box = draw_erase_box(key, (image.shape[0], image.shape[1]), erase)
    return fill_box(image, box, erase.fill)
