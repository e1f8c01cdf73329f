"""The camera loss, gradient reversal and the head between them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.losses import camera
from luperson_jax.models.heads import CameraHead


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_gradient_is_turned(golden, alpha):
    stored = np.load(golden / "methods" / "calr_schedule_grl.npz")
    x, upstream = stored["grl/x"], stored["grl/upstream"]
    value, pull = jax.vjp(lambda one: camera.reverse_gradient(one, alpha), x)
    name = f"alpha{alpha:g}" if alpha % 1 else f"alpha{alpha:.0f}"
    name = "alpha0.0" if alpha == 0 else name
    np.testing.assert_allclose(value, stored[f"grl/y_{name}"], rtol=1e-6)
    np.testing.assert_allclose(
        pull(jnp.asarray(upstream))[0], stored[f"grl/grad_{name}"], rtol=1e-6
    )


def loss_by_loops(logits, cameras, twice):
    total, number = 0.0, 0
    for row, one in zip(np.asarray(logits, np.float64), cameras, strict=True):
        if one < 0:
            continue
        share = np.exp(row) / np.exp(row).sum()
        if twice:
            share = np.exp(share) / np.exp(share).sum()
        total, number = total - np.log(share[one]), number + 1
    return total / max(number, 1)


@pytest.mark.parametrize("twice", [False, True])
def test_the_loss_is_that_of_loops(twice):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(9, 6)).astype(np.float32) * 4
    cameras = np.array([0, 5, 3, -1, 2, 1, 1, 4, 0], np.int32)
    mask = np.array([True] * 7 + [False] * 2)
    loss = functools.partial(camera.camera_loss, jnp.asarray(logits), twice=twice)
    whole = loss(jnp.asarray(cameras))
    np.testing.assert_allclose(whole, loss_by_loops(logits, cameras, twice), rtol=1e-5)
    part = loss(jnp.asarray(cameras), mask=jnp.asarray(mask))
    np.testing.assert_allclose(part, loss_by_loops(logits[:7], cameras[:7], twice), rtol=1e-5)
    assert loss(jnp.full(9, -1)) == 0


def test_the_loss_of_probabilities_is_bounded():
    sure = 1000 * jnp.eye(6)[:1]
    right, wrong = (camera.camera_loss(sure, jnp.array([one]), twice=True) for one in (0, 1))
    np.testing.assert_allclose([right, wrong], [np.log(np.e + 5) - 1, np.log(np.e + 5)], rtol=1e-6)


def test_the_head_drops_and_doubles():
    head = CameraHead(3, hidden=8)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    variables = head.init(jax.random.key(0), x, None, train=False)
    plain = head.apply(variables, x, None, train=False)
    assert plain.shape == (6, 3)
    none = head.apply(variables, x, jnp.zeros((6, 8), bool), train=False)
    np.testing.assert_allclose(none, jnp.broadcast_to(none[:1], none.shape), rtol=1e-6)
    doubled = head.apply(variables, x, jnp.ones((6, 8), bool), train=False)
    assert not np.allclose(doubled, plain)
