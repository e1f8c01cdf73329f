"""Pooling, projection head and BNNeck."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import models
from luperson_jax.models.pooling import generalized_mean


@pytest.fixture
def feature_map() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 5)), jnp.float32)


def pool(kind, x, **options):
    module = models.Pooling(kind, **options)
    return module.apply(module.init(jax.random.key(0), x), x)


@pytest.mark.parametrize("p", [1.0, 3.0, 4.5])
@pytest.mark.parametrize("kind", ["gem", "gem_learned"])
def test_gem_equals_its_formula(feature_map, kind, p):
    clamped = np.maximum(np.float64(feature_map), 1e-6)
    expected = (clamped**p).mean((1, 2)) ** (1 / p)
    np.testing.assert_allclose(pool(kind, feature_map, p=p), expected, rtol=1e-5)


def test_average_and_maximum(feature_map):
    x = np.asarray(feature_map)
    np.testing.assert_allclose(pool("avg", feature_map), x.mean((1, 2)), atol=1e-6)
    np.testing.assert_array_equal(pool("max", feature_map), x.max((1, 2)))


def test_gem_lies_between_average_and_maximum(feature_map):
    x = jnp.abs(feature_map)
    gem = pool("gem", x)
    assert bool(jnp.all(gem >= pool("avg", x)))
    assert bool(jnp.all(gem <= pool("max", x)))
    np.testing.assert_allclose(pool("gem", x, p=200.0), pool("max", x), rtol=0.02)


def test_gradient_of_gem_equals_that_of_its_formula(feature_map):
    def direct(x, p):
        return jnp.sum(jnp.sin(jnp.mean(jnp.maximum(x, 1e-6) ** p, axis=(1, 2)) ** (1 / p)))

    def ours(x, p):
        return jnp.sum(jnp.sin(generalized_mean(x, p)))

    wanted = jax.grad(direct, argnums=(0, 1))(feature_map, jnp.float32(3.0))
    got = jax.grad(ours, argnums=(0, 1))(feature_map, jnp.float32(3.0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-6), got, wanted)


def test_gem_of_an_empty_channel_has_a_finite_gradient():
    x = jnp.full((1, 2, 2, 1), -1.0)
    value, gradient = jax.value_and_grad(lambda p: jnp.sum(generalized_mean(x, p)))(
        jnp.float32(9.0)
    )
    np.testing.assert_allclose(value, 1e-6, rtol=1e-5)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)


def test_learned_exponent_is_one_number(feature_map):
    params = models.Pooling("gem_learned").init(jax.random.key(0), feature_map)["params"]
    np.testing.assert_array_equal(params["p"], np.asarray([3.0], np.float32))
    assert models.Pooling("gem").init(jax.random.key(0), feature_map) == {}


@pytest.mark.parametrize("kind", models.POOLING_KINDS)
def test_pooling_is_float32_and_ignores_positions(feature_map, kind):
    half = feature_map.astype(jnp.bfloat16)
    pooled = pool(kind, half)
    assert pooled.dtype == jnp.float32
    np.testing.assert_allclose(pooled, pool(kind, half[:, ::-1, ::-1]), rtol=1e-5, atol=1e-6)


def test_projection_head_equals_numpy_and_torchs_initial_range():
    module = models.ProjectionHead(hidden=64, out=64)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 256)), jnp.float32)
    params = module.init(jax.random.key(0), x, train=False)["params"]
    first, second = (jax.tree.map(np.asarray, params[name]) for name in ("fc_0", "fc_2"))
    hidden = np.maximum(np.asarray(x) @ first["kernel"] + first["bias"], 0)
    expected = hidden @ second["kernel"] + second["bias"]
    result = module.apply({"params": params}, x, train=False)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    for layer, bound in ((first, 1 / 16), (second, 1 / 8)):
        assert 0.98 * bound < np.abs(layer["kernel"]).max() <= bound
        assert 0.7 * bound < np.abs(layer["bias"]).max() <= bound
        np.testing.assert_allclose(layer["kernel"].std(), bound / np.sqrt(3), rtol=0.05)


@pytest.mark.parametrize(("embedding_dim", "out"), [(0, 512), (6, 6)])
def test_neck(embedding_dim, out):
    module = models.BNNeck(embedding_dim)
    x = jnp.asarray(np.random.default_rng(0).normal(2.0, 3.0, size=(16, 512)), jnp.float32)
    variables = module.init(jax.random.key(0), x, train=False)
    params = variables["params"]
    y, _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.shape == (16, out)
    assert ("reduction" in params) == bool(embedding_dim)
    np.testing.assert_allclose(np.asarray(y).mean(0), np.zeros(out), atol=1e-5)
    np.testing.assert_allclose(np.asarray(y).std(0), params["bn"]["scale"], rtol=1e-3)

    def loss(params):
        tree = {**variables, "params": params}
        y, _ = module.apply(tree, x, train=True, mutable=["batch_stats"])
        return jnp.sum(jnp.exp(y))

    gradient = jax.grad(loss)(params)
    np.testing.assert_array_equal(gradient["bn"]["bias"], np.zeros(out, np.float32))
    np.testing.assert_array_equal(params["bn"]["bias"], np.zeros(out, np.float32))
    assert float(jnp.abs(gradient["bn"]["scale"]).min()) > 0


def test_initial_values_of_the_neck():
    x = jnp.zeros((1, 512))
    params = models.BNNeck(256).init(jax.random.key(0), x, train=False)["params"]
    np.testing.assert_allclose(params["reduction"]["kernel"].std(), np.sqrt(2 / 256), rtol=0.02)
    scale = np.asarray(params["bn"]["scale"])
    np.testing.assert_allclose([scale.mean(), scale.std()], [1.0, 0.02], atol=3e-3)


def test_the_head_of_simclr_normalizes_between_its_layers():
    module = models.ProjectionHead(hidden=6, out=4, kind="mlp_bn", bn_group_size=4)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 5)), jnp.float32)
    variables = module.init(jax.random.key(0), x, train=False)
    params = variables["params"]
    assert set(params) == {"fc_0", "fc_1", "fc_3"}
    y, moved = module.apply(variables, x, train=True, mutable=["batch_stats"])
    hidden = np.asarray(x @ params["fc_0"]["kernel"] + params["fc_0"]["bias"][None])
    groups = hidden.reshape(2, 4, 6)
    mean, var = groups.mean(1, keepdims=True), groups.var(1, keepdims=True)
    normal = np.maximum((groups - mean) / np.sqrt(var + 1e-5), 0).reshape(8, 6)
    last = jax.tree.map(np.asarray, params["fc_3"])
    expected = normal @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(
        moved["batch_stats"]["fc_1"]["mean"], 0.1 * hidden.mean(0), rtol=1e-4, atol=1e-6
    )
