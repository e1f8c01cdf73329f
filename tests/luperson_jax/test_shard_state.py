"""`optim.shard_state`: each device holds a part of the optimizer's moments; the result stays."""

import jax
import numpy as np
import pytest

from data_pipeline.read.loader import Loader
from luperson_jax import sharding, tasks
from luperson_jax.run import setup, states
from tests import stand_in
from tests.helpers import assert_trees_equal, final, run, tiny
from tests.interruptions import cut_short

OPTIMIZERS = ("sgd", "adam", "lars", "rmsprop")


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    stand_in.use(monkeypatch)


def recipe_of(root, **changes):
    return tiny("moco", root, **{"train__epochs": 3, "train__steps_per_epoch": 3} | changes)


def ended(recipe, workdir):
    """The state after an epoch, and where its arrays lie."""
    current = setup.build(recipe, str(workdir), tasks.TASKS["moco"])
    state, step = setup.initial_state(current), setup.compile_step(current)
    rows = current.task.sampler(current.table, 0, current.steps_per_epoch)
    for arrays in Loader(current.table, rows, setup.loader_options(recipe)):
        state, _ = step(state, sharding.put_batch(arrays, current.mesh))
    return state


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_device_holds_its_part_and_the_result_stays(optimizer, labelled_world, tmp_path):
    """The norm of the whole gradient, and LARS's of each layer, are still of all of it."""
    changes = {"optim__optimizer": optimizer, "optim__clip_norm": 1.0, "optim__lr": 1e-2}
    whole, cut = (
        ended(recipe_of(labelled_world, optim__shard_state=flag, **changes), tmp_path)
        for flag in (False, True)
    )
    num = jax.device_count()
    moments = [leaf for leaf in jax.tree.leaves(cut.opt_state) if leaf.ndim]
    assert moments
    for leaf in moments:
        can_be_cut = any(length % num == 0 for length in leaf.shape)
        own = leaf.addressable_shards[0].data.size
        assert own * (num if can_be_cut else 1) == leaf.size
    assert any(leaf.addressable_shards[0].data.size < leaf.size for leaf in moments)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(cut.params))
    ends = (jax.tree.leaves(states.to_tree(state)) for state in (whole, cut))
    for one, two in zip(*ends, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first", [True, False])
def test_a_run_may_go_on_with_the_other(first, labelled_world, tmp_path):
    """Cut or whole is no part of what a checkpoint holds."""
    changes = {"train__checkpoint_every_steps": 1}
    one, other = (
        recipe_of(labelled_world, optim__shard_state=flag, **changes) for flag in (first, not first)
    )
    run(one, tmp_path / "whole")
    with cut_short(4):  # of 9 steps
        run(one, tmp_path / "pieces")
    run(other, tmp_path / "pieces")
    whole, pieces = final(tmp_path / "whole"), final(tmp_path / "pieces")
    assert whole[0] == pieces[0] == 9
    assert jax.tree.structure(whole[1]) == jax.tree.structure(pieces[1])
    for left, right in zip(*map(jax.tree.leaves, (whole[1], pieces[1])), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_what_a_task_cuts_stays_as_the_task_says(labelled_world, tmp_path):
    """PNL's classifier is cut by label, its moments with it; a counter is whole."""
    recipe = tiny("pnl", labelled_world, optim__shard_state=True)
    where = setup.build(recipe, str(tmp_path), tasks.TASKS["pnl"])
    specs = {
        str(path): tuple(leaf.sharding.spec)
        for path, leaf in jax.tree_util.tree_leaves_with_path(where.shapes.opt_state)
    }
    (kernel,) = (
        spec for path, spec in specs.items() if "'classifier'" in path and "kernel" in path
    )
    assert kernel == (None, "data")
    assert () in specs.values()


def test_a_resumed_run_is_bit_equal(labelled_world, tmp_path):
    recipe = recipe_of(
        labelled_world,
        optim__shard_state=True,
        train__checkpoint_every_steps=1,
        train__average="ema",
    )
    run(recipe, tmp_path / "whole")
    with cut_short(5):
        run(recipe, tmp_path / "pieces")
    run(recipe, tmp_path / "pieces")
    assert_trees_equal(final(tmp_path / "whole")[1], final(tmp_path / "pieces")[1])
