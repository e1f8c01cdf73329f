"""The operations that AutoAugment and AugMix choose from, on whole gray levels as in Pillow.

A batch holds a different operation in every place, and a switch under `vmap` would compute all of
them. They are therefore one formula with parameters, of three parts:

    an affine map          shear, translation, rotation; else the identity
    a blend                color with the gray picture, sharpness with the smoothed one; else none
    a table of 256 levels  all that looks at one channel of one pixel; else the levels themselves

so that any operation costs one warp, one blend, one count of the levels and one look-up.
"""

import enum

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from luperson_jax.augment.color import blend, luma, mean_level
from luperson_jax.augment.geometry import inverse_affine, warp

Color = tuple[float, float, float]
NUM_LEVELS = 256


class Operation(enum.IntEnum):
    """What is done, and in which unit its magnitude counts.

    Shears: pixels along the axis for each pixel along the other, from the top left corner.
    Translations: share of width or height, cut to whole pixels. Rotation: degrees about the center,
    against the clock. Color, contrast, sharpness, brightness: factor; 1 leaves the picture.
    Posterize: bits that stay. Solarize: the least level that is inverted. The others have none.
    """

    IDENTITY = 0
    SHEAR_X = 1
    SHEAR_Y = 2
    TRANSLATE_X = 3
    TRANSLATE_Y = 4
    ROTATE = 5
    COLOR = 6
    POSTERIZE = 7
    SOLARIZE = 8
    CONTRAST = 9
    SHARPNESS = 10
    BRIGHTNESS = 11
    AUTO_CONTRAST = 12
    EQUALIZE = 13
    INVERT = 14


# Operations that pull to either side with equal chance.
SIGNED = frozenset(
    {
        Operation.SHEAR_X,
        Operation.SHEAR_Y,
        Operation.TRANSLATE_X,
        Operation.TRANSLATE_Y,
        Operation.ROTATE,
    }
)


def _smooth(image: Array) -> Array:
    """Pillow's SMOOTH: a mean of 3 x 3 pixels, the middle one five times; the border stays."""
    height, width = image.shape[:2]
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    box = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    row, column = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    inner = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    return jnp.where(inner[:, :, None], jnp.floor((box + 4.0 * image) / 13.0 + 0.5), image)


def _geometric(image: Array, operation: Array, magnitude: Array, fill: Color) -> Array:
    height, width = image.shape[:2]

    def amount(wanted: Operation) -> Array:
        return jnp.where(operation == wanted, magnitude, 0.0)

    shear_and_shift = jnp.array(
        [
            [0.0, amount(Operation.SHEAR_X), jnp.trunc(width * amount(Operation.TRANSLATE_X))],
            [amount(Operation.SHEAR_Y), 0.0, jnp.trunc(height * amount(Operation.TRANSLATE_Y))],
        ]
    )
    zero, one = jnp.zeros(()), jnp.ones(())
    rotation = inverse_affine(-amount(Operation.ROTATE), jnp.zeros(2), one, zero, (height, width))
    moved = warp(image, rotation + shear_and_shift, "bilinear", fill)
    # Pillow drops the fraction of what it interpolates; a whole level must survive the rounding
    # errors of four products.
    return jnp.floor(moved + 1e-3)


def count_levels(image: Float[Array, "h w 3"]) -> Int[Array, "256 3"]:
    """How many pixels of each channel have each level; `image` holds whole levels 0..255."""
    cell = image.astype(jnp.int32) * 3 + jnp.arange(3, dtype=jnp.int32)[None, None, :]
    counts = jnp.zeros(NUM_LEVELS * 3, jnp.int32).at[cell.reshape(-1)].add(1)
    return counts.reshape(NUM_LEVELS, 3)


def equalizing_table(counts: Int[Array, "256 3"]) -> Float[Array, "256 3"]:
    """Levels after which each channel's histogram is as flat as it gets.

    As Pillow's `ImageOps.equalize`: the last level that occurs does not enter the width of a step,
    and a channel of one level, or of too few pixels for steps, stays.
    """
    level = jnp.arange(NUM_LEVELS, dtype=jnp.int32)[:, None]
    last = jnp.where(counts > 0, level, 0).max(axis=0)
    step = (counts.sum(axis=0) - counts[last, jnp.arange(3)]) // 255
    below = jnp.cumsum(counts, axis=0) - counts
    table = (below + step[None, :] // 2) // jnp.maximum(step, 1)[None, :]
    table = jnp.where(step[None, :] > 0, jnp.minimum(table, 255), level)
    return table.astype(jnp.float32)


def stretching_table(counts: Int[Array, "256 3"]) -> Float[Array, "256 3"]:
    """Levels after which each channel spans 0..255; a channel of one level stays."""
    level = jnp.arange(NUM_LEVELS, dtype=jnp.int32)[:, None]
    high = jnp.where(counts > 0, level, 0).max(axis=0)[None, :]
    low = jnp.where(counts > 0, level, 255).min(axis=0)[None, :]
    table = jnp.clip((level - low) * 255 // jnp.maximum(high - low, 1), 0, 255)
    return jnp.where(high > low, table, level).astype(jnp.float32)


def _level_table(image: Array, operation: Array, magnitude: Array) -> Array:
    counts = count_levels(image)
    level = jnp.broadcast_to(jnp.arange(NUM_LEVELS, dtype=jnp.float32)[:, None], (NUM_LEVELS, 3))
    # Outside of its own operation the magnitude may be anything; the table is not used then.
    bits = jnp.clip(magnitude, 0.0, 8.0).astype(jnp.int32)
    step = jnp.left_shift(1, 8 - bits).astype(jnp.float32)
    mean = mean_level(luma(image))
    tables = {
        Operation.POSTERIZE: jnp.floor(level / step) * step,
        Operation.SOLARIZE: jnp.where(level < magnitude, level, 255.0 - level),
        Operation.CONTRAST: blend(jnp.broadcast_to(mean, level.shape), level, magnitude),
        Operation.BRIGHTNESS: blend(jnp.zeros_like(level), level, magnitude),
        Operation.AUTO_CONTRAST: stretching_table(counts),
        Operation.EQUALIZE: equalizing_table(counts),
        Operation.INVERT: 255.0 - level,
    }
    for wanted, table in tables.items():
        level = jnp.where(operation == wanted, table, level)
    return level


def apply_operation(
    image: Float[Array, "h w 3"],
    operation: Int[Array, ""],
    magnitude: Float[Array, ""],
    fill: Color = (0.0, 0.0, 0.0),
) -> Float[Array, "h w 3"]:
    """Applies one operation, chosen by number.

    Args:
        image: values 0..255, rounded to whole levels first.
        operation: an `Operation`.
        magnitude: in the unit of that operation, see there; with its sign.
        fill: red, green and blue of what comes in from outside.

    Returns:
        Whole levels 0..255. As Pillow's ImageOps and ImageEnhance and its bilinear `transform` and
        `rotate`, but for one level where a fraction falls within a rounding error of a limit.

    Source: Cubuk, Zoph, Mane, Vasudevan, Le, "AutoAugment: Learning Augmentation Policies from
        Data", 2019, arXiv:1805.09501, table of the operations.
    """
    # Every part reads the picture more than once; the barriers ask the compiler not to compute what
    # comes before at each reading.
    image = _geometric(jax.lax.optimization_barrier(jnp.round(image)), operation, magnitude, fill)
    image = jax.lax.optimization_barrier(image)
    gray = operation == Operation.COLOR
    sharp = operation == Operation.SHARPNESS
    other = jnp.where(sharp, _smooth(image), jnp.where(gray, luma(image), image))
    image = blend(other, image, jnp.where(gray | sharp, magnitude, 1.0))
    image = jax.lax.optimization_barrier(image)
    table = _level_table(image, operation, magnitude)
    level = image.astype(jnp.int32).reshape(-1, 3)
    return jnp.take_along_axis(table, level, axis=0).reshape(image.shape)


def apply_operations(
    image: Float[Array, "h w 3"],
    operations: Int[Array, "n"],
    magnitudes: Float[Array, "n"],
    fill: Color,
) -> Float[Array, "h w 3"]:
    """Applies one operation after the other, see `apply_operation`."""

    def apply(image: Array, step: tuple[Array, Array]) -> tuple[Array, None]:
        return apply_operation(image, *step, fill), None

    return jax.lax.scan(apply, image, (operations, magnitudes))[0]
