"""The law of random erasing and what is left in the box."""

import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.augment import erase

SIZE = (64, 32)
NUM = 6000


def draw_boxes(law: erase.Erase, size: tuple[int, int] = SIZE, num: int = NUM) -> np.ndarray:
    keys = jax.random.split(jax.random.key(11), num)
    return np.stack(
        jax.jit(jax.vmap(lambda key: erase.draw_erase_box(key, size, law)))(keys), axis=1
    )


def published_box(
    rng: random.Random, size: tuple[int, int], greatest: float, spacing: str = "linear"
) -> tuple:
    """The erasing law in plain Python: (top, left, height, width), or zeros."""
    if rng.random() >= 0.5:
        return 0, 0, 0, 0
    for _ in range(100):
        area = rng.uniform(0.02, greatest) * size[0] * size[1]
        aspect = rng.uniform(0.3, 1 / 0.3)
        if spacing == "log":
            aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < size[0] and w < size[1]:
            return rng.randint(0, size[0] - h), rng.randint(0, size[1] - w), h, w
    return 0, 0, 0, 0


@pytest.mark.parametrize(("greatest", "spacing"), [(0.2, "linear"), (0.6, "linear"), (0.33, "log")])
def test_law_equals_the_plain_python_one(greatest, spacing):
    boxes = draw_boxes(erase.Erase(area=(0.02, greatest), spacing=spacing))
    rng = random.Random(0)
    twin = np.array([published_box(rng, SIZE, greatest, spacing) for _ in range(NUM)], float)
    np.testing.assert_array_equal(boxes, np.round(boxes))
    erased, twin_erased = boxes[:, 2] > 0, twin[:, 2] > 0
    assert abs(erased.mean() - 0.5) < 5 * math.sqrt(0.25 / NUM)
    boxes, twin = boxes[erased], twin[twin_erased]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= np.array(SIZE)).all()
    assert (boxes[:, 2:] < np.array(SIZE)).all()
    area, twin_area = (b[:, 2] * b[:, 3] / math.prod(SIZE) for b in (boxes, twin))
    # Rounding both sides to whole pixels adds a little to the greatest area.
    assert area.max() < greatest + 0.02
    assert area.max() > greatest - 0.05
    bins = np.linspace(0.0, greatest + 0.03, 12)
    ours, theirs = (np.histogram(a, bins)[0] / a.size for a in (area, twin_area))
    assert np.abs(ours - theirs).max() < 5 * math.sqrt(2 * 0.15 / area.size)
    for column in range(4):
        spread = twin[:, column].std() * math.sqrt(2 / len(boxes))
        assert abs(boxes[:, column].mean() - twin[:, column].mean()) < 5 * spread


def test_box_holds_the_fill_and_the_rest_is_untouched():
    image = jnp.asarray(np.random.default_rng(0).normal(5.0, 1.0, (16, 8, 3)), jnp.float32)
    law = erase.Erase(probability=1.0, area=(0.02, 0.6), fill=(0.0, 0.5, -1.0))
    keys = jax.random.split(jax.random.key(0), 200)
    views = np.asarray(jax.jit(jax.vmap(lambda key: erase.random_erase(key, image, law)))(keys))
    changed = (views != np.asarray(image)).any(axis=3)
    for view, mask in zip(views, changed, strict=True):
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert mask.sum() == rows.sum() * columns.sum() > 0
        assert np.diff(np.flatnonzero(rows)).max(initial=1) == 1
        assert not rows.all()
        assert not columns.all()
        assert (view[mask] == np.array([0.0, 0.5, -1.0], np.float32)).all()


def test_nothing_is_erased_where_no_box_fits():
    image = jnp.ones((4, 1, 3))
    law = erase.Erase(probability=1.0)
    keys = jax.random.split(jax.random.key(0), 50)
    views = jax.jit(jax.vmap(lambda key: erase.random_erase(key, image, law)))(keys)
    # A picture one pixel wide has no strictly narrower box but the empty one.
    np.testing.assert_array_equal(views, np.ones((50, 4, 1, 3)))


def test_raw_boxes_equal_a_numpy_twin_draw_for_draw():
    # LUPerson's fine-tuning: black boxes in 0..255, the first of a hundred tries that is strictly
    # smaller than the picture both ways. A wide picture makes tries fail.
    law = erase.Erase(probability=0.7, space="raw", fill=(0.0, 0.0, 0.0))
    height, width = 8, 40
    image = np.random.default_rng(3).integers(1, 256, (height, width, 3)).astype(np.float32)
    keys = jax.random.split(jax.random.key(4), 300)

    @jax.jit
    @jax.vmap
    def both(key):
        tries, place = jax.random.split(key)
        draws = jax.random.uniform(tries, (2, 100)), jax.random.uniform(place, (3,))
        return *draws, erase.random_erase(key, jnp.asarray(image), law)

    attempts = []
    for shares, (chance, down, right), view in zip(*map(np.asarray, both(keys)), strict=True):
        expected = image.copy()
        if chance < 0.7:
            for attempt in range(100):
                area = (0.02 + shares[0, attempt] * 0.38) * height * width
                aspect = 0.3 + shares[1, attempt] * (1 / 0.3 - 0.3)
                h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
                if h < height and w < width:
                    top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
                    expected[top : top + h, left : left + w] = 0.0
                    attempts.append(attempt)
                    break
        np.testing.assert_array_equal(view, expected)
    assert attempts.count(0) < len(attempts)
