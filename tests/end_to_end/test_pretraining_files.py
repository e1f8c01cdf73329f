"""What a pre-training cannot be begun with: one message, status 2, and nothing written."""

import numpy as np
import pytest
from PIL import Image

from luperson_jax import cli, main, tasks
from luperson_jax.run import eval_mode, setup, states
from luperson_jax.weights import files, translate
from tests.end_to_end.test_convert_command import convert, write_configuration
from tests.helpers import assert_trees_equal, final, run, tiny
from tests.luperson_jax.test_convert_families import PNL, SIMCLR, TRUNK, model_of


def train(name, world, tmp_path, *changes):
    configuration = write_configuration(tiny(name, world), tmp_path / "config.py")
    overrides = [f"--config.{change}" for change in changes]
    workdir = tmp_path / "run"
    return main.main([f"--config={configuration}", f"--workdir={workdir}", *overrides])


MISTAKES = [
    ("pnl", ["task.start_clean_epoch=0"], "task.start_clean_epoch=0 must be at least 1"),
    ("pnl", ["task.queue_size=8"], "task.queue_size=8 is smaller than data.batch_size=16"),
    ("moco", ["task.queue_size=8"], "task.queue_size=8 is smaller than data.batch_size=16"),
    ("supcont", ["data.dataset=image_folder"], "images of image_folder"),
    ("pnl", ["data.dataset=image_folder"], "has an identity"),
    ("pnl", ["data.dataset=luperson_nl", "data.root={nameless}"], "list 'pids' of keys.pkl"),
    ("moco", ["train.init_from={strange}"], "belong to no family of files"),
    ("pnl", ["train.init_from={narrow}"], "only 0 of 200 backbone tensors can be filled"),
    ("simclr", ["optim.micro_batches=3"], "optim.micro_batches=3 cuts"),
]


@pytest.mark.parametrize(("name", "changes", "words"), MISTAKES, ids=lambda one: str(one)[:40])
def test_nothing_is_written(name, changes, words, tmp_path, labelled_world, capsys):
    places = {place: tmp_path / place for place in ("nameless", "strange", "narrow")}
    folder = places["nameless"] / "a" / "b" / "c"
    folder.mkdir(parents=True)
    for number in range(20):
        Image.new("RGB", (16, 32)).save(folder / f"{number}.jpg")
    strange = {f"net.{key}": array for key, array in TRUNK.items()}
    for place, tensors in (("strange", strange), ("narrow", TRUNK)):
        files.write(tmp_path / f"{place}.safetensors", tensors)
        places[place] = tmp_path / f"{place}.safetensors"
    changes = [change.format(**places) for change in changes]
    assert train(name, labelled_world, tmp_path, *changes) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_file_with_other_classes_is_refused(tmp_path, labelled_world, capsys):
    """Five in the file, six people here."""
    files.write(tmp_path / "a.safetensors", translate.to_torch(model_of(PNL))[1])
    configuration = write_configuration(tiny("pnl", labelled_world), tmp_path / "config.py")
    chosen = ["--config", configuration, "--set", "task.class_multiple=1"]
    assert convert(tmp_path / "a.safetensors", tmp_path / "run", *chosen) == 2
    assert "the file has 5 classes, and the run 6: 6 identities" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_pnl_goes_on_after_a_detour_through_a_file(tmp_path, labelled_world):
    """Classifier, prototypes, labels of the queue and momentum travel. The run that comes out is
    evaluated, and gives its backbone to a fine-tuning."""
    recipe = tiny("pnl", labelled_world)
    run(recipe, tmp_path / "whole")
    run(tiny("pnl", labelled_world, train__epochs=1), tmp_path / "half")
    assert convert(tmp_path / "half", tmp_path / "half.npz") == 0
    configuration = write_configuration(recipe, tmp_path / "config.py")
    assert convert(tmp_path / "half.npz", tmp_path / "again", "--config", configuration) == 0
    run(recipe, tmp_path / "again")
    whole = final(tmp_path / "whole")[1]
    assert_trees_equal(final(tmp_path / "again")[1], whole)
    assert np.any(whole["extra"]["prototypes"])
    measured = {"eval__dataset": "market1501", "eval__root": str(labelled_world)}
    ranking = eval_mode.run(
        tiny("pnl", labelled_world, **measured), str(tmp_path / "again"), tasks.TASKS["pnl"]
    )
    assert ranking.num_valid_queries == 12
    changes = {"train__init_from": str(tmp_path / "again")}
    identify = tiny("identify", labelled_world, **changes)
    current = setup.build(identify, str(tmp_path / "finetune"), tasks.TASKS["identify"])
    assert states.read_origin(identify, current.workdir, current.shapes) is not None


@pytest.mark.parametrize(
    ("network", "words", "width"), [(PNL, "pooled", 32), (SIMCLR, "projected", 6)]
)
def test_pictures_are_embedded_with_a_file(network, words, width, tmp_path, capsys):
    weights = tmp_path / "a.safetensors"
    tensors = translate.to_torch(model_of(network))[1]
    tensors |= {key: np.abs(a) for key, a in tensors.items() if key.endswith("running_var")}
    files.write(weights, tensors)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        pixels = generator.integers(0, 256, (32, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number}.png")
    command = ["embed", "--weights", str(weights), "--statistics", "lmdb_200_20"]
    command += ["--size", "32x16", str(pictures), "--out", str(tmp_path / "set.npz")]
    assert cli.main(command) == 0
    assert f"features {words}" in capsys.readouterr().out
    features = np.load(tmp_path / "set.npz")["features"]
    assert features.shape == (3, width)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
