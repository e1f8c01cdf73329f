"""Grayscale, blur and color jitter against Pillow, colorsys and numpy."""

import colorsys
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from luperson_jax.augment import color

NEUTRAL = jnp.array([1.0, 1.0, 1.0, 0.0])


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def single(image: np.ndarray, operation: int, factor: float) -> np.ndarray:
    order = jnp.array([operation])
    factors = NEUTRAL.at[operation].set(factor)
    return np.asarray(
        color.apply_jitter(jnp.asarray(image, jnp.float32), order, factors, operation == color.HUE)
    )


def test_luma_equals_pillow():
    image = picture(24, 16)
    expected = np.asarray(Image.fromarray(image).convert("L"), np.float32)
    ours = np.asarray(color.luma(jnp.asarray(image, jnp.float32)))[:, :, 0]
    np.testing.assert_array_equal(ours, expected)


def assert_as_pillow(ours, expected):
    """Equal, but for a level where a fraction falls within a rounding error of a whole one, as it
    may at one in fifty: XLA contracts other products as it optimizes more or less."""
    apart = np.asarray(ours, np.float64) - np.asarray(expected, np.float64)
    assert np.abs(apart).max() <= 1
    assert abs(apart.mean()) < 0.02


def test_grayscale_probability_and_equal_channels():
    image = jnp.asarray(picture(8, 4), jnp.float32)
    keys = jax.random.split(jax.random.key(2), 2000)
    views = np.asarray(jax.jit(jax.vmap(lambda key: color.random_grayscale(key, image, 0.2)))(keys))
    gray = (views == views[..., :1]).all(axis=(1, 2, 3))
    assert abs(gray.mean() - 0.2) < 5 * math.sqrt(0.16 / 2000)
    np.testing.assert_array_equal(views[~gray], np.broadcast_to(image, views[~gray].shape))


ENHANCERS = {
    color.BRIGHTNESS: ImageEnhance.Brightness,
    color.CONTRAST: ImageEnhance.Contrast,
    color.SATURATION: ImageEnhance.Color,
}


@pytest.mark.parametrize("factor", [0.0, 0.6, 0.937, 1.0, 1.4])
@pytest.mark.parametrize("operation", ENHANCERS)
def test_blends_equal_pillow(operation, factor):
    image = picture(24, 16)
    expected = ENHANCERS[operation](Image.fromarray(image)).enhance(factor)
    assert_as_pillow(single(image, operation, factor), expected)


def test_chains_of_operations_equal_pillow():
    """Jitter in every order, then blur; a third of them gray in between."""
    rng = np.random.default_rng(2)
    jitter = jax.jit(lambda image, order, factors: color.apply_jitter(image, order, factors, False))
    blur = jax.jit(lambda image, sigma: color.gaussian_blur(image, color.box_weights(sigma, 2.0)))
    for seed, order in enumerate(itertools.permutations(range(3))):
        image = picture(48, 24, seed)
        factors = rng.uniform(0.6, 1.4, 4).astype(np.float32)
        sigma = np.float32(rng.uniform(0.1, 2.0))
        theirs = Image.fromarray(image)
        for operation in order:
            theirs = ENHANCERS[operation](theirs).enhance(float(factors[operation]))
        ours = jitter(jnp.asarray(image, jnp.float32), jnp.array(order), jnp.asarray(factors))
        if seed % 3 == 0:
            theirs = theirs.convert("L").convert("RGB")
            ours = jnp.broadcast_to(color.luma(ours), ours.shape)
        theirs = theirs.filter(ImageFilter.GaussianBlur(float(sigma)))
        assert_as_pillow(blur(ours, sigma), theirs)


def test_what_changes_a_share_of_the_pictures_gives_all_of_them_whole_levels():
    image = jnp.asarray(picture(8, 8), jnp.float32) + 0.3
    jitter = color.Jitter(0.4, 0.4, 0.4, 0.1, probability=0.5)
    for key in jax.random.split(jax.random.key(5), 4):
        for view in (
            color.color_jitter(key, image, jitter),
            color.random_grayscale(key, image, 0.5),
            color.random_blur(key, image, color.Blur()),
        ):
            np.testing.assert_array_equal(view, np.round(view))


@pytest.mark.parametrize("turn", [-0.4, -0.1, 0.05, 1 / 3, 0.5])
def test_hue_equals_colorsys(turn):
    image = picture(12, 8).copy()
    image[0, 0], image[0, 1], image[0, 2] = (0, 0, 0), (90, 90, 90), (255, 0, 0)
    expected = np.empty(image.shape)
    for row, column in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[row, column] / 255.0))
        expected[row, column] = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
    np.testing.assert_allclose(single(image, color.HUE, turn), expected * 255.0, atol=0.51)


def test_hue_is_near_pillow():
    # Pillow keeps the hue in 8 bits: one of its 256 steps moves a vivid channel by 6 levels.
    image = picture(24, 16)
    hue, saturation, value = Image.fromarray(image).convert("HSV").split()
    turned = Image.fromarray((np.asarray(hue) + np.uint8(26)).astype(np.uint8))
    expected = Image.merge("HSV", (turned, saturation, value)).convert("RGB")
    apart = np.abs(single(image, color.HUE, 26 / 256) - np.asarray(expected, np.float32))
    assert apart.max() <= 8
    assert apart.mean() < 1.5


def slow_jitter(image: np.ndarray, order, factors) -> np.ndarray:
    image = image.astype(np.float64)
    for operation in order:
        if operation == color.HUE:
            image = np.asarray(single(image, color.HUE, factors[operation]), np.float64)
        else:
            enhancer = ENHANCERS[operation](Image.fromarray(image.astype(np.uint8)))
            image = np.asarray(enhancer.enhance(float(factors[operation])), np.float64)
    return image


def test_all_24_orders_equal_one_operation_at_a_time():
    image = picture(12, 8)
    factors = np.array([1.5, 0.6, 1.8, 0.2], np.float32)
    orders = list(itertools.permutations(range(4)))
    ours = jax.vmap(color.apply_jitter, (None, 0, None, None))(
        jnp.asarray(image, jnp.float32), jnp.array(orders), jnp.asarray(factors), True
    )
    expected = np.stack([slow_jitter(image, order, factors) for order in orders])
    # A level that the hue leaves one off by rounding may be scaled, or move the mean of a contrast.
    apart = np.abs(np.asarray(ours, np.float64)[:, None] - expected[None]).mean(axis=(2, 3, 4))
    assert apart.diagonal().max() < 0.5
    assert np.median(apart.diagonal()) == 0
    # The order matters, so that a mixed-up one could not pass.
    assert (apart + 1000 * np.eye(24)).min() > 3


@pytest.mark.parametrize(
    ("operation", "jitter", "low", "high"),
    [
        (color.BRIGHTNESS, color.Jitter(brightness=0.4, probability=1.0), 0.6, 1.4),
        (color.BRIGHTNESS, color.Jitter(brightness=1.5, probability=1.0), 0.0, 2.5),
        (color.HUE, color.Jitter(hue=0.1, probability=1.0), -0.1, 0.1),
    ],
)
def test_jitter_strengths_are_uniform_ranges(operation, jitter, low, high):
    image = jnp.broadcast_to(jnp.array([100.0, 20.0, 20.0])[None, None], (2, 2, 3))
    keys = jax.random.split(jax.random.key(4), 3000)
    pixel = np.asarray(jax.jit(jax.vmap(lambda key: color.color_jitter(key, image, jitter)))(keys))[
        :, 0, 0
    ]
    if operation == color.BRIGHTNESS:
        drawn = (pixel[:, 0] + 0.5) / 100.0
    else:
        drawn = np.array([colorsys.rgb_to_hsv(*(p / 255.0))[0] for p in pixel])
        drawn = (drawn + 0.5) % 1.0 - 0.5
    width = high - low
    # Whole levels: half of one is 0.005 of the brightness, 1 / 960 of a turn.
    assert drawn.min() >= low - 0.006
    assert drawn.max() <= high + 0.006
    assert abs(drawn.mean() - (low + high) / 2) < 5 * width / math.sqrt(12 * 3000)
    assert abs(drawn.std() - width / math.sqrt(12)) < 0.03 * width


def test_jitter_probability_and_orders():
    image = jnp.asarray(picture(4, 4), jnp.float32)
    keys = jax.random.split(jax.random.key(9), 2000)
    jitter = color.Jitter(0.4, 0.4, 0.4, 0.1, probability=0.8)
    views = np.asarray(jax.jit(jax.vmap(lambda key: color.color_jitter(key, image, jitter)))(keys))
    same = (views == np.asarray(image)).all(axis=(1, 2, 3))
    assert abs(same.mean() - 0.2) < 5 * math.sqrt(0.16 / 2000)


def test_both_orders_of_two_operations_are_drawn():
    image = jnp.asarray(picture(8, 8), jnp.float32)
    jitter = color.Jitter(brightness=0.4, contrast=0.4, probability=1.0)
    keys = jax.random.split(jax.random.key(0), 24)
    all_draws = np.asarray(jax.jit(jax.vmap(lambda key: jax.random.uniform(key, (9,))))(keys))
    views = np.asarray(jax.jit(jax.vmap(lambda key: color.color_jitter(key, image, jitter)))(keys))
    seen = []
    for draws, view in zip(all_draws, views, strict=True):
        factors = np.array([0.6 + 0.8 * draws[0], 0.6 + 0.8 * draws[1], 1.0, 0.0])
        match = [
            order
            for order in ((color.BRIGHTNESS, color.CONTRAST), (color.CONTRAST, color.BRIGHTNESS))
            if np.abs(slow_jitter(np.asarray(image), order, factors) - view).max() < 0.01
        ]
        assert match
        seen += match if len(match) == 1 else []
    assert set(seen) == {(0, 1), (1, 0)}


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 0.8, 1.2, 1.9, 2.0])
def test_three_boxes_have_the_variance_they_promise(sigma):
    weights = np.asarray(color.box_weights(jnp.float32(sigma), 2.0), np.float64) / color.BLUR_UNIT
    box = np.concatenate([weights[:0:-1], weights])
    offset = np.arange(box.size) - box.size // 2
    assert abs(box.sum() - 1) < 1e-6
    assert abs(3 * (box * offset**2).sum() - sigma**2) < 1e-4


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.7, 1.0, 1.6, 2.0])
@pytest.mark.parametrize("noise", [False, True])
def test_blur_equals_pillow_up_to_the_border(sigma, noise):
    image = picture(48, 24)
    if noise:
        image = np.random.default_rng(1).integers(0, 256, image.shape, dtype=np.uint8)
    weights = color.box_weights(jnp.float32(sigma), 2.0)
    ours = color.gaussian_blur(jnp.asarray(image, jnp.float32), weights)
    assert_as_pillow(ours, Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def test_blur_is_identity_at_sigma_zero_and_keeps_a_constant():
    image = jnp.asarray(picture(16, 8), jnp.float32)
    weights = color.box_weights(jnp.float32(0.0), 2.0)
    np.testing.assert_array_equal(color.gaussian_blur(image, weights), image)
    flat = jnp.full((16, 8, 3), 77.0)
    blurred = color.gaussian_blur(flat, color.box_weights(jnp.float32(1.7), 2.0))
    np.testing.assert_array_equal(blurred, flat)


def test_blur_probability_and_range():
    # One bright spot: what is left of it tells sigma.
    image = jnp.zeros((15, 15, 3)).at[6:9, 6:9].set(200.0)
    law = color.Blur()
    keys = jax.random.split(jax.random.key(0), 2000)
    views = np.asarray(jax.jit(jax.vmap(lambda key: color.random_blur(key, image, law)))(keys))
    draws = np.asarray(jax.jit(jax.vmap(lambda key: jax.random.uniform(key, (2,))))(keys))
    blurred = draws[:, 0] < 0.5
    assert abs(blurred.mean() - 0.5) < 5 * math.sqrt(0.25 / 2000)
    np.testing.assert_array_equal(views[~blurred], np.broadcast_to(image, views[~blurred].shape))
    spot = Image.fromarray(np.asarray(image, np.uint8))
    for view, (_, share) in zip(views[blurred][:100], draws[blurred], strict=False):
        assert_as_pillow(view, spot.filter(ImageFilter.GaussianBlur(0.1 + 1.9 * float(share))))
