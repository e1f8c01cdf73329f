"""The loop: what it starts from, what it refuses, what it leaves behind."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from data_pipeline.errors import InputError
from luperson_jax import sharding, tasks
from luperson_jax.measure import evaluation, streaming
from luperson_jax.run import eval_mode, loop, setup, states
from luperson_jax.workdir import checkpoint, recipe_file
from luperson_jax.workdir.metrics_file import METRICS_FILE
from tests import stand_in
from tests.helpers import assert_trees_equal, final, run, tiny


def test_fine_tuning_starts_from_the_backbone_of_a_pretraining(
    tmp_path, capsys, labelled_world, pretrained
):
    changes = {"train__init_from": str(pretrained), "train__average": "ema"}
    recipe = tiny("identify", labelled_world, **changes)
    current = setup.build(recipe, str(tmp_path / "finetune"), tasks.TASKS["identify"])
    recipe_file.write(current.written, current.workdir)
    reporter = loop.Reporter(tmp_path / "finetune", 1, 1)
    checkpoints = checkpoint.Checkpoints(tmp_path / "finetune")
    origin = states.read_origin(recipe, current.workdir, current.shapes)
    state = loop._restore_or_start(loop.Session(current, checkpoints, reporter, None), origin)
    reporter.close()
    _, source = final(pretrained)
    assert_trees_equal(state.params["backbone"], source["params"]["backbone"])
    assert_trees_equal(state.extra["stats"]["backbone"], source["extra"]["stats"]["backbone"])
    assert_trees_equal(state.average["params"], state.params)
    assert_trees_equal(state.average["stats"], state.extra["stats"])
    fresh = setup.initial_state(current)
    assert_trees_equal(state.params["neck"], fresh.params["neck"])
    assert "100 of 100 backbone tensors filled" in capsys.readouterr().out


def test_another_width_cannot_start_from_it(tmp_path, labelled_world, pretrained):
    changes = {"train__init_from": str(pretrained), "model__width": 4}
    with pytest.raises(InputError, match="only 0 of 100 backbone tensors"):
        run(tiny("identify", labelled_world, **changes), tmp_path / "finetune")


def test_a_workdir_of_another_recipe_is_refused_and_left_alone(
    tmp_path, unlabelled_world, pretrained
):
    shutil.copytree(pretrained, tmp_path, dirs_exist_ok=True)
    before = final(tmp_path)
    with pytest.raises(InputError, match=r"optim\.optimizer: 'sgd' there, 'adam' here"):
        run(tiny("moco", unlabelled_world, train__epochs=1, optim__optimizer="adam"), tmp_path)
    assert_trees_equal(before[1], final(tmp_path)[1])


def test_unreadable_pictures_are_replaced_and_listed(
    tmp_path, capsys, monkeypatch, unlabelled_world
):
    stand_in.use(monkeypatch)
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
    results = json.loads((tmp_path / evaluation.RESULTS_FILE).read_text())
    assert results["mAP"] == trained.mAP
    assert results["rank1"] == pytest.approx(float(trained.cmc[0]))
    page = (tmp_path / evaluation.REPORT_FILE).read_text()
    curves = page.count(" by step'")
    assert curves > 1
    assert page.count("<svg") == 4 + curves  # CMC, ROC, distances, identities
    assert "class='right'" in page or "class='wrong'" in page
    assert "train/loss" in page

    lines = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    measured = {
        line["step"]: line["market1501/mAP"] for line in lines if line.get("market1501/mAP")
    }
    best = results["best"]
    assert best["mAP"] == max(share for step, share in measured.items() if step)
    assert measured[best["step"]] == best["mAP"]
    assert f"best, step {best['step']}" in page
    assert "optimistic" in page

    again = eval_mode.run(recipe, str(tmp_path), tasks.TASKS["identify"])
    assert again.mAP == trained.mAP
    best_one = with_eval(recipe, checkpoint="best")
    assert eval_mode.run(best_one, str(tmp_path), tasks.TASKS["identify"]).mAP == best["mAP"]

    step, tree = final(tmp_path)
    restored = eval_mode.restore(
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


@pytest.mark.parametrize("method", ["moco", "identify"])
def test_a_group_without_statistics_is_told_before_the_workdir_is_made(
    method, tmp_path, labelled_world
):
    changes = {"data__dataset": "market1501", "model__bn_group_size": 1}
    recipe = tiny(method, labelled_world, **changes)
    with pytest.raises(InputError, match=r"one value per channel.*bn_group_size=1"):
        loop.run(recipe, str(tmp_path / "run"), tasks.TASKS[method])
    assert not (tmp_path / "run").exists()


def test_too_few_pictures_for_a_batch_are_an_error(tmp_path, unlabelled_world):
    recipe = tiny("moco", unlabelled_world, data__batch_size=80, task__queue_size=80)
    with pytest.raises(InputError, match="64 training images, fewer than one batch"):
        run(recipe, tmp_path)


def test_more_steps_than_are_counted_are_an_error(tmp_path, unlabelled_world):
    recipe = tiny("moco", unlabelled_world, train__epochs=2**31, train__steps_per_epoch=1)
    with pytest.raises(InputError, match=r"train.epochs=2147483648 of 1 steps .* 2147483647"):
        run(recipe, tmp_path)


def test_a_batch_that_the_devices_cannot_share_is_an_error(tmp_path, unlabelled_world):
    changes = {"data__batch_size": 15, "model__bn_group_size": 5}
    with pytest.raises(InputError, match="not divisible by the 2 devices"):
        run(tiny("moco", unlabelled_world, **changes), tmp_path)


def test_what_was_trained_is_saved_before_its_evaluation_fails(
    tmp_path, monkeypatch, labelled_world
):
    changes = {"eval__dataset": "market1501", "eval__root": str(labelled_world)}
    recipe = tiny("identify", labelled_world, train__epochs=1, eval__every_epochs=2, **changes)

    def fail(*_, **__):
        raise InputError("a query picture is damaged")

    with monkeypatch.context() as patch:
        patch.setattr(streaming, "embed_table", fail)
        with pytest.raises(InputError, match=r"step 2 of 2 is saved.*a query picture is damaged"):
            run(with_eval(recipe, every_epochs=0), tmp_path)
    assert final(tmp_path)[0] == 2
    monkeypatch.setattr(loop, "_train_epoch", None)  # the same command only evaluates
    assert run(recipe, tmp_path).num_valid_queries > 0
    lines = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert [line["step"] for line in lines if "market1501/mAP" in line] == [2]
    figures = checkpoint.Checkpoints(tmp_path, read_only=True).figures(2)
    assert (
        figures["market1501/mAP"]
        == json.loads((tmp_path / evaluation.RESULTS_FILE).read_text())["mAP"]
    )


def test_queries_without_any_match_are_refused_before_anything_is_written(tmp_path, labelled_world):
    world = shutil.copytree(labelled_world, tmp_path / "world")
    for path in world.rglob("*_c2s*"):
        path.unlink()
    changes = {"eval__dataset": "market1501", "eval__root": str(world)}
    with pytest.raises(InputError, match=r"none of the .* queries has a match"):
        run(tiny("identify", labelled_world, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
