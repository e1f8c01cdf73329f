"""Statistics in one pass, groups by number, and gradients that are written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.models import moments
from luperson_jax.models.norm import GroupedBatchNorm

SHAPE = (8, 3, 2, 5)


def draw(seed: int, shape=SHAPE) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def plainly(x, scale, bias, groups, relu):
    """Two passes over every group, with the gradient that JAX derives."""
    y = jnp.zeros_like(x)
    for rows in groups:
        part = x[rows]
        mean = part.mean(axis=(0, 1, 2), keepdims=True)
        var = jnp.square(part - mean).mean(axis=(0, 1, 2), keepdims=True)
        unit = (part - mean) / jnp.sqrt(var + 1e-5)
        y = y.at[rows].set(unit * scale[None, None, None] + bias[None, None, None])
    return jax.nn.relu(y) if relu else y


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("scattered", [False, True])
def test_values_and_gradients_equal_those_of_plain_groups(relu, scattered):
    order = np.random.default_rng(0).permutation(8) if scattered else np.arange(8)
    groups = order.reshape(2, 4)
    number = jnp.asarray(np.argsort(order) // 4, jnp.int32) if scattered else None
    module = GroupedBatchNorm(4)
    x, weight = 3 * draw(1) + 2, draw(2)
    params = {"scale": 1 + 0.1 * draw(3, (5,)), "bias": draw(4, (5,))}
    start = {"mean": jnp.zeros(5), "var": jnp.ones(5)}

    def ours(x, params):
        tree = {"params": params, "batch_stats": start}
        y, _ = module.apply(tree, x, train=True, relu=relu, group=number, mutable=["batch_stats"])
        return jnp.sum(weight * y)

    def theirs(x, params):
        return jnp.sum(weight * plainly(x, params["scale"], params["bias"], groups, relu))

    got = jax.value_and_grad(ours, (0, 1))(x, params)
    wanted = jax.value_and_grad(theirs, (0, 1))(x, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 2e-5), got, wanted)


@pytest.mark.parametrize("mean", [0.0, 1e2, 1e4])
def test_a_variance_does_not_suffer_from_the_mean(mean):
    """Of values that float32 holds; E[x^2] - E[x]^2 has no digit left at the last."""
    x = np.float32(mean + np.random.default_rng(0).normal(size=(4, 16, 8, 3)))
    _, var = moments.of_groups(moments.of_images(jnp.asarray(x)), 4, None)
    exact = np.float64(x).var(axis=(0, 1, 2))
    np.testing.assert_allclose(var[0], exact, rtol=1e-5)
    if mean == 1e4:
        naive = np.square(x).mean((0, 1, 2)) - np.square(x.mean((0, 1, 2)))
        assert np.abs(naive / exact - 1).max() > 1e-2


@pytest.mark.parametrize("apart", [3.0, 3000.0])
def test_an_image_whose_middle_row_is_unlike_all_others(apart):
    """H rows, of which one differs: 1 + H times the error of a sum of P values, and no more."""
    rng = np.random.default_rng(0)
    x = np.float32(7 + (0.01 * rng.normal(size=(1, 32, 16, 1))))
    x[0, 16] += np.float32(apart)
    variance = float(moments.of_images(jnp.asarray(x)).variance[0, 0])
    assert abs(variance / np.float64(x).var() - 1) < (1 + 32) * (32 * 16 / 2) * np.finfo("f4").eps


def test_relu_looks_at_its_result():
    x = jnp.asarray([-1.0, 0.0, 2.0])
    value, back = jax.vjp(moments.relu, x)
    np.testing.assert_array_equal(value, [0, 0, 2])
    np.testing.assert_array_equal(back(jnp.ones(3))[0], [0, 0, 1])
