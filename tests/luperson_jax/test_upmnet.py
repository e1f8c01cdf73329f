"""Runs of uPMnet on drawn tracklets."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import config, sharding, tasks
from luperson_jax.run import loop, setup
from luperson_jax.tasks.upmnet import Upmnet
from luperson_jax.workdir.metrics_file import METRICS_FILE
from tests import stand_in
from tests.helpers import TINY_MODEL, assert_equal_to_rounding, assert_trees_equal, final, run
from tests.interruptions import cut_short


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    stand_in.use(monkeypatch)


def recipe_of(root, dataset="mars", **changes):
    groups = {
        "task": {"name": "upmnet", "parts": 2, "relation_dim": 8, "warm_up_epochs": 1},
        "model": {**TINY_MODEL, "last_stride": 1, "bn_group_size": 8},
        "data": {
            "dataset": dataset,
            "root": str(root),
            "canvas": (64, 32),
            "size": (64, 32),
            "batch_size": 8,
            "num_workers": 0,
        },
        "augment": {"recipe": "test"},
        "optim": {"lr": 0.01, "schedule": "step_per_epoch"},
        "train": {"epochs": 3, "steps_per_epoch": 2, "log_every_steps": 1},
        "eval": {"dataset": dataset, "root": str(root), "batch_size": 8, "pool": "max"},
    }
    for path, value in changes.items():
        group, setting = path.split("__")
        groups[group][setting] = value
    return config.resolve(groups, tasks.OPTIONS)


def test_cut_anywhere_a_run_ends_as_one_that_went_through(mars, tmp_path):
    """Also inside the epoch in which cameras begin to be matched; banks included."""
    recipe = recipe_of(mars, train__checkpoint_every_steps=1)
    report = run(recipe, tmp_path / "whole")
    for steps in (1, 2):
        with cut_short(steps):
            run(recipe, tmp_path / "pieces")
    run(recipe, tmp_path / "pieces")
    whole, pieces = final(tmp_path / "whole"), final(tmp_path / "pieces")
    assert whole[0] == pieces[0] == 6
    assert_trees_equal(whole[1], pieces[1])
    assert report.num_valid_queries > 0
    written = (tmp_path / "whole" / METRICS_FILE).read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    names = {f"train/{name}" for name in ("local_intra", "local_cross", "global_own_first", "loss")}
    assert sum(names <= line.keys() for line in lines) == 6
    banks = whole[1]["extra"]["banks"]
    assert set(banks) == {"local", "global"}
    seen = np.unique(np.nonzero(np.asarray(banks["local"]["intra"]))[1])
    assert len(seen) > 0


def test_any_number_of_devices_gives_the_same(mars, tmp_path):
    ends = []
    for devices in (jax.devices()[:1], jax.devices()[:2]):
        recipe = recipe_of(mars, optim__lr=1e-5, eval__dataset="")
        mesh = sharding.make_mesh(devices)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sharding, "make_mesh", lambda mesh=mesh: mesh)
            loop.run(recipe, str(tmp_path / str(mesh.size)), Upmnet)
        ends.append(final(tmp_path / str(mesh.size))[1])
    assert_equal_to_rounding(*ends, lr=1e-5)


def test_frames_of_a_tracklet_share_a_row_whatever_its_number(mars, tmp_path):
    current = setup.build(recipe_of(mars), str(tmp_path), Upmnet)
    extra = setup.initial_state(current).extra
    tracklet = np.asarray(extra["tracklet"])
    pairs = set(zip(tracklet.tolist(), current.table.track.tolist(), strict=True))
    assert len(pairs) == len(set(tracklet)) == len(extra["row_camera"])
    np.testing.assert_array_equal(np.asarray(extra["row_camera"])[tracklet], current.table.camera)
    assert extra["banks"]["global"]["cross"].shape == (2, len(extra["row_camera"]), 8)


def test_a_frozen_relation_stays_as_it_began(mars, tmp_path):
    frozen = {"optim__freeze": ("^relation/",), "optim__freeze_epochs": 3}
    recipe = recipe_of(mars, eval__dataset="", **frozen)
    before = setup.initial_state(setup.build(recipe, str(tmp_path), Upmnet))
    kept = jax.tree.map(np.asarray, before.params)
    run(recipe, tmp_path)
    params = final(tmp_path)[1]["params"]
    assert_trees_equal(jax.tree.map(np.asarray, params["relation"]), kept["relation"])
    moved = np.asarray(params["backbone"]["conv1"]["kernel"])
    assert not np.array_equal(moved, kept["backbone"]["conv1"]["kernel"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task__parts": 3}, "a feature map of 4, which cannot be cut into 3 stripes"),
        ({"task__parts": 0}, "task.parts=0"),
        ({"task__margin": -1.0}, "task.margin=-1.0"),
        ({"task__rate": 0.0}, "task.rate=0.0"),
    ],
)
def test_mistakes_are_told(mars, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(recipe_of(mars, **changes), tmp_path)


def test_pictures_without_tracklets_are_refused(labelled_world, tmp_path, monkeypatch):
    recipe = recipe_of(labelled_world, "market1501")
    load = setup.training_table.load

    def without(data):
        table, fingerprint = load(data)
        return dataclasses.replace(table, track=np.full_like(table.track, -1)), fingerprint

    monkeypatch.setattr(setup.training_table, "load", without)
    with pytest.raises(InputError, match="has no tracklets"):
        run(recipe, tmp_path)
