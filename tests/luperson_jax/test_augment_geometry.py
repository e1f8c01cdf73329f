"""Crops, resizing, padding, flips and affine maps against Pillow and plain Python."""

import functools
import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from luperson_jax.augment import geometry, recipes

TALL = (200, 80)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth shapes with noise on top, so that every filter has something to show."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(height // 6, 2), max(width // 6, 2), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noise = rng.integers(-25, 26, smooth.shape)
    return np.clip(smooth.astype(int) + noise, 0, 255).astype(np.uint8)


def draw_boxes(law: geometry.Crop, size: tuple[int, int], num: int) -> np.ndarray:
    keys = jax.random.split(jax.random.key(7), num)
    box = jax.jit(jax.vmap(lambda key: geometry.draw_crop_box(key, jnp.array(size), law)))(keys)
    return np.stack(box, axis=1)


def published_box(rng: random.Random, size: tuple[int, int]) -> tuple[int, int, int, int, bool]:
    """The pre-training crop in plain Python: (top, left, height, width, spare)."""
    height, width = size
    for _ in range(10):
        area = rng.uniform(0.2, 1.0) * height * width
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.randint(0, height - h), rng.randint(0, width - w), h, w, False
    if width / height < 3 / 4:
        w, h = width, round(width / (3 / 4))
    elif width / height > 4 / 3:
        w, h = round(height * (4 / 3)), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w, True


@pytest.mark.parametrize("size", [(200, 80), (128, 64), (33, 90), (7, 3), (1, 1)])
@pytest.mark.parametrize("law", [geometry.Crop(), recipes.recipe("reid").crop])
def test_boxes_are_whole_and_inside(size, law):
    boxes = draw_boxes(law, size, 500)
    np.testing.assert_array_equal(boxes, np.round(boxes))
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= np.array(size)).all()


def test_crop_law_equals_the_plain_python_one():
    num = 20000
    boxes = draw_boxes(geometry.Crop(), TALL, num)
    rng = random.Random(0)
    twin = np.array([published_box(rng, TALL)[:4] for _ in range(num)])
    area, twin_area = (b[:, 2] * b[:, 3] / math.prod(TALL) for b in (boxes, twin))
    # Two samples of one law: each share of the histogram differs by its own noise only.
    bins = np.linspace(0.18, 0.56, 20)
    ours, theirs = (np.histogram(a, bins)[0] / num for a in (area, twin_area))
    assert np.abs(ours - theirs).max() < 5 * math.sqrt(2 * 0.25 / num)
    assert abs(area.mean() - twin_area.mean()) < 5 * area.std() * math.sqrt(2 / num)
    for column in range(4):
        spread = boxes[:, column].std() * math.sqrt(2 / num)
        assert abs(boxes[:, column].mean() - twin[:, column].mean()) < 5 * spread
    # Height is at most 4/3 of the width, so that a 1:2.5 picture never gives more than 53 %.
    assert area.max() <= 107 * 80 / math.prod(TALL)
    assert area.max() > 0.52


def test_fallback_share_and_box():
    num = 20000
    boxes = draw_boxes(geometry.Crop(), TALL, num)
    rng = random.Random(1)
    twin = np.array([published_box(rng, TALL) for _ in range(num)], dtype=int)
    center = np.array([46, 0, 107, 80])
    ours = (boxes == center).all(axis=1).mean()
    expected = (twin[:, :4] == center).all(axis=1).mean()
    assert twin[:, 4].any()
    assert abs(ours - expected) < 5 * math.sqrt(2 * expected / num)


@pytest.mark.parametrize(
    ("size", "expected"), [((200, 20), (86, 0, 27, 20)), ((20, 200), (0, 86, 20, 27))]
)
def test_center_fallback_takes_the_largest_box_of_the_nearest_aspect(size, expected):
    never = geometry.Crop(area=(0.95, 1.0))
    assert (draw_boxes(never, size, 20) == np.array(expected)).all()


def test_whole_fallback():
    law = geometry.Crop(area=(0.95, 1.0), aspect=(2.0, 3.0), spacing="linear", fallback="whole")
    assert (draw_boxes(law, (40, 60), 20) == np.array([0, 0, 40, 60])).all()


def test_places_are_uniform_and_reach_both_ends():
    law = geometry.Crop(area=(0.25, 0.25), aspect=(1.0, 1.0))
    boxes = draw_boxes(law, (8, 8), 5000)
    assert (boxes[:, 2:] == 4).all()
    for column in range(2):
        counts = np.bincount(boxes[:, column].astype(int), minlength=5)
        assert counts.shape == (5,)
        assert np.abs(counts - 1000).max() < 5 * math.sqrt(800)


def test_reid_aspect_is_uniform_between_two_and_three():
    boxes = draw_boxes(recipes.recipe("reid").crop, (2500, 1000), 4000)
    aspect = boxes[:, 2] / boxes[:, 3]
    area = boxes[:, 2] * boxes[:, 3] / 2.5e6
    assert aspect.min() > 1.99
    assert aspect.max() < 3.01
    # Tries fit while the area is at most min(2.5 / a, a / 2.5), least at both ends: compare with
    # the same law in plain Python.
    rng = np.random.default_rng(0)
    a, s = rng.uniform(2, 3, 40000), rng.uniform(0.64, 1, 40000)
    fits = s <= np.minimum(2.5 / a, a / 2.5)
    assert abs(aspect.mean() - a[fits].mean()) < 5 * a[fits].std() / math.sqrt(4000)
    assert abs(area.mean() - s[fits].mean()) < 5 * s[fits].std() / math.sqrt(4000)
    assert abs(aspect.std() - a[fits].std()) < 0.01


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("output", [(64, 32), (16, 24), (90, 50)])
@pytest.mark.parametrize("box", [(0, 0, 70, 30), (11, 3, 40, 25), (30, 29, 1, 1), (5, 0, 64, 8)])
def test_crop_and_resize_equal_pillow(interpolation, output, box):
    # No black or white: where the cubic overshoots, the order of the passes would show.
    image = 60 + picture(70, 30) // 2
    top, left, height, width = box
    resampling = {
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
    }[interpolation]
    expected = (
        Image.fromarray(image)
        .crop((left, top, left + width, top + height))
        .resize(output[::-1], resampling)
    )
    ours = geometry.resample(
        jnp.asarray(image), geometry.Box(*map(jnp.float32, box)), output, interpolation
    )
    assert np.abs(np.asarray(ours) - np.asarray(expected, np.float32)).max() <= 1.1


def test_a_fractional_box_sees_nothing_outside():
    image = np.zeros((20, 10, 3), np.float32)
    image[4:9, 2:6] = 100.0
    inside = geometry.Box(*map(jnp.float32, (4.3, 2.6, 4.5, 3.2)))
    ours = geometry.resample(jnp.asarray(image), inside, (30, 12), "bicubic")
    np.testing.assert_allclose(ours, 100.0, rtol=1e-5)


def test_squeezed_canvas_shows_what_the_original_shows():
    # A plane of gray levels survives squeezing and resizing, up to the borders of the filters.
    rows, columns = np.meshgrid(np.arange(200), np.arange(100), indexing="ij")
    original = np.stack([rows, columns, rows + columns], axis=2).clip(0, 255).astype(np.uint8)
    canvas = Image.fromarray(original).resize((50, 50), Image.Resampling.BILINEAR)
    size = jnp.array([200, 100])
    for seed in range(3):
        views = [
            geometry.random_resized_crop(
                jax.random.key(seed), jnp.asarray(source), size, (16, 8), geometry.Crop()
            )
            for source in (original, np.asarray(canvas))
        ]
        assert np.abs(np.asarray(views[0]) - np.asarray(views[1])).max() < 3.0


def test_resize_of_the_right_size_changes_nothing():
    image = jnp.asarray(picture(24, 12))
    np.testing.assert_array_equal(
        geometry.resize(image, (24, 12), "bicubic"), np.asarray(image, np.float32)
    )


def test_padding_rows_of_size_zero_stay_finite():
    view = geometry.random_resized_crop(
        jax.random.key(0),
        jnp.zeros((8, 4, 3), jnp.uint8),
        jnp.array([0, 0]),
        (8, 4),
        geometry.Crop(),
    )
    assert np.isfinite(view).all()


def test_flip_mirrors_with_its_probability():
    image = jnp.asarray(picture(6, 5))
    keys = jax.random.split(jax.random.key(3), 2000)
    views = np.asarray(jax.jit(jax.vmap(lambda key: geometry.random_flip(key, image, 0.3)))(keys))
    mirrored = (views == np.asarray(image)[:, ::-1]).all(axis=(1, 2, 3))
    same = (views == np.asarray(image)).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert abs(mirrored.mean() - 0.3) < 5 * math.sqrt(0.21 / 2000)


def test_pad_and_crop_shows_every_window_equally_often():
    image = picture(5, 4)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    windows = {
        padded[t : t + 5, left : left + 4].tobytes(): (t, left)
        for t in range(5)
        for left in range(5)
    }
    keys = jax.random.split(jax.random.key(1), 2500)
    crop = functools.partial(geometry.pad_and_crop, pad=2)
    views = np.asarray(jax.jit(jax.vmap(crop, (0, None)))(keys, jnp.asarray(image)))
    found = [windows[view.tobytes()] for view in views]
    counts = np.array([found.count(window) for window in windows.values()])
    assert counts.shape == (25,)
    assert np.abs(counts - 100).max() < 5 * math.sqrt(96)


AFFINE_CASES = [
    (10.0, (0.0, 0.0), 1.0, 0.0),
    (-7.0, (3.0, -5.0), 1.1, 2.0),
    (0.0, (2.0, 4.0), 0.9, -20.0),
    (33.0, (0.0, 1.0), 0.7, 15.0),
]


def forward_affine(angle, shift, scale, shear, size) -> np.ndarray:
    """Shear first, then turn and magnify about the center, then move: input to output."""
    angle, shear = math.radians(angle), math.radians(shear)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    slant = np.array([[1.0, -math.tan(shear)], [0.0, 1.0]])
    center = np.array([size[1] / 2, size[0] / 2])
    linear = scale * turn @ slant
    offset = center + np.array(shift) - linear @ center
    return np.vstack([np.hstack([linear, offset[:, None]]), [0, 0, 1]])


@pytest.mark.parametrize("case", AFFINE_CASES)
def test_affine_matrix_is_the_inverse_of_the_forward_map(case):
    angle, shift, scale, shear = case
    ours = geometry.inverse_affine(
        jnp.float32(angle), jnp.array(shift), jnp.float32(scale), jnp.float32(shear), (40, 30)
    )
    expected = np.linalg.inv(forward_affine(*case, (40, 30)))[:2]
    np.testing.assert_allclose(ours, expected, atol=2e-5)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("case", AFFINE_CASES)
def test_warp_equals_pillow(interpolation, case):
    image = picture(40, 30)
    matrix = np.linalg.inv(forward_affine(*case, (40, 30)))[:2]
    resampling = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
    }[interpolation]
    expected = Image.fromarray(image).transform(
        (30, 40), Image.Transform.AFFINE, tuple(matrix.ravel()), resampling
    )
    ours = geometry.warp(
        jnp.asarray(image, jnp.float32), jnp.asarray(matrix, jnp.float32), interpolation
    )
    apart = np.abs(np.asarray(ours) - np.asarray(expected, np.float32)).max(axis=2)
    # A position within a rounding error of two pixels, or of the border, may fall to either side.
    assert (apart > 1.01).mean() <= 0.003


def test_affine_leaves_the_others_alone():
    image = jnp.asarray(picture(20, 10), jnp.float32)
    law = recipes.recipe("cmpe-affine").affine
    keys = jax.random.split(jax.random.key(5), 1000)
    views = np.asarray(jax.jit(jax.vmap(lambda key: geometry.random_affine(key, image, law)))(keys))
    same = (views == np.asarray(image)).all(axis=(1, 2, 3))
    assert abs(same.mean() - 0.5) < 5 * math.sqrt(0.25 / 1000)


def test_affine_ranges():
    # Pure shifts, seen on a picture whose gray level is its column (red) or row (green).
    rows, columns = np.meshgrid(np.arange(40), np.arange(20), indexing="ij")
    image = jnp.asarray(np.stack([columns, rows, rows], axis=2) + 1, jnp.float32)
    law = geometry.Affine(probability=1.0, translate=(0.1, 0.2))
    keys = jax.random.split(jax.random.key(5), 400)
    views = np.asarray(jax.jit(jax.vmap(lambda key: geometry.random_affine(key, image, law)))(keys))
    right = 11 - views[:, 20, 10, 0]
    down = 21 - views[:, 20, 10, 1]
    assert set(right) == set(range(-2, 3))
    assert set(down) == set(range(-8, 9))
