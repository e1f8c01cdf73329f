"""The center loss and how centers move."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.losses import center


def _random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


CENTERS, ROWS = _random(1, 4, 3), _random(2, 5, 3)
MEMBERS = np.array([2, 0, 2, 2, 3])


def _padded(value):
    """Five rows and three of padding, their identities, and the mask."""
    rows = np.concatenate([ROWS, np.full((3, 3), value, np.float32)])
    return jnp.asarray(rows), jnp.asarray(np.append(MEMBERS, [-1, 9, 0])), jnp.arange(8) < 5


@functools.cache
def _center_functions():
    loss = jax.value_and_grad(center.center_loss, argnums=(0, 1))
    return jax.jit(loss), jax.jit(functools.partial(center.move_centers, alpha=0.3))


@pytest.mark.parametrize("padding", [0.0, 1e4, np.nan])
def test_center_loss_equals_the_loop_whatever_the_padding_holds(padding):
    features, labels, mask = _padded(padding)
    loss, (by_features, by_centers) = _center_functions()[0](
        features, jnp.asarray(CENTERS), labels, mask=mask
    )
    distances = [math.dist(row, CENTERS[y]) for row, y in zip(ROWS, MEMBERS, strict=True)]
    np.testing.assert_allclose(loss, np.mean(np.square(distances)) / 2, rtol=1e-6)
    np.testing.assert_allclose(by_features[:5], (ROWS - CENTERS[MEMBERS]) / 5, rtol=1e-5)
    np.testing.assert_array_equal(by_features[5:], 0)
    np.testing.assert_array_equal(by_centers, 0)
    plain = center.center_loss(jnp.asarray(ROWS), jnp.asarray(CENTERS), jnp.asarray(MEMBERS))
    np.testing.assert_allclose(loss, plain, rtol=1e-6)


@pytest.mark.parametrize("padding", [0.0, np.nan])
def test_centers_move_as_the_loop_over_identities_says(padding):
    expected = CENTERS.copy()
    for identity in range(4):
        mine = ROWS[identity == MEMBERS]
        expected[identity] -= 0.3 * (CENTERS[identity] - mine).sum(0) / (1 + len(mine))
    features, labels, mask = _padded(padding)
    moved = _center_functions()[1](jnp.asarray(CENTERS), features, labels, mask=mask)
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(moved[1], CENTERS[1])


def test_centers_come_to_rest_at_the_means():
    centers, (features, labels, mask) = jnp.asarray(CENTERS), _padded(0.0)
    for _ in range(60):
        centers = _center_functions()[1](centers, features, labels, mask=mask)
    for identity in (0, 2, 3):
        mean = ROWS[identity == MEMBERS].mean(0)
        np.testing.assert_allclose(centers[identity], mean, rtol=1e-4, atol=1e-5)


def test_a_row_without_an_identity_has_no_center_and_moves_none():
    features, labels, mask = _padded(1.0)
    arrays = jnp.asarray(CENTERS), features, jnp.where(mask, labels, -1)
    loss, moved = center.center_loss(features, arrays[0], arrays[2]), center.move_centers(*arrays)
    plain = jnp.asarray(ROWS), jnp.asarray(CENTERS), jnp.asarray(MEMBERS)
    np.testing.assert_allclose(loss, center.center_loss(*plain), rtol=1e-6)
    np.testing.assert_array_equal(moved, center.move_centers(plain[1], plain[0], plain[2]))


def test_a_label_beyond_the_centers_is_no_other_center():
    rows = jnp.asarray(ROWS), jnp.asarray(CENTERS), jnp.array([2, 0, 2, 2, len(CENTERS)])
    assert np.isnan(center.center_loss(*rows))
