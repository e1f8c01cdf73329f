"""LARS and the schedules per epoch, against values of LUPerson-NL's own code."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_pipeline.errors import InputError
from luperson_jax import config, optim, tasks
from luperson_jax.config import OptimConfig

EXCLUDED = r"bn|bias|downsample\.1"


@pytest.mark.parametrize("decay", ["wd1e-4", "wd0.1"])
@pytest.mark.parametrize("twice", [True, False])
def test_lars_is_the_reference(golden, decay, twice):
    """Convolutions, norms inside and outside of a head, a leaf that starts at zero, one without
    gradient; with the decay added twice, and with the first of the two left out."""
    stored = np.load(golden / "methods" / "lars.npz")
    kind = "original" if twice else "drop_first"
    names, rates = stored[f"{decay}/names"], stored[f"{decay}/lr"]
    # Dots of torch names would be taken for levels of a tree.
    params = {name: jnp.asarray(stored[f"{decay}/p0/{name}"]) for name in names}
    lars = optim.lars(
        lambda count: jnp.asarray(rates, jnp.float32)[count],
        excluded=EXCLUDED,
        momentum=float(stored["momentum"]),
        weight_decay=float(stored[f"{decay}/weight_decay"]),
        trust=float(stored["trust"]),
        eps=float(stored["eps"]),
        decay_twice=twice,
    )
    state, update = lars.init(params), jax.jit(lars.update)
    for step in range(len(rates)):
        gradients = {name: jnp.asarray(stored[f"{decay}/g{step}/{name}"]) for name in names}
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        for name in names:
            expected = stored.get(f"{decay}/{kind}/p{step + 1}/{name}")
            if expected is not None:
                allowed = 3e-6 * np.maximum(1, np.abs(expected))
                assert np.all(np.abs(params[name] - expected) <= allowed), (name, step)
    assert f"{decay}/{kind}/p{len(rates)}/{names[0]}" in stored


@pytest.mark.parametrize(
    "name", ["lup_moco", "simclr", "supcont", "pnl", "mult_below_1", "warm_step"]
)
def test_rates_are_the_reference_to_the_last_bit(golden, name):
    stored = np.load(golden / "methods" / "lr_tables_lup.npz")
    arguments = {
        key.removeprefix(f"{name}__").removesuffix("_arg"): stored[key].tolist()
        for key in stored.files
        if key.startswith(f"{name}__") and key.endswith("_arg")
    }
    options = OptimConfig(
        lr=arguments["lr"],
        peak_multiplier=arguments["lr_mult"],
        warmup_epochs=arguments["warmup_epochs"],
        schedule="cosine_per_epoch" if arguments["cos"] else "step_per_epoch",
        milestones=tuple(arguments["schedule"]),
    )
    rates = _schedule(options, arguments["epochs"])(5 * np.arange(arguments["epochs"]))
    np.testing.assert_array_equal(rates, stored[f"{name}__lr"].astype(np.float32))


def _schedule(options, epochs=20):
    return optim.build(options, {"w": np.zeros(1)}, epochs=epochs, steps_per_epoch=5)[1]


def test_a_held_schedule_keeps_the_rate_of_the_epoch_before():
    plain = _schedule(OptimConfig(lr=1.0))
    held = _schedule(OptimConfig(lr=1.0, hold_lr_from_epoch=7))
    steps = np.arange(100)
    np.testing.assert_array_equal(held(steps), plain(np.minimum(steps, 34)))
    assert held(35) == plain(30) != plain(35)


def test_the_settings_of_lars_reach_it():
    params = {"w": jnp.ones(3)}
    steps = []
    for twice in (True, False):
        options = OptimConfig(
            "lars", lr=1.0, weight_decay=0.5, lars_excluded="none|w0", lars_decay_twice=twice
        )
        both = {**params, "w0": jnp.ones(1)}
        optimizer, _ = optim.build(options, both, epochs=2, steps_per_epoch=5)
        updates, _ = optimizer.update(
            {k: 0.1 * v for k, v in both.items()}, optimizer.init(both), both
        )
        steps.append(float(updates["w"][0]))
    size, first = np.sqrt(3), 0.6
    expected = [-(0.1 + 0.5 * 2) * 0.001 * size / (size * (first + 0.5))]
    expected += [-(0.1 + 0.5) * 0.001 * size / (size * (0.1 + 0.5))]
    np.testing.assert_allclose(steps, expected, rtol=1e-5)


def test_a_multiplied_peak_needs_a_schedule_that_has_one():
    tree = {
        "task": {"name": "identify"},
        "optim": {"schedule": "warmup_multistep", "peak_multiplier": 2.0},
    }
    with pytest.raises(InputError, match=r"optim\.peak_multiplier=2\.0 with warmup_multistep"):
        config.resolve(tree, tasks.OPTIONS)
