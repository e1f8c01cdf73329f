"""RMSProp and Nesterov's momentum, against eight steps of TensorFlow 1."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from luperson_jax import optim


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
