"""AutoAugment: the table of pairs, and pictures against a chain of Pillow's operations."""

import collections
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_augment_operations import in_pillow, picture

from luperson_jax.augment import policy
from luperson_jax.augment.operations import SIGNED, Operation

NUM = 400


def test_table_of_the_paper():
    table = policy.IMAGENET
    assert len(table) == 25
    assert sorted(collections.Counter(table).values()) == [1] * 15 + [2] * 5
    used = collections.Counter(step[0].name for pair in table for step in pair)
    assert used == {
        "EQUALIZE": 17,
        "SOLARIZE": 7,
        "ROTATE": 6,
        "COLOR": 6,
        "POSTERIZE": 5,
        "INVERT": 3,
        "CONTRAST": 2,
        "AUTO_CONTRAST": 2,
        "SHARPNESS": 1,
        "SHEAR_X": 1,
    }
    for pair in table:
        for _, probability, level in pair:
            assert 0.0 <= probability <= 1.0
            assert 0 <= level < 10


@pytest.mark.parametrize(
    ("operation", "level", "magnitude"),
    [
        (Operation.POSTERIZE, 8, 7),
        (Operation.POSTERIZE, 5, 6),
        (Operation.SOLARIZE, 5, 128),
        (Operation.SOLARIZE, 3, 76),
        (Operation.ROTATE, 9, 27.0),
        (Operation.SHEAR_X, 5, 0.15),
        (Operation.COLOR, 0, 0.1),
        (Operation.CONTRAST, 8, 1.54),
        (Operation.TRANSLATE_Y, 10, 150 / 331),
        (Operation.EQUALIZE, 7, 0.0),
    ],
)
def test_levels_are_read_as_fastreid_reads_them(operation, level, magnitude):
    assert policy.magnitude_of(operation, level) == pytest.approx(magnitude)


INVERTING = (((Operation.INVERT, 1.0, 0), (Operation.INVERT, 0.0, 0)),)


def test_pictures_equal_pillows_chain():
    law = policy.AutoAugment(probability=0.8, fill=(128.0, 100.0, 7.0))
    image = picture()
    keys = jax.random.split(jax.random.key(5), NUM)
    pixels = jnp.asarray(image, jnp.float32) + 0.2
    view = jax.jit(jax.vmap(lambda key: policy.random_policy(key, pixels, law)))
    views = np.asarray(view(keys))
    draws = np.asarray(jax.vmap(lambda key: jax.random.uniform(key, (6,)))(keys))
    applied = draws[:, 0] < 0.8
    assert abs(applied.mean() - 0.8) < 5 * math.sqrt(0.16 / NUM)
    # Pictures that are left out keep even their fractions.
    np.testing.assert_array_equal(
        views[~applied], np.broadcast_to(pixels, (int((~applied).sum()), *image.shape))
    )
    seen = collections.Counter()
    for draw, found in zip(draws[applied], views[applied], strict=True):
        expected = image
        pair = policy.IMAGENET[int(draw[1] * 25)]
        for (operation, probability, level), chance, side in zip(
            pair, draw[2:4], draw[4:6], strict=True
        ):
            if chance < probability:
                sign = -1 if operation in SIGNED and side < 0.5 else 1
                magnitude = sign * policy.magnitude_of(operation, level)
                expected = in_pillow(expected, operation, magnitude).astype(np.uint8)
                seen[operation, sign] += 1
        apart = np.abs(found - expected)
        # A warped pixel that is off by a level may land on either side of a threshold after it.
        assert (apart > 2).mean() < 0.02, pair
    named = {step[0] for pair in policy.IMAGENET for step in pair}
    assert {operation for operation, _ in seen} == named
    assert {sign for operation, sign in seen if operation in SIGNED} == {-1, 1}


@pytest.mark.parametrize(
    ("images_per_process", "processes", "share"), [(8.0, 8, 0.125), (2.0, 32, 0.432)]
)
def test_a_falling_share_is_that_of_processes_that_count(images_per_process, processes, share):
    # Every process changes the next picture with probability 1 - changed / steps of the run.
    generator, steps = np.random.default_rng(0), 400
    per_step = int(images_per_process)
    changed, history = np.zeros(processes), []
    for _ in range(steps):
        draws = generator.random((per_step, processes))
        before = changed.sum()
        for draw in draws:
            changed += draw > changed / steps
        history.append((changed.sum() - before) / (per_step * processes))
    law = policy.AutoAugment(images_per_process=images_per_process)
    chances = np.asarray(policy.chance(law, jnp.arange(steps) / steps))
    assert np.mean(chances) == pytest.approx(share, abs=0.005)
    assert np.mean(history) == pytest.approx(share, abs=0.005)
    for part in np.split(np.arange(steps), 8):
        assert np.mean(history, where=np.isin(np.arange(steps), part)) == pytest.approx(
            np.mean(chances[part]), abs=0.02
        )


def test_the_share_of_a_picture_follows_the_progress_of_the_run():
    law = policy.AutoAugment(probability=0.9, images_per_process=2.0, policy=INVERTING)
    keys = jax.random.split(jax.random.key(3), NUM)
    pixels = jnp.asarray(picture(), jnp.float32)
    view = jax.jit(
        lambda keys, progress: jax.vmap(
            lambda key: policy.random_policy(key, pixels, law, progress)
        )(keys)
    )
    for progress in (0.0, 0.5, 1.0):
        changed = (np.asarray(view(keys, progress)) != np.asarray(pixels)).any(axis=(1, 2, 3))
        chance = 0.9 * math.exp(-2.0 * progress)
        draws = np.asarray(jax.vmap(lambda key: jax.random.uniform(key, (6,)))(keys))[:, 0]
        np.testing.assert_array_equal(changed, draws < chance)
