"""`luperson convert` as a user calls it, on files that need no PyTorch."""

import dataclasses

import numpy as np
import pytest

from luperson_jax import cli, config, tasks
from luperson_jax.augment import recipes
from luperson_jax.run import setup, states
from luperson_jax.weights import files, translate
from tests.helpers import assert_trees_equal, final, run, tiny
from tests.luperson_jax.test_convert_families import BOT, MOCO, model_of


def convert(*arguments: object) -> int:
    return cli.main(["convert", *map(str, arguments)])


def write_configuration(recipe, path):
    """A configuration file of a recipe, as `--config` takes it."""
    path.write_text(
        "from ml_collections import ConfigDict\n"
        f"def get_config():\n    return ConfigDict({config.to_dict(recipe)!r})\n"
    )
    return path


@pytest.fixture
def moco_file(tmp_path):
    """A MoCo file with the names and the prefix of the published ones."""
    path = tmp_path / "ckpt_0200.safetensors"
    family, tensors = translate.to_torch(model_of(MOCO))
    files.write(path, tensors, prefix=family.prefix, beside={"epoch": 200})
    return path


def test_to_a_model_file_and_back(tmp_path, moco_file, capsys):
    assert convert(moco_file, tmp_path / "a.npz", "--statistics", "lup", "--size", "256x128") == 0
    out = capsys.readouterr().out
    assert "read         a MoCo pre-training file, epoch 200" in out
    assert "matched      " in out
    assert "0.3525 0.3106 0.3140" in out
    assert "tensors bit-identical" in out
    assert convert(tmp_path / "a.npz", tmp_path / "b.safetensors") == 0
    before, after = files.read(moco_file).tensors, files.read(tmp_path / "b.safetensors").tensors
    assert list(before) == list(after)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)


def test_only_the_backbone(tmp_path, moco_file):
    assert convert(moco_file, tmp_path / "a.npz", "--only-backbone") == 0
    assert convert(tmp_path / "a.npz", tmp_path / "b.safetensors") == 0
    flat = files.read(tmp_path / "b.safetensors").tensors
    whole = files.read(moco_file).tensors
    assert "conv1.weight" in flat
    assert not any("fc" in name or "queue" in name for name in flat)
    for name, array in flat.items():
        np.testing.assert_array_equal(whole[f"encoder_q.{name}"], array, err_msg=name)


def test_a_run_starts_from_any_form(tmp_path, labelled_world, pretrained):
    current = setup.build(tiny("identify", labelled_world), str(tmp_path), tasks.TASKS["identify"])
    fresh, wanted = setup.initial_state(current), final(pretrained)[1]
    for form in ("npz", "safetensors", "workdir"):
        origin = pretrained if form == "workdir" else tmp_path / f"a.{form}"
        assert form == "workdir" or convert(pretrained, origin) == 0
        recipe = tiny("identify", labelled_world, train__init_from=str(origin))
        model = states.read_origin(recipe, tmp_path, current.shapes)
        state, lines = states.take_backbone(fresh, model, recipe, current.averaging, current.shapes)
        assert_trees_equal(state.params["backbone"], wanted["params"]["backbone"])
        assert_trees_equal(state.extra["stats"]["backbone"], wanted["extra"]["stats"]["backbone"])
        out = "\n".join(lines)
        assert "100 of 100 backbone tensors filled" in out, form
        # The two tasks differ in their pixel statistics, which a flat file does not know.
        assert ("expect pixels of mean and deviation 0.3525" in out) == (form != "safetensors")


@pytest.mark.parametrize("form", ["npz", "pth"])
def test_a_pretraining_goes_on_after_a_detour_through_a_file(
    form, tmp_path, unlabelled_world, pretrained
):
    """Key encoder, queue, pointer and momentum travel: the end is that of the run left alone."""
    if form == "pth":
        pytest.importorskip("torch", reason="needs the [torch] extra")
    recipe = tiny("moco", unlabelled_world, train__keep_checkpoints=9, train__epochs=2)
    run(recipe, tmp_path / "whole")
    detour = tmp_path / f"ckpt.{form}"
    assert convert(pretrained, detour) == 0
    configuration = write_configuration(recipe, tmp_path / "config.py")
    assert convert(detour, tmp_path / "again", "--config", configuration) == 0
    run(recipe, tmp_path / "again")
    assert_trees_equal(final(tmp_path / "again")[1], final(tmp_path / "whole")[1])


def test_a_fine_tuned_model_is_evaluated_from_a_file(tmp_path, labelled_world, capsys):
    """The file holds the weights that the run is evaluated with, and so does the run made of it."""
    changes = {"eval__dataset": "market1501", "eval__root": str(labelled_world)}
    changes |= {"train__average": "ema", "eval__weights": "average"}
    recipe = tiny("identify", labelled_world, **changes)
    run(recipe, tmp_path / "run")
    assert convert(tmp_path / "run", tmp_path / "a.safetensors") == 0
    configuration = write_configuration(recipe, tmp_path / "config.py")
    chosen = ["--config", configuration, "--set", "data.num_workers=0"]
    assert convert(tmp_path / "a.safetensors", tmp_path / "again", *chosen) == 0
    average, after = final(tmp_path / "run")[1]["average"], final(tmp_path / "again")[1]
    assert int(after["step"]) == 0
    assert_trees_equal(after["average"]["params"], average["params"])
    assert int(after["average"]["count"]) == 0
    assert_trees_equal(after["params"], average["params"])
    assert_trees_equal(after["extra"], {"stats": average["stats"]})
    assert "written      a FastReID model: " in capsys.readouterr().out


def test_weights_for_other_pixels_are_refused(tmp_path, labelled_world, capsys):
    model = dataclasses.replace(model_of(BOT), pixels=recipes.statistics("lup_imagenet"))
    files.write(tmp_path / "a.safetensors", translate.to_torch(model)[1])
    recipe = tiny("identify", labelled_world, model__width=4, task__extra_bn=True)
    configuration = write_configuration(recipe, tmp_path / "config.py")
    command = [tmp_path / "a.safetensors", tmp_path / "run", "--config", configuration]
    command += ["--skip-classifier"]
    assert convert(*command) == 2
    err = capsys.readouterr().err
    numbers = "0.3430,0.3080,0.3220,0.2520,0.2400,0.2430"
    assert f"expect pixels of mean and deviation {numbers}" in err
    assert convert(*command, "--set", f"augment.statistics='{numbers}'") == 0


def test_other_identities_need_a_classifier_of_their_own(tmp_path, labelled_world, capsys):
    """Six people train here, five in the file."""
    files.write(tmp_path / "a.safetensors", translate.to_torch(model_of(BOT))[1])
    changes = {"model__width": 4, "task__extra_bn": True}
    configuration = write_configuration(
        tiny("identify", labelled_world, **changes), tmp_path / "config.py"
    )
    command = [tmp_path / "a.safetensors", tmp_path / "run", "--config", configuration]
    assert convert(*command) == 2
    assert "classifier/kernel: (32, 5), expected (32, 6)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert convert(*command, "--skip-classifier") == 0
    assert "stays random: params/classifier/kernel" in capsys.readouterr().out


MISTAKES = [
    (["{moco}", "{tmp}/a.npz", "--from", "torchvision"], "it looks like a MoCo pre-training file"),
    (["{moco}", "{tmp}/a.npz", "--from", "torchvison"], "did you mean 'torchvision'"),
    (["{moco}", "{tmp}/a.npz", "--statistics", "lupp"], "did you mean 'lup'"),
    (["{moco}", "{tmp}/a.npz", "--size", "256"], "expected HEIGHTxWIDTH"),
    (["{moco}", "{tmp}/a.onnx"], r"a.onnx: expected .npz"),
    (["{moco}", "{tmp}/run"], "together with --config"),
    (["{moco}", "{moco}"], "exists; delete it"),
    (["{moco}", "{tmp}/run", "--config", "configs/none.py"], "does not exist"),
    (["{moco}", "{tmp}/run", "--config", "{identify}"], "give it as train.init_from instead"),
    (["{moco}", "{tmp}/run", "--config", "{pretrain}"], "resnet18 of width 4"),
    (["{moco}", "{tmp}/a.safetensors", "--to", "fastreid"], "cannot hold the encoders of MoCo"),
    (["{moco}", "{tmp}/a.npz", "--to", "fastreid"], "--to is for .pth"),
    (["{moco}", "{tmp}/a.npz", "--config", "{identify}"], "--config and --set are for workdirs"),
    (["{moco}", "{tmp}/none/a.npz"], "make it first"),
    (["{moco}", "{tmp}/run", "--config", "configs/demo.py:nothing"], "is none of pretrain"),
    (["{tmp}/none.pth", "{tmp}/a.npz"], "no file 'none.pth'"),
    (["{tmp}", "{tmp}/a.npz"], "is no workdir"),
    (["{moco}"], "required: OUT"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda one: str(one)[-40:])
def test_mistakes(arguments, words, tmp_path, moco_file, labelled_world, unlabelled_world, capsys):
    places = {"moco": moco_file, "tmp": tmp_path}
    for name, recipe in (
        ("identify", tiny("identify", labelled_world)),
        ("pretrain", tiny("moco", unlabelled_world, train__epochs=300)),
    ):
        places[name] = write_configuration(recipe, tmp_path / f"{name}.py")
    before = sorted(tmp_path.rglob("*"))
    assert convert(*(argument.format(**places) for argument in arguments)) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before
