"""Averages of the weights against plain loops, and who uses them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import config
from luperson_jax.optim import averaging
from luperson_jax.optim.averaging import Averaging
from luperson_jax.structs import TrainState
from tests.helpers import assert_trees_equal

STEPS = 4
"""Steps per epoch."""


def weights(step):
    generator = np.random.default_rng(step)
    params = {"kernel": generator.standard_normal((3, 2)), "bias": generator.standard_normal(2)}
    stats = {"bn": {"mean": generator.standard_normal(2)}}
    params, stats = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (params, stats))
    return params, {"stats": stats, "queue": jnp.zeros(7)}


def follow(one, num_steps):
    """The averages before the first and after every step; those of step n are `weights(n)`."""
    history = [one.begin(*weights(0))]
    advance = jax.jit(one.advance)
    for step in range(1, num_steps + 1):
        history.append(advance(history[-1], *weights(step), jnp.int32(step)))
    return history


def kernels(num_steps):
    return np.stack([np.asarray(weights(step)[0]["kernel"]) for step in range(num_steps + 1)])


def test_exponential_average_equals_the_loop():
    history = follow(Averaging("ema", 0.5), 12)
    expected = kernels(12)
    mean = expected[0]
    for step in range(1, 13):
        keep = min(0.5, (step + 1) / (step + 10))
        mean = keep * mean + (1 - keep) * expected[step]
        np.testing.assert_allclose(history[step]["params"]["kernel"], mean, rtol=1e-5, atol=1e-6)
    assert [int(average["count"]) for average in history] == [*range(13)]


def test_an_average_that_keeps_nothing_is_the_weights_and_their_statistics():
    last = follow(Averaging("ema", 0.0), 3)[-1]
    params, extra = weights(3)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
        {name: last[name] for name in ("params", "stats")},
        {"params": params, "stats": extra["stats"]},
    )


def test_weight_averaging_is_the_mean_of_the_ends_of_late_epochs():
    train = config.TrainConfig(epochs=5, average="swa", swa_start_epoch=2)
    history = follow(Averaging.build(train, STEPS), 5 * STEPS)
    assert [int(average["count"]) for average in history[::STEPS]] == [0, 0, 0, 1, 2, 3]
    assert_trees_equal(history[3 * STEPS - 1], history[0])
    ends = kernels(5 * STEPS)[[3 * STEPS, 4 * STEPS, 5 * STEPS]]
    for number in (1, 2, 3):
        found = history[(2 + number) * STEPS]
        np.testing.assert_allclose(
            found["params"]["kernel"], ends[:number].mean(axis=0), rtol=1e-5, atol=1e-6
        )
    statistics = [np.asarray(weights(step * STEPS)[1]["stats"]["bn"]["mean"]) for step in (3, 4, 5)]
    np.testing.assert_allclose(
        history[-1]["stats"]["bn"]["mean"], np.mean(statistics, axis=0), rtol=1e-5, atol=1e-6
    )


def test_nothing_is_kept_where_nothing_is_averaged():
    off = Averaging.build(config.TrainConfig(), STEPS)
    assert follow(off, 2) == [{}, {}, {}]


def test_the_average_stands_for_the_weights_once_it_has_begun():
    params, extra = weights(9)
    history = follow(Averaging("swa", period=2), 2)
    state = TrainState(jnp.int32(1), params, extra, {}, None, history[1])
    assert averaging.averaged(state) is state
    off = dataclasses.replace(state, average={})
    assert averaging.averaged(off) is off
    used = averaging.averaged(dataclasses.replace(state, average=history[2]))
    assert_trees_equal(used.params, history[2]["params"])
    assert_trees_equal(used.extra, {**extra, "stats": history[2]["stats"]})


def test_a_checkpoint_without_an_average_says_so():
    params, extra = weights(0)
    tree = {"step": jnp.int32(7), "params": params, "extra": extra}
    with pytest.raises(InputError, match="runs/a keeps no average of its weights at step 7"):
        averaging.of_checkpoint(tree, "runs/a")
    history = follow(Averaging("swa", period=2), 2)
    with pytest.raises(InputError, match="has not begun to average"):
        averaging.of_checkpoint({**tree, "average": history[1]}, "runs/a")
    found = averaging.of_checkpoint({**tree, "average": history[2]}, "runs/a")
    assert_trees_equal(found["params"], history[2]["params"])
    assert_trees_equal(found["extra"]["stats"], history[2]["stats"])
