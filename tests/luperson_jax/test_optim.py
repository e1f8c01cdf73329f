import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_pipeline.errors import InputError
from luperson_jax import optim, trees

STEPS = 7
"""Steps per epoch of the schedules below."""


def _params():
    generator = np.random.default_rng(0)
    return {
        "backbone": {
            "conv": {"kernel": _leaf(generator, 3, 2)},
            "bn": {"bias": _leaf(generator, 2)},
        },
        "head": {"kernel": _leaf(generator, 2, 4), "bias": _leaf(generator, 4)},
    }


def _leaf(generator, *shape):
    return jnp.asarray(generator.standard_normal(shape), jnp.float32)


def _gradients(params, step):
    leaves, structure = jax.tree.flatten(params)
    generator = np.random.default_rng(100 + step)
    return structure.unflatten([_leaf(generator, *leaf.shape) for leaf in leaves])


def _run(transformation, params, num_steps):
    """Parameters before the first and after every step."""
    state, history = transformation.init(params), [params]
    step = jax.jit(transformation.update)
    for number in range(num_steps):
        updates, state = step(_gradients(params, number), state, params)
        params = optax.apply_updates(params, updates)
        history.append(params)
    return history, state


# Schedules: the tables of the published runs


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.3), (100, 0.15), (199, 1.85e-5)])
def test_moco_rates(epoch, rate):
    schedule = optim.cosine_per_epoch(0.3, 200, STEPS)
    for step in (epoch * STEPS, epoch * STEPS + STEPS - 1):
        np.testing.assert_allclose(schedule(step), rate, rtol=2e-3)
    if epoch:
        assert schedule(epoch * STEPS - 1) > schedule(epoch * STEPS)


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.3), (5, 1.35), (9, 2.19), (10, 2.385)])
def test_simclr_rates(epoch, rate):
    schedule = optim.cosine_per_epoch(0.3, 200, STEPS, warmup_epochs=10, peak_multiplier=8.0)
    for step in (epoch * STEPS, epoch * STEPS + STEPS - 1):
        np.testing.assert_allclose(schedule(step), rate, rtol=1e-4)


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.4), (39, 0.4), (40, 0.04), (80, 0.004)])
def test_pnl_rates(epoch, rate):
    schedule = optim.step_per_epoch(0.4, (40, 80), 0.1, STEPS)
    for step in (epoch * STEPS, epoch * STEPS + STEPS - 1):
        np.testing.assert_allclose(schedule(step), rate, rtol=1e-6)


def test_step_schedule_warms_up_to_the_multiplied_rate():
    schedule = optim.step_per_epoch(0.1, (4,), 0.5, STEPS, warmup_epochs=2, peak_multiplier=3.0)
    rates = [float(schedule(epoch * STEPS)) for epoch in range(5)]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.3, 0.15], rtol=1e-6)


def test_sbs_rates_on_market():
    epoch = 202
    schedule = optim.flat_cosine(
        3.5e-4, flat_until=30 * epoch, total_steps=60 * epoch, final=7.7e-7, warmup_steps=10 * epoch
    )
    expected = {
        0: 3.5e-6,
        5 * epoch: 3.5e-4 * 0.505,
        10 * epoch: 3.5e-4,
        30 * epoch: 3.5e-4,
        45 * epoch: (3.5e-4 + 7.7e-7) / 2,
        60 * epoch: 7.7e-7,
        70 * epoch: 7.7e-7,
    }
    for step, rate in expected.items():
        np.testing.assert_allclose(schedule(step), rate, rtol=1e-4, err_msg=str(step))


def test_bot_rates():
    epoch = 10
    schedule = optim.warmup_multistep(3.5e-4, (40 * epoch, 90 * epoch), 0.1, 10 * epoch)
    expected = {0: 0.01, 1: 0.0199, 50: 0.505, 100: 1, 399: 1, 400: 0.1, 899: 0.1, 900: 0.01}
    for step, share in expected.items():
        np.testing.assert_allclose(schedule(step), 3.5e-4 * share, rtol=1e-5, err_msg=str(step))
    np.testing.assert_allclose(optim.warmup_multistep(0.1, (), 0.5)(3), 0.1)


def test_schedules_run_inside_jit_with_the_optimizer_counter():
    for schedule in (
        optim.cosine_per_epoch(0.3, 20, STEPS, warmup_epochs=2, peak_multiplier=2.0),
        optim.step_per_epoch(0.3, (3,), 0.1, STEPS),
        optim.warmup_multistep(0.3, (30,), 0.1, 10),
        optim.flat_cosine(0.3, flat_until=20, total_steps=40, final=0.1, warmup_steps=10),
    ):
        for step in (0, 9, 33):
            result = jax.jit(schedule)(jnp.int32(step))
            assert result.dtype == jnp.float32
            np.testing.assert_allclose(result, schedule(step), rtol=1e-6)


# Optimizers


def _sgd_twin(parameter, gradients, rates, momentum, decay, nesterov):
    buffer = np.zeros_like(parameter)
    for gradient, rate in zip(gradients, rates, strict=True):
        gradient = gradient + decay * parameter
        buffer = momentum * buffer + gradient
        parameter = parameter - rate * (gradient + momentum * buffer if nesterov else buffer)
    return parameter


def _adam_twin(parameter, gradients, rates, decay):
    first = second = np.zeros_like(parameter)
    for number, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        gradient = gradient + decay * parameter
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        root = np.sqrt(second / (1 - 0.999**number))
        parameter = parameter - rate * first / (1 - 0.9**number) / (root + 1e-8)
    return parameter


def _lars_twin(parameter, gradients, rates, decay, twice):
    buffer = np.zeros_like(parameter)
    for gradient, rate in zip(gradients, rates, strict=True):
        gradient = gradient + decay * parameter if twice else gradient
        size = np.linalg.norm(parameter)
        trust = 0.001 * size / (np.linalg.norm(gradient) + decay * size + 1e-8)
        buffer = 0.9 * buffer + (gradient + decay * parameter) * trust
        parameter = parameter - rate * buffer
    return parameter


def _assert_equals_twin(transformation, twin, schedule, path, rtol=1e-5):
    params, num_steps = _params(), 12
    result = _run(transformation, params, num_steps)[0][-1]
    index = trees.path_names(params).index(path)

    def leaf(tree):
        return np.asarray(jax.tree.leaves(tree)[index], np.float64)

    gradients = [leaf(_gradients(params, step)) for step in range(num_steps)]
    rates = [float(schedule(step)) for step in range(num_steps)]
    np.testing.assert_allclose(leaf(result), twin(leaf(params), gradients, rates), rtol, 1e-6)


SCHEDULE = optim.warmup_multistep(0.1, (8,), 0.1, 4)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_equals_the_loop(nesterov):
    twin = functools.partial(_sgd_twin, momentum=0.9, decay=0.05, nesterov=nesterov)
    sgd = optim.sgd(SCHEDULE, weight_decay=0.05, nesterov=nesterov)
    for path in ("head/kernel", "backbone/bn/bias"):
        _assert_equals_twin(sgd, twin, SCHEDULE, path)


def test_adam_equals_the_loop():
    adam = optim.adam(SCHEDULE, weight_decay=0.05)
    _assert_equals_twin(adam, functools.partial(_adam_twin, decay=0.05), SCHEDULE, "head/bias")


@pytest.mark.parametrize("twice", [True, False])
def test_lars_equals_the_loop(twice):
    def schedule(count):
        return 100.0 * SCHEDULE(count)  # rates at which the trust ratio moves anything

    lars = optim.lars(schedule, excluded="bias", weight_decay=0.2, decay_twice=twice)
    twin = functools.partial(_lars_twin, decay=0.2, twice=twice)
    _assert_equals_twin(lars, twin, schedule, "head/kernel")
    plain = functools.partial(_sgd_twin, momentum=0.9, decay=0.0, nesterov=False)
    _assert_equals_twin(lars, plain, schedule, "head/bias")


def test_lars_takes_a_plain_step_from_zero():
    lars = optim.lars(1.0, excluded="bias", weight_decay=0.0)
    params = {"kernel": jnp.zeros(3), "bias": jnp.ones(1)}
    gradients = {"kernel": jnp.ones(3), "bias": jnp.ones(1)}
    updates, _ = lars.update(gradients, lars.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -1)


# Rules by path


def test_paths_are_keys_joined_by_slashes():
    tree = {"b": [jnp.zeros(1), jnp.zeros(1)], "a": {"kernel": jnp.zeros(1)}}
    assert trees.path_names(tree) == ["a/kernel", "b/0", "b/1"]
    named = trees.map_with_path(lambda path, x, y: (path, x is y), tree, tree)
    assert named["b"][1] == ("b/1", True)
    assert trees.match_paths(tree, r"^b/|kern") == {"a": {"kernel": True}, "b": [True, True]}
    assert trees.match_paths(tree, "1$") == {"a": {"kernel": False}, "b": [False, True]}


def test_a_pattern_that_matches_nothing_lists_the_paths():
    with pytest.raises(InputError, match=r"'backbon3'[\s\S]*backbone/conv/kernel"):
        trees.match_paths(_params(), "backbon3")
    with pytest.raises(InputError, match="not a regular expression"):
        trees.match_paths(_params(), "head(")
    with pytest.raises(InputError, match="and 10 more"):
        trees.match_paths([jnp.zeros(1)] * 50, "x")


def test_multipliers_scale_the_rate_of_the_leaves_they_name():
    params = _params()
    plain = optim.adam(SCHEDULE, weight_decay=0.05)
    rules = (("bias$", 2.0), ("^head/", 0.5))
    scaled = optax.chain(plain, optim.per_path_multiplier(params, rules))
    gradients = _gradients(params, 0)
    before, _ = plain.update(gradients, plain.init(params), params)
    after, _ = scaled.update(gradients, scaled.init(params), params)
    ratio = jax.tree.map(lambda x, y: np.asarray(x / y), after, before)
    np.testing.assert_allclose(ratio["backbone"]["conv"]["kernel"], 1)
    np.testing.assert_allclose(ratio["backbone"]["bn"]["bias"], 2)
    np.testing.assert_allclose(ratio["head"]["kernel"], 0.5)
    np.testing.assert_allclose(ratio["head"]["bias"], 1)
    with pytest.raises(InputError, match="'nose'"):
        optim.per_path_multiplier(params, (("bias", 2.0), ("nose", 3.0)))


@pytest.mark.parametrize("factory", [optim.adam, optim.sgd])
def test_frozen_leaves_wait_and_then_start_afresh_at_the_current_rate(factory):
    params, frozen_steps, num_steps = _params(), 5, 11
    make = functools.partial(factory, weight_decay=0.05)
    frozen = optim.frozen_until(make, SCHEDULE, params, "^backbone/", frozen_steps)
    history, _ = _run(frozen, params, num_steps)
    free_history, _ = _run(make(SCHEDULE), params, num_steps)

    for step in range(num_steps + 1):
        jax.tree.map(
            lambda x, y: np.testing.assert_array_equal(x, y),
            history[step]["head"],
            free_history[step]["head"],
        )
    for step in range(1, frozen_steps + 1):
        kernel = history[step]["backbone"]["conv"]["kernel"]
        np.testing.assert_array_equal(kernel, params["backbone"]["conv"]["kernel"])

    # From there on: a new optimizer that sees only the later gradients and the later rates.
    late = make(lambda count: SCHEDULE(count + frozen_steps))
    state, backbone = late.init(params["backbone"]), params["backbone"]
    for step in range(frozen_steps, num_steps):
        gradients = _gradients(params, step)["backbone"]
        updates, state = late.update(gradients, state, backbone)
        backbone = optax.apply_updates(backbone, updates)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7),
        history[num_steps]["backbone"],
        backbone,
    )
    assert not np.allclose(backbone["bn"]["bias"], params["backbone"]["bn"]["bias"], atol=1e-3)


def test_moments_and_counter_of_frozen_leaves_do_not_move():
    params = _params()
    frozen = optim.frozen_until(optim.adam, SCHEDULE, params, "^backbone/", 3)
    _, state = _run(frozen, params, 3)
    inner = state.inner_states["frozen"].inner_state.inner_state[1]
    assert inner.count == 0
    assert all(not np.any(leaf) for leaf in jax.tree.leaves((inner.mu, inner.nu)))
    assert state.inner_states["free"].inner_state[1].count == 3


def test_freezing_composes_with_multipliers():
    params = _params()
    make = functools.partial(optim.adam, weight_decay=5e-4)
    chained = optax.chain(
        optim.frozen_until(make, SCHEDULE, params, "^backbone/", 2),
        optim.per_path_multiplier(params, (("bias$", 2.0),)),
    )
    history, _ = _run(chained, params, 3)
    start, frozen, thawed = (history[i]["backbone"]["bn"]["bias"] for i in (0, 2, 3))
    np.testing.assert_array_equal(start, frozen)
    # The first step of Adam is the rate itself, whatever the gradient.
    np.testing.assert_allclose(abs(thawed - frozen), 2 * SCHEDULE(2), rtol=1e-4)


def test_a_misspelt_group_to_freeze_is_an_error():
    with pytest.raises(InputError, match=r"'\^trunk'"):
        optim.frozen_until(optim.sgd, SCHEDULE, _params(), "^trunk", 3)


def test_cosine_ends_at_zero_and_stays_there():
    schedule = optim.cosine_per_epoch(0.3, 10, STEPS)
    assert math.isclose(schedule(10 * STEPS), 0, abs_tol=1e-7)
    assert math.isclose(schedule(15 * STEPS), 0, abs_tol=1e-7)
