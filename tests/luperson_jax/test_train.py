"""The loop: resuming, devices, what it starts from, what it leaves behind."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.loader import Loader
from luperson_jax import checkpoint, evaluate, sharding, tasks, train
from luperson_jax.report import METRICS_FILE, NonFiniteLoss
from tests.helpers import assert_equal_to_rounding, assert_trees_equal, tiny


def run(recipe, workdir):
    return train.run(recipe, str(workdir), tasks.TASKS[recipe.task.name])


def final(workdir):
    return checkpoint.Checkpoints(workdir, read_only=True).read()


class Interruption(Exception):
    """Stands for whatever ends a run early."""


def interrupt_after(monkeypatch, steps):
    original = train.compile_step

    def compile_step(current):
        step, done = original(current), [0]

        def limited(state, batch):
            if done[0] == steps:
                raise Interruption
            done[0] += 1
            return step(state, batch)

        return limited

    monkeypatch.setattr(train, "compile_step", compile_step)


RESUMED = {
    "moco": {"train__average": "swa", "optim__clip_norm": 1.0},
    "identify": {
        "train__average": "ema",
        "train__ema_decay": 0.9,
        "optim__accumulate_steps": 3,
        "optim__freeze_epochs": 1,
        "optim__clip_norm": 1.0,
    },
}
"""A run is interrupted inside of an epoch, and of the steps of an update."""


@pytest.mark.parametrize("name", RESUMED)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    name, tmp_path, monkeypatch, labelled_world, unlabelled_world
):
    world = unlabelled_world if name == "moco" else labelled_world
    recipe = tiny(name, world, train__checkpoint_every_steps=1, **RESUMED[name])
    run(recipe, tmp_path / "whole")
    for steps in (1, 2):  # stops inside the first epoch, then again
        with monkeypatch.context() as patch:
            interrupt_after(patch, steps)
            with pytest.raises(Interruption):
                run(recipe, tmp_path / "pieces")
    run(recipe, tmp_path / "pieces")
    whole, pieces = final(tmp_path / "whole"), final(tmp_path / "pieces")
    assert whole[0] == pieces[0]
    assert_trees_equal(whole[1], pieces[1])
    assert int(whole[1]["average"]["count"]) > 0


def test_a_checkpoint_without_the_average_is_a_state_without_one(tmp_path, labelled_world):
    current = train.build(tiny("identify", labelled_world), str(tmp_path), tasks.TASKS["identify"])
    state = train.initial_state(current)
    tree = train.to_tree(state)
    assert "average" not in tree
    assert train.from_tree(tree, state).average == {}


@pytest.mark.parametrize("name", ["moco", "identify"])
def test_the_number_of_devices_does_not_change_the_result(
    name, tmp_path, labelled_world, unlabelled_world
):
    """At a rate so low that rounding is not amplified from step to step (in a network this small a
    usual rate brings any disturbance of 1e-7 to 1e-2 in twenty steps)."""
    world = unlabelled_world if name == "moco" else labelled_world
    rate = 1e-5
    recipe = tiny(name, world, optim__lr=rate, model__bn_group_size=16)
    states, losses = [], []
    for devices in (jax.devices()[:1], jax.devices()):
        current = train.build(recipe, str(tmp_path), tasks.TASKS[name])
        current = dataclasses.replace(current, mesh=sharding.make_mesh(devices))
        state, step = train.initial_state(current), train.compile_step(current)
        losses.append([])
        rows = current.task.sampler(current.table, 0)
        for arrays in Loader(current.table, rows, train.loader_options(recipe)):
            state, metrics = step(state, sharding.put_batch(arrays, current.mesh))
            losses[-1].append(float(metrics["loss"]))
        states.append(train.to_tree(state))
    assert len(losses[0]) > 1
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert_equal_to_rounding(*states, lr=rate)


def test_fine_tuning_starts_from_the_backbone_of_a_pretraining(
    tmp_path, capsys, labelled_world, unlabelled_world
):
    run(tiny("moco", unlabelled_world, train__epochs=1), tmp_path / "pretrain")
    changes = {"train__init_from": str(tmp_path / "pretrain"), "train__average": "ema"}
    recipe = tiny("identify", labelled_world, **changes)
    current = train.build(recipe, str(tmp_path / "finetune"), tasks.TASKS["identify"])
    train.write_recipe(current)
    reporter = train.Reporter(tmp_path / "finetune", 1, 1)
    checkpoints = checkpoint.Checkpoints(tmp_path / "finetune")
    state = train._restore_or_start(current, checkpoints, reporter)
    reporter.close()
    _, source = final(tmp_path / "pretrain")
    assert_trees_equal(state.params["backbone"], source["params"]["backbone"])
    assert_trees_equal(state.extra["stats"]["backbone"], source["extra"]["stats"]["backbone"])
    assert_trees_equal(state.average["params"], state.params)
    assert_trees_equal(state.average["stats"], state.extra["stats"])
    fresh = train.initial_state(current)
    assert_trees_equal(state.params["neck"], fresh.params["neck"])
    assert "100 of 100 backbone tensors filled" in capsys.readouterr().out


def test_another_width_cannot_start_from_it(tmp_path, labelled_world, unlabelled_world):
    run(tiny("moco", unlabelled_world, train__epochs=1), tmp_path / "pretrain")
    changes = {"train__init_from": str(tmp_path / "pretrain"), "model__width": 4}
    with pytest.raises(InputError, match="only 0 of 100 backbone tensors"):
        run(tiny("identify", labelled_world, **changes), tmp_path / "finetune")


def test_a_workdir_of_another_recipe_is_refused_and_left_alone(tmp_path, unlabelled_world):
    run(tiny("moco", unlabelled_world, train__epochs=1), tmp_path)
    before = final(tmp_path)
    with pytest.raises(InputError, match=r"optim\.lr: 0\.05 there, 0\.5 here"):
        run(tiny("moco", unlabelled_world, train__epochs=1, optim__lr=0.5), tmp_path)
    assert_trees_equal(before[1], final(tmp_path)[1])


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, unlabelled_world):
    original = train.compile_step

    def poisoned(current):
        step = original(current)

        def poison(state, batch):
            bad = int(state.step) == 5
            state, metrics = step(state, batch)
            if bad:
                state = dataclasses.replace(
                    state, params=jax.tree.map(lambda leaf: leaf * jnp.nan, state.params)
                )
            return state, metrics

        return poison

    monkeypatch.setattr(train, "compile_step", poisoned)
    with pytest.raises(NonFiniteLoss, match=r"step 7 [\s\S]*\n  .*\.jpg\n[\s\S]*and 6 more"):
        run(tiny("moco", unlabelled_world), tmp_path)
    step, tree = final(tmp_path)
    assert step == 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree["params"]))


def test_unreadable_pictures_are_replaced_and_listed(tmp_path, capsys, unlabelled_world):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for place, path in enumerate(sorted(unlabelled_world.rglob("*.jpg"))[:32]):
        (folder / f"{place:02d}.jpg").write_bytes(path.read_bytes())
    (folder / "07.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"07\.jpg"):
        run(tiny("moco", folder, train__epochs=1), tmp_path / "error")
    run(tiny("moco", folder, train__epochs=1, data__unreadable="skip"), tmp_path / "skip")
    assert "07.jpg" in capsys.readouterr().out
    text = (tmp_path / "skip" / METRICS_FILE).read_text()
    assert {"step": 2, "data/skipped_images": 1.0} in map(json.loads, text.splitlines())


def test_evaluation_writes_figures_lists_and_curves(tmp_path, labelled_world):
    changes = {"eval__dataset": "market1501", "eval__root": str(labelled_world)}
    recipe = tiny("identify", labelled_world, eval__every_epochs=1, train__average="ema", **changes)
    trained = run(recipe, tmp_path)
    results = json.loads((tmp_path / evaluate.RESULTS_FILE).read_text())
    assert results["mAP"] == trained.mAP
    assert results["rank1"] == pytest.approx(float(trained.cmc[0]))
    page = (tmp_path / evaluate.REPORT_FILE).read_text()
    assert page.count("<svg") == 5  # CMC, ROC, distances, identities, curves
    assert "class='right'" in page or "class='wrong'" in page
    assert "train/loss" in page

    lines = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    measured = {line["step"]: line["eval/mAP"] for line in lines if line.get("eval/mAP")}
    best = results["best"]
    assert best["mAP"] == max(share for step, share in measured.items() if step)
    assert measured[best["step"]] == best["mAP"]
    assert f"best, step {best['step']}" in page
    assert "optimistic" in page

    again = evaluate.run(recipe, str(tmp_path), tasks.TASKS["identify"])
    assert again.mAP == trained.mAP
    best_one = with_eval(recipe, checkpoint="best")
    assert evaluate.run(best_one, str(tmp_path), tasks.TASKS["identify"]).mAP == best["mAP"]

    step, tree = final(tmp_path)
    restored = evaluate.restore(
        with_eval(recipe, weights="average"), str(tmp_path), sharding.make_mesh()
    )
    assert int(restored.step) == step
    assert_trees_equal(restored.params, tree["average"]["params"])
    assert_trees_equal(restored.extra["stats"], tree["average"]["stats"])
    kernel = tree["params"]["classifier"]["kernel"]
    assert np.any(restored.params["classifier"]["kernel"] != kernel)


def with_eval(recipe, **changes):
    return dataclasses.replace(recipe, eval=dataclasses.replace(recipe.eval, **changes))


def test_queries_with_damaged_pictures_stop_an_evaluation(tmp_path, labelled_world):
    Image.new("RGB", (4, 4)).save(tmp_path / "ok.png")
    changes = {"eval__dataset": "image_folder", "eval__root": str(tmp_path)}
    with pytest.raises(InputError, match="no query images"):
        run(tiny("identify", labelled_world, **changes), tmp_path / "run")


def test_too_few_pictures_for_a_batch_are_an_error(tmp_path, unlabelled_world):
    recipe = tiny("moco", unlabelled_world, data__batch_size=80, task__queue_size=80)
    with pytest.raises(InputError, match="64 training images, fewer than one batch"):
        run(recipe, tmp_path)


def test_a_batch_that_the_devices_cannot_share_is_an_error(tmp_path, unlabelled_world):
    changes = {"data__batch_size": 15, "model__bn_group_size": 5}
    with pytest.raises(InputError, match="not divisible by the 2 devices"):
        run(tiny("moco", unlabelled_world, **changes), tmp_path)
