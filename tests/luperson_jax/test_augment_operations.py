"""The operations of AutoAugment and AugMix against Pillow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from luperson_jax.augment import operations
from luperson_jax.augment.operations import Operation

FILL = (128, 100, 7)
SIZE = (30, 20)
CASES = {
    Operation.IDENTITY: (0.0,),
    Operation.SHEAR_X: (0.3, -0.15),
    Operation.SHEAR_Y: (0.3, -0.07),
    Operation.TRANSLATE_X: (0.26, -0.19),
    Operation.TRANSLATE_Y: (0.26, -0.19),
    Operation.ROTATE: (24.0, -7.0),
    Operation.COLOR: (0.1, 0.82, 1.54),
    Operation.POSTERIZE: (1.0, 3.0, 4.0, 7.0, 8.0),
    Operation.SOLARIZE: (0.0, 76.0, 256.0),
    Operation.CONTRAST: (0.1, 0.82, 1.54),
    Operation.SHARPNESS: (0.1, 1.36),
    Operation.BRIGHTNESS: (0.1, 0.82, 1.54),
    Operation.AUTO_CONTRAST: (0.0,),
    Operation.EQUALIZE: (0.0,),
    Operation.INVERT: (0.0,),
}
GEOMETRIC = (
    Operation.SHEAR_X,
    Operation.SHEAR_Y,
    Operation.TRANSLATE_X,
    Operation.TRANSLATE_Y,
    Operation.ROTATE,
)


def picture(seed: int = 0) -> np.ndarray:
    """Smooth shapes of few colors, with noise; no channel reaches 0 or 255."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 210, (5, 4, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((SIZE[1], SIZE[0]), Image.Resampling.BILINEAR)
    return (np.asarray(smooth) + rng.integers(0, 20, (*SIZE, 3))).astype(np.uint8)


def in_pillow(image: np.ndarray, operation: int, magnitude: float, fill=FILL) -> np.ndarray:
    """The same operation with Pillow alone."""
    source = Image.fromarray(image)
    height, width = image.shape[:2]
    moved = {
        Operation.SHEAR_X: (1, magnitude, 0, 0, 1, 0),
        Operation.SHEAR_Y: (1, 0, 0, magnitude, 1, 0),
        Operation.TRANSLATE_X: (1, 0, int(magnitude * width), 0, 1, 0),
        Operation.TRANSLATE_Y: (1, 0, 0, 0, 1, int(magnitude * height)),
    }
    bilinear = Image.Resampling.BILINEAR
    enhancers = {
        Operation.COLOR: ImageEnhance.Color,
        Operation.CONTRAST: ImageEnhance.Contrast,
        Operation.SHARPNESS: ImageEnhance.Sharpness,
        Operation.BRIGHTNESS: ImageEnhance.Brightness,
    }
    if operation in moved:
        affine = Image.Transform.AFFINE
        result = source.transform(
            source.size, affine, moved[Operation(operation)], bilinear, fillcolor=fill
        )
    elif operation == Operation.ROTATE:
        result = source.rotate(magnitude, bilinear, fillcolor=fill)
    elif operation in enhancers:
        result = enhancers[Operation(operation)](source).enhance(magnitude)
    elif operation == Operation.POSTERIZE:
        result = ImageOps.posterize(source, int(magnitude))
    elif operation == Operation.SOLARIZE:
        result = ImageOps.solarize(source, int(magnitude))
    else:
        plain = {
            Operation.AUTO_CONTRAST: ImageOps.autocontrast,
            Operation.EQUALIZE: ImageOps.equalize,
            Operation.INVERT: ImageOps.invert,
        }
        result = plain[Operation(operation)](source) if operation else source
    return np.asarray(result).astype(np.float32)


@functools.cache
def all_cases() -> dict[Operation, list[tuple[float, np.ndarray]]]:
    """Every case above in one batch, as a step of training would hold them."""
    cases = [(operation, m) for operation, magnitudes in CASES.items() for m in magnitudes]
    wanted, magnitudes = (jnp.array(column) for column in zip(*cases, strict=True))
    image = jnp.asarray(picture(), jnp.float32)
    one = jax.jit(
        jax.vmap(lambda o, m: operations.apply_operation(image, o, m, (128.0, 100.0, 7.0))),
    )
    found: dict[Operation, list] = {operation: [] for operation in CASES}
    for (operation, magnitude), view in zip(
        cases, np.asarray(one(wanted, magnitudes)), strict=True
    ):
        found[operation].append((magnitude, view))
    return found


def test_every_operation_has_its_case():
    assert set(CASES) == set(Operation)
    assert set(GEOMETRIC) == operations.SIGNED


@pytest.mark.parametrize("operation", CASES, ids=lambda operation: operation.name.lower())
def test_operation_equals_pillow(operation):
    image = picture()
    for magnitude, ours in all_cases()[operation]:
        expected = in_pillow(image, operation, magnitude)
        apart = np.abs(ours - expected)
        np.testing.assert_array_equal(ours, np.floor(ours))
        # A position within a rounding error of the border may fall to either side of it.
        strays = 0.004 if operation in GEOMETRIC else 0.0
        assert (apart.max(axis=2) > 1).mean() <= strays, (magnitude, apart.max())
        assert (apart > 0).mean() <= 0.02, magnitude
        changes = operation != Operation.IDENTITY and magnitude not in (8.0, 256.0)
        assert (expected != image).any() == changes


def test_tables_alone_are_exactly_pillows():
    for operation in (Operation.POSTERIZE, Operation.SOLARIZE, Operation.INVERT):
        for magnitude, ours in all_cases()[operation]:
            np.testing.assert_array_equal(ours, in_pillow(picture(), operation, magnitude))


@pytest.mark.parametrize("seed", range(4))
def test_histogram_tables_equal_pillow_on_sparse_histograms(seed):
    rng = np.random.default_rng(seed)
    # From two levels with an empty middle up to all of them; few and many pixels a level.
    levels = rng.choice(256, (2, 5, 40, 256)[seed], replace=False)
    for num in (30, 4000):
        pixels = rng.choice(levels, (num, 1, 3)).astype(np.uint8)
        counts = operations.count_levels(jnp.asarray(pixels, jnp.float32))
        np.testing.assert_array_equal(
            counts, np.stack([np.bincount(pixels[:, 0, c], minlength=256) for c in range(3)], 1)
        )
        index = pixels[:, 0].astype(int)
        table = np.asarray(operations.equalizing_table(counts))
        equalized = np.take_along_axis(table, index, axis=0)
        np.testing.assert_array_equal(equalized, in_pillow(pixels, Operation.EQUALIZE, 0.0)[:, 0])
        table = np.asarray(operations.stretching_table(counts))
        stretched = np.take_along_axis(table, index, axis=0)
        # Pillow cuts a product of fractions, which may fall just short of a whole number.
        apart = stretched - in_pillow(pixels, Operation.AUTO_CONTRAST, 0.0)[:, 0]
        assert set(np.unique(apart)) <= {0.0, 1.0}


def test_a_picture_of_one_color_stays():
    counts = operations.count_levels(jnp.full((4, 4, 3), 77.0))
    for table in (operations.equalizing_table(counts), operations.stretching_table(counts)):
        np.testing.assert_array_equal(table[77], [77, 77, 77])


def test_fractions_are_rounded_before_the_table():
    image = jnp.full((4, 4, 3), 99.6)
    view = operations.apply_operation(
        image, jnp.array(Operation.SOLARIZE.value), jnp.array(100.0), (0.0, 0.0, 0.0)
    )
    np.testing.assert_array_equal(view, np.full((4, 4, 3), 155.0))
