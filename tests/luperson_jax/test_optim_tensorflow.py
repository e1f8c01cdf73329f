"""RMSProp and Nesterov's momentum, against eight steps of TensorFlow 1."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from luperson_jax import config, optim, tasks
from luperson_jax.optim.averaging import Averaging


@pytest.mark.parametrize("name", ["rmsprop", "nesterov"])
def test_steps_are_those_of_tensorflow(golden, name):
    stored = np.load(golden / "methods" / "tf_optimisers.npz")
    rates = jnp.asarray(stored[f"{name}_lr"])
    options = {"momentum": float(stored["momentum"]), "clip_value": float(stored["clip"])}
    make = optim.rmsprop if name == "rmsprop" else optim.sgd
    if name == "nesterov":
        options["nesterov"] = True
    optimizer = make(lambda count: rates[count], **options)
    params = {"w": jnp.asarray(stored["w0"])}
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for gradient, expected in zip(stored["grads"], stored[f"{name}_w"], strict=True):
        updates, state = update({"w": jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["w"], expected, rtol=0, atol=3e-6)
    assert np.abs(stored["grads"]).max() > options["clip_value"]


def test_entries_are_cut_after_the_decay():
    params = {"w": jnp.array([3.0, -3.0])}
    optimizer = optim.sgd(1.0, momentum=0.0, weight_decay=0.5, clip_value=2.0)
    updates, _ = optimizer.update({"w": jnp.array([1.0, 1.0])}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], [-2.0, 0.5])


@pytest.mark.parametrize("name", ["rmsprop", "nesterov"])
def test_the_average_is_that_of_tensorflow(golden, name):
    stored = np.load(golden / "methods" / "tf_optimisers.npz")
    averaging = Averaging("ema", float(stored["ema_decay"]))
    params = {"w": jnp.asarray(stored["w0"])}
    average = averaging.begin(params, {"stats": {}})
    pairs = zip(stored[f"{name}_w"], stored[f"{name}_ema"], strict=True)
    for step, (weights, expected) in enumerate(pairs, start=1):
        new = {"w": jnp.asarray(weights)}
        average = averaging.advance(average, new, {"stats": {}}, jnp.int32(step))
        np.testing.assert_allclose(average["params"]["w"], expected, rtol=0, atol=3e-6)


def test_rates_are_those_of_the_authors_but_for_a_step_at_a_milestone(golden):
    """Their steps of an epoch are no whole number; ours are."""
    stored = np.load(golden / "methods" / "tf_optimisers.npz")
    tree = config.read("upmnet:data=prid2011", options=tasks.OPTIONS)
    recipe = config.resolve(tree, tasks.OPTIONS)
    steps = int(stored["exp_samples"]) // recipe.data.batch_size
    _, schedule = optim.build(
        recipe.optim, {"bias": jnp.zeros(2)}, epochs=recipe.train.epochs, steps_per_epoch=steps
    )
    found = [float(schedule(step)) for step in stored["exp_steps"]]
    np.testing.assert_allclose(found, stored["exp_lr"], rtol=1e-6)
