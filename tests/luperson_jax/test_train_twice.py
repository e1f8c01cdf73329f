"""One run, twice: interrupted or not, on one device or several; the result is the same."""

import jax
import numpy as np

from data_pipeline.read.loader import Loader
from luperson_jax import sharding, tasks
from luperson_jax.run import setup, states
from tests.helpers import assert_equal_to_rounding, assert_trees_equal, final, run, tiny
from tests.interruptions import cut_short


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, labelled_world):
    """Inside of an epoch; pre-trainings: test_pretraining_runs.py."""
    changes = {"train__average": "ema", "train__ema_decay": 0.9, "train__checkpoint_every_steps": 1}
    changes |= {"optim__micro_batches": 2, "optim__freeze_epochs": 1, "optim__clip_norm": 1.0}
    recipe = tiny("identify", labelled_world, **changes)
    run(recipe, tmp_path / "whole")
    for steps in (1, 2):  # stops inside the first epoch, then again
        with cut_short(steps):
            run(recipe, tmp_path / "pieces")
    run(recipe, tmp_path / "pieces")
    whole, pieces = final(tmp_path / "whole"), final(tmp_path / "pieces")
    assert whole[0] == pieces[0]
    assert_trees_equal(whole[1], pieces[1])
    assert int(whole[1]["average"]["count"]) > 0


def test_a_checkpoint_without_the_average_is_a_state_without_one(tmp_path, labelled_world):
    current = setup.build(tiny("identify", labelled_world), str(tmp_path), tasks.TASKS["identify"])
    state = setup.initial_state(current)
    tree = states.to_tree(state)
    assert "average" not in tree
    assert states.from_tree(tree, state).average == {}


def test_the_number_of_devices_does_not_change_the_result(tmp_path, labelled_world):
    """At a rate so low that rounding is not amplified from step to step (in a network this small a
    usual rate brings any disturbance of 1e-7 to 1e-2 in twenty steps)."""
    rate = 1e-5
    recipe = tiny("identify", labelled_world, optim__lr=rate, model__bn_group_size=16)
    ends, losses = [], []
    for devices in (jax.devices()[:1], jax.devices()):
        mesh = sharding.make_mesh(devices)
        current = setup.build(recipe, str(tmp_path), tasks.TASKS["identify"], mesh)
        state, step = setup.initial_state(current), setup.compile_step(current)
        losses.append([])
        rows = current.task.sampler(current.table, 0, current.steps_per_epoch)
        for arrays in Loader(current.table, rows, setup.loader_options(recipe)):
            state, metrics = step(state, sharding.put_batch(arrays, current.mesh))
            losses[-1].append(float(metrics["loss"]))
        ends.append(states.to_tree(state))
    assert len(losses[0]) > 1
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert_equal_to_rounding(*ends, lr=rate)
