"""Runs of every pre-training: interrupted or not, on one device or eight, the result is the same.

On a network that compiles at once; what is tested is the state that each method keeps.
"""

import os
import pathlib
import subprocess
import sys

import pytest

from tests import simulated_devices, stand_in
from tests.helpers import assert_trees_equal, final, run, tiny
from tests.interruptions import cut_short

ROOT = pathlib.Path(__file__).resolve().parents[2]
METHODS = ("moco", "simclr", "supcont", "pnl")
QUICK = {"data__dataset": "market1501", "augment__recipe": "weak", "train__epochs": 3}
MIXED = {"data__dataset": "several", "data__weights": (3.0, 1.0)}
MIXED |= {"augment__statistics": "lup+imagenet"}
"""MoCo learns from two data sets."""
QUICK |= {"optim__lars_excluded": "bias$", "train__steps_per_epoch": 3}

EIGHT = """
import sys, jax, numpy as np, pytest
from luperson_jax import sharding, tasks
from luperson_jax.run import setup, states
from data_pipeline.read.loader import Loader
from tests import stand_in
from tests.helpers import assert_equal_to_rounding, tiny
from tests.luperson_jax.test_pretraining_runs import METHODS, MIXED, QUICK

assert jax.device_count() == 8
stand_in.use(pytest.MonkeyPatch())
for name in METHODS:
    more = {"model__bn_group_size": 0, "optim__lr": 1e-3}
    if name == "pnl":
        more |= {"task__class_multiple": 8, "task__pseudo_threshold": 0.0}
    root = sys.argv[1]
    if name == "moco":
        more, root = more | MIXED, sys.argv[3]
    recipe = tiny(name, root, **QUICK | more)
    ends, losses = [], []
    for devices in (1, 8):
        mesh = sharding.make_mesh(jax.devices()[:devices])
        current = setup.build(recipe, sys.argv[2], tasks.TASKS[name], mesh)
        state, step = setup.initial_state(current), setup.compile_step(current)
        losses.append([])
        for epoch in range(2):
            rows = current.task.sampler(current.table, epoch, current.steps_per_epoch)
            for arrays in Loader(current.table, rows, setup.loader_options(recipe)):
                state, metrics = step(state, sharding.put_batch(arrays, current.mesh))
                losses[-1].append(float(metrics["loss"]))
        ends.append(jax.tree.map(np.asarray, states.to_tree(state)))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert_equal_to_rounding(*ends, lr=1e-3)
    if name == "pnl":
        np.testing.assert_array_equal(ends[0]["extra"]["queue_id"], ends[1]["extra"]["queue_id"])
    print(name, "is equal after", len(losses[0]), "steps")
"""


@pytest.fixture
def both(labelled_world, unlabelled_world) -> str:
    """Two data sets as `data.root` names them."""
    return f"image_folder={unlabelled_world},market1501={labelled_world}"


@pytest.mark.parametrize("name", METHODS)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    name, tmp_path, monkeypatch, both, labelled_world
):
    """Cut inside the epoch in which PNL's switches happen."""
    stand_in.use(monkeypatch)
    changes = {"train__checkpoint_every_steps": 1, **QUICK}
    if name == "pnl":
        changes |= {"task__pseudo_threshold": 0.0}
    if name == "moco":
        changes |= {"train__average": "swa", "optim__clip_norm": 1.0, **MIXED}
    recipe = tiny(name, both if name == "moco" else labelled_world, **changes)
    run(recipe, tmp_path / "whole")
    with cut_short(4):  # of 9 steps
        run(recipe, tmp_path / "pieces")
    run(recipe, tmp_path / "pieces")
    whole, pieces = final(tmp_path / "whole"), final(tmp_path / "pieces")
    assert whole[0] == pieces[0] == 9
    assert_trees_equal(whole[1], pieces[1])


def test_eight_devices_equal_one(both, labelled_world, tmp_path):
    """Statistics over all devices, classifier and prototypes cut over them."""
    environment = {**os.environ, "XLA_FLAGS": simulated_devices.flags(8), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", EIGHT, str(labelled_world), str(tmp_path), both],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (
        done.stdout.split()
        == " ".join(f"{name} is equal after 6 steps" for name in METHODS).split()
    )
