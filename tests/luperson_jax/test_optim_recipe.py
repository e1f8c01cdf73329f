"""What the settings of the group `optim` come to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_pipeline.errors import InputError
from luperson_jax import models, optim, trees
from luperson_jax.config import OptimConfig
from tests.helpers import assert_trees_equal

STEPS = 5
"""Steps per epoch."""

MARKET = 202
"""Steps per epoch on Market-1501, 64 images each."""

SBS = OptimConfig(
    optimizer="adam",
    lr=3.5e-4,
    weight_decay=5e-4,
    schedule="flat_cosine",
    warmup_epochs=10,
    flat_epochs=30,
    final_lr=7.7e-7,
)

BOT = dataclasses.replace(SBS, schedule="warmup_multistep", milestones=(40, 90))


def leaf(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


PARAMS = {
    "backbone": {"conv1": {"kernel": leaf(0, 3, 2)}, "bn1": {"bias": leaf(1, 2)}},
    "b1": {"kernel": leaf(2, 2)},
    "b1_head": {"bn": {"scale": leaf(3, 2)}, "pool": {"p": leaf(4)}},
    "classifier": {"b1": {"kernel": leaf(5, 2, 4)}},
}


def gradients(step):
    leaves, structure = jax.tree.flatten(PARAMS)
    return structure.unflatten([leaf(100 * step + i, *x.shape) for i, x in enumerate(leaves)])


def build(options, epochs=4):
    return optim.build(options, PARAMS, epochs=epochs, steps_per_epoch=STEPS)


def run(options, num_steps, first_gradient=0):
    """Parameters before the first and after every step."""
    optimizer, _ = build(options)
    state, params, history = optimizer.init(PARAMS), PARAMS, [PARAMS]
    update = jax.jit(optimizer.update)
    for step in range(num_steps):
        updates, state = update(gradients(first_gradient + step), state, params)
        params = optax.apply_updates(params, updates)
        history.append(params)
    return history


def rates(options, epochs):
    _, schedule = optim.build(options, PARAMS, epochs=epochs, steps_per_epoch=MARKET)
    return lambda epoch: float(schedule(round(epoch * MARKET)))


def test_sbs_and_mgn_warm_up_stay_and_fall():
    rate = rates(SBS, 60)
    expected = {0: 3.5e-6, 5: 1.7675e-4, 10: 3.5e-4, 20: 3.5e-4, 30: 3.5e-4, 60: 7.7e-7}
    for epoch, value in expected.items():
        np.testing.assert_allclose(rate(epoch), value, rtol=1e-4, err_msg=str(epoch))
    np.testing.assert_allclose(rate(45), (3.5e-4 + 7.7e-7) / 2, rtol=1e-4)
    assert rate(30) > rate(30 + 2 / MARKET) > rate(30 + 4 / MARKET)


def test_bot_falls_at_its_milestones():
    rate = rates(BOT, 120)
    expected = {0: 3.5e-6, 10: 3.5e-4, 39.99: 3.5e-4, 40: 3.5e-5, 89.99: 3.5e-5, 90: 3.5e-6}
    for epoch, value in expected.items():
        np.testing.assert_allclose(rate(epoch), value, rtol=1e-4, err_msg=str(epoch))


def test_what_stands_still_is_one_step_longer_than_its_epochs():
    assert optim.num_frozen_steps(OptimConfig(freeze_epochs=0), MARKET) == 0
    assert optim.num_frozen_steps(OptimConfig(freeze_epochs=10), MARKET) == 2021
    assert optim.num_frozen_steps(OptimConfig(freeze_steps=1000), MARKET) == 1000


def test_a_warm_up_longer_than_the_run_is_named():
    options = dataclasses.replace(SBS, warmup_epochs=0, warmup_steps=2000)
    optim.build(options, PARAMS, epochs=60, steps_per_epoch=MARKET)
    with pytest.raises(InputError, match=r"optim.warmup_steps=2000 is more than the 330 steps"):
        optim.build(options, PARAMS, epochs=60, steps_per_epoch=11)


def test_frozen_parts_move_in_the_step_after_and_their_namesakes_meanwhile():
    """`b1` and not `b1_head`."""
    options = OptimConfig(
        "adam", lr=1e-2, warmup_epochs=0, freeze=("^backbone/", "^b1/"), freeze_epochs=1
    )
    history = run(options, STEPS + 2)
    for name in ("backbone", "b1"):
        for params in history[: STEPS + 2]:
            assert_trees_equal(params[name], PARAMS[name])
        moved = jax.tree.map(lambda x, y: jnp.all(x != y), history[-1][name], PARAMS[name])
        assert all(jax.tree.leaves(moved))
    assert np.all(history[1]["b1_head"]["bn"]["scale"] != PARAMS["b1_head"]["bn"]["scale"])


def test_a_part_that_does_not_exist_is_named():
    with pytest.raises(InputError, match="'backbon/'"):
        build(OptimConfig(freeze=("backbon/",), freeze_epochs=1))


def test_the_rate_of_heads_reaches_every_head_and_nothing_else():
    plain = run(OptimConfig("adam", lr=1e-2), 1)[1]
    scaled = run(OptimConfig("adam", lr=1e-2, lr_factors=((optim.HEADS, 4.0),)), 1)[1]
    for path, start, one, four in zip(
        trees.path_names(PARAMS), *map(jax.tree.leaves, (PARAMS, plain, scaled)), strict=True
    ):
        factor = 4 if path.split("/")[0] in ("b1_head", "classifier") else 1
        np.testing.assert_allclose(four - start, factor * (one - start), rtol=1e-4, err_msg=path)


@pytest.mark.parametrize(
    "network",
    [
        models.ReidNet(models.resnet("resnet18", width=8), "gem_learned", True, 16),
        models.MocoEncoder(models.resnet("resnet18", width=8), "gem_learned"),
        models.MGN(models.resnet("resnet18", width=8), extra_bn=True),
    ],
    ids=lambda network: type(network).__name__,
)
def test_every_part_of_a_network_is_trunk_or_head(network):
    params, _ = jax.eval_shape(
        lambda: models.init(network, jax.random.key(0), jnp.zeros((1, 96, 32, 3)))
    )
    heads = trees.match_paths(params, optim.HEADS)
    trunk = {"backbone", "b1", "b2", "b3"}
    for name in params:
        is_head = name not in trunk and not name.startswith("extra_bn")
        assert jax.tree.leaves(heads[name]) == [is_head] * len(jax.tree.leaves(params[name])), name


def test_lars_leaves_normalization_and_exponents_to_plain_sgd():
    history = run(OptimConfig("lars", lr=1.0, weight_decay=0.5), 1)
    moves = jax.tree.map(lambda old, new: old - new, PARAMS, history[1])
    for path, move, gradient in zip(
        trees.path_names(PARAMS), *map(jax.tree.leaves, (moves, gradients(0))), strict=True
    ):
        is_plain = path.rpartition("/")[2] in ("scale", "bias", "p")
        assert np.allclose(move, gradient, rtol=1e-4) == is_plain, path
    with pytest.raises(InputError, match="'nothing'"):
        build(OptimConfig("lars", lars_excluded="nothing"))
