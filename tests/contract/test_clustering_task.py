"""What a method that clusters its pictures at every epoch is given by the loop."""

import json

import jax
import numpy as np
import pytest

from luperson_jax import config, sharding, tasks
from luperson_jax.run import loop, setup, states
from luperson_jax.workdir import checkpoint
from luperson_jax.workdir.metrics_file import METRICS_FILE
from tests import toy_cluster
from tests.helpers import SIZE, TINY_MODEL, assert_equal_to_rounding, assert_trees_equal, final
from tests.interruptions import cut_short

TASK = toy_cluster.ToyCluster


@pytest.fixture
def recipe_of(monkeypatch, labelled_world):
    """The one line, and a recipe of the method."""
    for known in (tasks.TASKS, tasks.OPTIONS):
        monkeypatch.setitem(known, "toy_cluster", None)
    toy_cluster.register()

    def make(**changes):
        root = str(labelled_world)
        data = {"dataset": "market1501", "root": root, "canvas": SIZE, "size": SIZE}
        data |= {"batch_size": 8, "sampler": "pk", "num_instances": 2, "num_workers": 0}
        groups = {
            "task": {"name": "toy_cluster"},
            "model": {**TINY_MODEL, "bn_group_size": 8},
            "data": data,
            "augment": {"recipe": "finetune"},
            "optim": {"lr": 0.01},
            "train": {"epochs": 3, "steps_per_epoch": 3, "log_every_steps": 1},
            "eval": {"dataset": "market1501", "root": root, "batch_size": 8, "every_epochs": 1},
        }
        for path, value in changes.items():
            group, setting = path.split("__")
            groups[group][setting] = value
        return config.resolve(groups, tasks.OPTIONS)

    return make


def test_labels_of_an_epoch_are_in_the_checkpoint_inside_it(recipe_of, tmp_path):
    """Cut inside an epoch and after it, a run ends like one that went through."""
    recipe = recipe_of(train__checkpoint_every_steps=1)
    loop.run(recipe, str(tmp_path / "whole"), TASK)
    for steps in (1, 1, 3):
        with cut_short(steps):
            loop.run(recipe, str(tmp_path / "pieces"), TASK)
    loop.run(recipe, str(tmp_path / "pieces"), TASK)
    whole, pieces = final(tmp_path / "whole"), final(tmp_path / "pieces")
    assert whole[0] == pieces[0] == 9
    assert_trees_equal(whole[1], pieces[1])
    assert set(np.unique(whole[1]["extra"]["labels"])) == set(range(4))


def test_its_figures_are_logged_shown_and_may_choose_the_best(recipe_of, tmp_path):
    recipe = recipe_of(train__best="clusters/silhouette", train__keep_checkpoints=1)
    loop.run(recipe, str(tmp_path), TASK)
    lines = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    silhouettes = {
        line["step"]: line["clusters/silhouette"] for line in lines if "clusters/silhouette" in line
    }
    assert list(silhouettes) == [0, 3, 6, 9]  # the last measures the state that is left
    del silhouettes[0]  # not saved
    best = max(silhouettes, key=lambda step: (silhouettes[step], step))
    saved = checkpoint.Checkpoints(tmp_path, best="clusters/silhouette", read_only=True)
    assert saved.best_step() == best
    # What is kept beside the newest was chosen before that one was measured.
    assert saved.steps() == [max((silhouettes[step], step) for step in (3, 6))[1], 9]
    page = (tmp_path / "report.html").read_text()
    assert "clusters/silhouette" in page
    assert all(f"<h3>Epoch {number}</h3>" in page for number in (1, 2, 3))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["best"]["step"] == best


def test_any_number_of_devices_gives_the_same(recipe_of, tmp_path):
    ends = []
    for devices in (jax.devices()[:1], jax.devices()[:2]):
        recipe = recipe_of(optim__lr=1e-5, eval__dataset="")
        mesh = sharding.make_mesh(devices)
        current = setup.build(recipe, str(tmp_path / str(mesh.size)), TASK, mesh)
        memory = current.shardings.extra["memory"].spec
        assert tuple(memory) == ("data", None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sharding, "make_mesh", lambda devices=devices: mesh)  # noqa: B023
            loop.run(recipe, str(tmp_path / str(mesh.size)), TASK)
        ends.append(final(tmp_path / str(mesh.size))[1])
    np.testing.assert_array_equal(ends[0]["extra"]["labels"], ends[1]["extra"]["labels"])
    assert_equal_to_rounding(*ends, lr=1e-5)


def test_a_start_that_changes_shapes_is_an_error(recipe_of, tmp_path):
    current = setup.build(recipe_of(), str(tmp_path), TASK)
    extra = setup.initial_state(current).extra
    with pytest.raises(AssertionError, match="memory"):
        states.check_shapes(extra, {**extra, "memory": np.zeros((5, 64), np.float32)})
