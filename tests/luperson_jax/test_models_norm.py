"""Grouped batch normalization: groups, running statistics, freezing, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.models.norm import GroupedBatchNorm, InstanceBatchNorm, InstanceNorm

SHAPE = (8, 3, 2, 5)
GROUP = 4


@pytest.fixture
def images() -> jax.Array:
    noise = np.random.default_rng(0).normal(size=SHAPE)
    return jnp.asarray(noise * np.arange(1, 6) + 3 * np.arange(8)[:, None, None, None], np.float32)


@pytest.fixture
def variables() -> dict:
    """Parameters and running statistics that are all different from their start."""
    rng = np.random.default_rng(1)
    draw = lambda low: jnp.asarray(rng.uniform(low, low + 1, 5), jnp.float32)  # noqa: E731
    return {
        "params": {"scale": draw(0.5), "bias": draw(-0.5)},
        "batch_stats": {"mean": draw(-0.5), "var": draw(0.5)},
    }


def train(module, variables, x, **mode):
    y, updated = module.apply(variables, x, train=True, mutable=["batch_stats"], **mode)
    return y, updated["batch_stats"]


def numpy_twin(x, variables, group_size, momentum=0.1, epsilon=1e-5):
    """Each group on its own in float64; PyTorch's running statistics averaged over the groups."""
    params = jax.tree.map(np.float64, variables["params"])
    stats = jax.tree.map(np.float64, variables["batch_stats"])
    outputs, means, variances = [], [], []
    for start in range(0, len(x), group_size):
        group = np.float64(x[start : start + group_size])
        values = group.reshape(-1, group.shape[-1])
        mean, var = values.mean(0), values.var(0)
        outputs.append((group - mean) / np.sqrt(var + epsilon) * params["scale"] + params["bias"])
        means.append(mean)
        variances.append(values.var(0, ddof=1))
    running = {
        "mean": (1 - momentum) * stats["mean"] + momentum * np.mean(means, 0),
        "var": (1 - momentum) * stats["var"] + momentum * np.mean(variances, 0),
    }
    return np.concatenate(outputs), running


@pytest.mark.parametrize("group_size", [0, 1, 2, 4, 8])
def test_equals_numpy_twin(images, variables, group_size):
    y, stats = train(GroupedBatchNorm(group_size), variables, images)
    expected, expected_stats = numpy_twin(np.asarray(images), variables, group_size or 8)
    np.testing.assert_allclose(y, expected, atol=2e-6)
    np.testing.assert_allclose(stats["mean"], expected_stats["mean"], rtol=1e-6)
    np.testing.assert_allclose(stats["var"], expected_stats["var"], rtol=1e-6)


def test_a_group_does_not_see_the_others(images, variables):
    module = GroupedBatchNorm(GROUP)
    before, _ = train(module, variables, images)
    after, _ = train(module, variables, images.at[GROUP:].multiply(-7.0))
    np.testing.assert_array_equal(before[:GROUP], after[:GROUP])
    assert not np.allclose(before[GROUP:], after[GROUP:])


@pytest.mark.parametrize("momentum", [0.1, 0.5])
def test_running_variance_is_unbiased(momentum):
    """The neck sees one value an image: n/(n-1) is then far from 1."""
    x = jnp.asarray([[0.0], [1.0], [2.0], [5.0]])
    module = GroupedBatchNorm(momentum=momentum)
    variables = module.init(jax.random.key(0), x, train=False)
    _, stats = train(module, variables, x)
    np.testing.assert_allclose(stats["var"], (1 - momentum) + momentum * 14 / 3, rtol=1e-6)
    np.testing.assert_allclose(stats["mean"], momentum * 2.0, rtol=1e-6)


def test_variance_survives_a_large_mean(images, variables):
    """E[x^2] - E[x]^2 would lose every digit here."""
    shifted = images - images.mean((0, 1, 2), keepdims=True) + 4096.0
    _, expected = numpy_twin(np.asarray(shifted), variables, 8)
    _, stats = train(GroupedBatchNorm(), variables, shifted)
    np.testing.assert_allclose(stats["var"], expected["var"], rtol=1e-5)


def test_evaluation_uses_running_statistics_for_any_batch(images, variables):
    stats, params = variables["batch_stats"], variables["params"]
    y = GroupedBatchNorm(GROUP).apply(variables, images[:3], train=False)
    expected = (images[:3] - np.asarray(stats["mean"])[None, None, None]) / np.sqrt(
        np.asarray(stats["var"]) + 1e-5
    )[None, None, None]
    expected = expected * np.asarray(params["scale"])[None, None, None]
    np.testing.assert_allclose(y, expected + np.asarray(params["bias"])[None, None, None], 1e-5)


@pytest.mark.parametrize("traced", [False, True])
def test_frozen_is_evaluation_with_its_gradient(images, variables, traced):
    module = GroupedBatchNorm(GROUP)

    def loss(params, x, mode):
        tree = {"params": params, "batch_stats": variables["batch_stats"]}
        if mode == "eval":
            y, stats = module.apply(tree, x, train=False), tree["batch_stats"]
        else:
            y, stats = train(module, tree, x, frozen=mode)
        return jnp.sum(jnp.sin(y)), (y, stats)

    gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    wanted = gradient(variables["params"], images, "eval")
    if traced:
        step = jax.jit(gradient)
        got = step(variables["params"], images, jnp.bool_(True))
        live = step(variables["params"], images, jnp.bool_(False))
        assert step._cache_size() == 1
        assert not np.allclose(live[0][1][0], got[0][1][0]), "the flag must do something"
        assert not np.allclose(live[0][1][1]["mean"], got[0][1][1]["mean"])
    else:
        got = gradient(variables["params"], images, True)
    jax.tree.map(np.testing.assert_array_equal, got[0][1][1], variables["batch_stats"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-5), got, wanted)


def test_gradient_of_a_normalized_group_sums_to_zero(images, variables):
    """A shift common to a group has no effect on it."""
    module = GroupedBatchNorm(GROUP)
    weight = jnp.asarray(np.random.default_rng(2).normal(size=SHAPE), jnp.float32)
    gradient = jax.grad(lambda x: jnp.sum(train(module, variables, x)[0] * weight))(images)
    np.testing.assert_allclose(gradient.reshape(2, -1, 5).sum(1), np.zeros((2, 5)), atol=1e-5)
    assert float(jnp.abs(gradient).max()) > 1e-2


@pytest.mark.parametrize("group_size", [0, 2, 4])
@pytest.mark.parametrize("num_devices", [1, 2])
def test_devices_do_not_change_the_result(images, variables, group_size, num_devices):
    """With group_size 0 a group spans the devices; with 2 and 4 it lies on one of them."""
    module = GroupedBatchNorm(group_size)
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh(
        (num_devices,), ("data",), axis_types=auto, devices=jax.devices()[:num_devices]
    )
    sharding = jax.NamedSharding(mesh, jax.P("data"))
    weight = jnp.asarray(np.random.default_rng(2).normal(size=SHAPE), jnp.float32)

    def loss(x):
        y, stats = train(module, variables, x)
        return jnp.sum(y * weight), (y, stats)

    step = jax.value_and_grad(loss, has_aux=True)
    sharded = jax.jit(step)(jax.device_put(images, sharding))
    single = step(images)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-5), sharded, single)


@pytest.mark.parametrize("batch", [6, 2])
def test_a_batch_that_is_no_multiple_is_refused(images, variables, batch):
    with pytest.raises(ValueError, match="bn_group_size is 4, the batch has"):
        train(GroupedBatchNorm(GROUP), variables, images[:batch])


def test_a_group_of_one_value_is_refused(images, variables):
    with pytest.raises(ValueError, match="one value per channel"):
        train(GroupedBatchNorm(1), variables, images[:, 0, 0])


def test_bfloat16_input_has_float32_statistics(images, variables):
    half = images.astype(jnp.bfloat16)
    y, stats = train(GroupedBatchNorm(GROUP), variables, half)
    full, full_stats = train(GroupedBatchNorm(GROUP), variables, half.astype(jnp.float32))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, full.astype(jnp.bfloat16))
    jax.tree.map(np.testing.assert_array_equal, stats, full_stats)
    assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {jnp.dtype("float32")}


def test_frozen_bias_has_no_gradient(images, variables):
    def gradient(freeze_bias):
        module = GroupedBatchNorm(freeze_bias=freeze_bias)
        tree = {"batch_stats": variables["batch_stats"]}
        return jax.grad(lambda p: jnp.sum(train(module, {"params": p, **tree}, images)[0]))(
            variables["params"]
        )

    np.testing.assert_array_equal(gradient(True)["bias"], np.zeros(5, np.float32))
    np.testing.assert_allclose(gradient(False)["bias"], np.full(5, 48.0), rtol=1e-6)


def test_instance_norm_forgets_the_contrast_of_an_image(images):
    module = InstanceNorm()
    variables = module.init(jax.random.key(0), images)
    contrast = jnp.arange(1.0, 9.0)[:, None, None, None]
    y = module.apply(variables, images * 100)
    np.testing.assert_allclose(y, module.apply(variables, images * 100 * contrast + 5.0), atol=1e-3)
    np.testing.assert_allclose(np.asarray(y).mean((1, 2)), np.zeros((8, 5)), atol=1e-5)
    np.testing.assert_allclose(np.asarray(y).std((1, 2)), np.ones((8, 5)), atol=1e-3)


def test_instance_norm_equals_numpy_where_epsilon_matters(images):
    x = 0.003 * images
    y = InstanceNorm().apply({"params": {"scale": jnp.full(5, 2.0), "bias": jnp.full(5, 3.0)}}, x)
    x = np.float64(x)
    centered = x - x.mean((1, 2), keepdims=True)
    expected = 2 * centered / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5) + 3
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_instance_batch_norm_halves_the_channels(images):
    module = InstanceBatchNorm(GROUP)
    variables = module.init(jax.random.key(0), images, train=False)
    y, stats = train(module, variables, images)
    bn = {name: tree["BN"] for name, tree in variables.items()}
    batch_half, batch_stats = train(GroupedBatchNorm(GROUP), bn, images[..., 2:])
    instance_half = InstanceNorm().apply({"params": variables["params"]["IN"]}, images[..., :2])
    np.testing.assert_array_equal(y[..., :2], instance_half)
    np.testing.assert_array_equal(y[..., 2:], batch_half)
    jax.tree.map(np.testing.assert_array_equal, stats, {"BN": batch_stats})
