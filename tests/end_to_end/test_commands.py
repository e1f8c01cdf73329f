"""What the commands leave behind, and what they say of mistakes."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from luperson_jax import cli
from luperson_jax.workdir import checkpoint
from tests.end_to_end.commands import FINETUNE, PRETRAIN, digests, run_here, start


@pytest.fixture(scope="module")
def runs(tmp_path_factory, labelled_world, unlabelled_world) -> pathlib.Path:
    """A folder with a finished `pretrain` and the `finetune` that started from it."""
    folder = tmp_path_factory.mktemp("runs")
    evaluation = f"--config.eval.root={labelled_world}"
    data = [f"--config.data.root={unlabelled_world}", evaluation, "--config.eval.dataset="]
    assert run_here(*PRETRAIN, *data, f"--workdir={folder / 'pretrain'}") == 0
    data = [f"--config.data.root={labelled_world}", evaluation]
    origin = f"--config.train.init_from={folder / 'pretrain'}"
    assert run_here(*FINETUNE, *data, origin, f"--workdir={folder / 'finetune'}") == 0
    return folder


def test_a_run_leaves_its_recipe_curves_checkpoint_and_results(runs):
    for name, batches in (("pretrain", 4), ("finetune", 2)):
        workdir = runs / name
        assert json.loads((workdir / "recipe.json").read_text())["model"]["width"] == 8
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if "train/loss" in line] == [*range(1, batches + 1)]
        assert any((workdir / "tensorboard").iterdir())
        assert checkpoint.Checkpoints(workdir, read_only=True).steps() == [batches]
    results = json.loads((runs / "finetune" / "results.json").read_text())
    assert results["num_queries"] == 12
    assert "<svg" in (runs / "finetune" / "report.html").read_text()


def test_evaluating_a_checkpoint_gives_the_figures_of_its_training(runs, labelled_world, tmp_path):
    workdir = shutil.copytree(runs / "finetune", tmp_path / "moved")
    (workdir / "results.json").unlink()
    worlds = [f"--config.data.root={labelled_world}", f"--config.eval.root={labelled_world}"]
    process = start(*FINETUNE, *worlds, f"--workdir={workdir}", "--mode=eval")
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert "mAP" in out
    figures = [
        json.loads((folder / "results.json").read_text()) for folder in (workdir, runs / "finetune")
    ]
    best = figures[1].pop("best")
    assert (best["step"], best["mAP"]) == (figures[1]["step"], figures[1]["mAP"])
    assert figures[0] == figures[1]


@pytest.fixture(scope="module")
def places(tmp_path_factory, runs, labelled_world, unlabelled_world) -> dict[str, pathlib.Path]:
    """Folders that mistakes are made with, by the name that stands for them in an argument."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "empty").mkdir()
    (folder / "file").write_text("a file")
    shutil.copytree(unlabelled_world, folder / "damaged")
    victim = sorted((folder / "damaged").rglob("*.jpg"))[7]
    victim.write_bytes(victim.read_bytes()[:200])
    victim.rename(victim.with_name("victim.jpg"))
    workdir = folder / "incomplete"
    workdir.mkdir()
    shutil.copy(runs / "pretrain" / "recipe.json", workdir)
    step, tree = checkpoint.Checkpoints(runs / "pretrain", read_only=True).read()
    del tree["params"]["backbone"]["conv1"]
    incomplete = checkpoint.Checkpoints(workdir)
    incomplete.save(step, tree)
    incomplete.close()
    return {
        "tmp": folder,
        "finished": runs / "pretrain",
        "labelled": labelled_world,
        "unlabelled": unlabelled_world,
    }


# Arguments after those of the finished pre-training, and what its one message must name.
MISTAKES = {
    "data root missing": (["--config.data.root={tmp}/absent"], ["absent", "does not exist"]),
    "data root empty": (["--config.data.root={tmp}/empty"], ["no picture in", "empty"]),
    "data root not given": (["--config.data.root="], ["root is ''"]),
    "no such data set": (["--config.data.dataset=market"], ["'market'", "'market1501'"]),
    "picture damaged": (
        ["--config.data.root={tmp}/damaged", "--workdir={tmp}/first"],
        ["victim.jpg", "damaged JPEG"],
    ),
    "setting misspelt": (["--config.optim.lrr=1.0"], ["optim.lrr", "did you mean 'lr'"]),
    "group misspelt": (["--config.optm.lr=1.0"], ["'optm'", "'optim'"]),
    "setting of another type": (["--config.optim.lr=fast"], ["optim.lr=fast", "a number"]),
    "value not among the choices": (["--config.eval.metric=l3"], ["eval.metric", "'l3'"]),
    "batch and devices": (
        ["--config.data.batch_size=15", "--config.model.bn_group_size=5"],
        ["data.batch_size=15", "2 devices"],
    ),
    "batch and groups": (
        ["--config.model.bn_group_size=6"],
        ["data.batch_size=16", "model.bn_group_size=6"],
    ),
    "queue and batch": (
        ["--config.task.queue_size=15"],
        ["task.queue_size=15", "data.batch_size=16"],
    ),
    "recipe of another run": (["--config.train.seed=5"], ["train.seed: ", "there, 5 here"]),
    "checkpoint incomplete": (["--workdir={tmp}/incomplete"], ["missing params/backbone/conv1"]),
    "checkpoint incomplete, eval": (
        ["--workdir={tmp}/incomplete", "--mode=eval"],
        ["incomplete", "conv1"],
    ),
    "word of other programs": (["--config.optim.learning_rate=1"], ["did you mean 'lr'"]),
    "folder that is a number": (["--config.data.root=2024"], ["2024 does not exist"]),
    "configuration missing": (["--config={tmp}/none.py"], ["none.py"]),
    "workdir a file": (["--workdir={tmp}/file"], ["cannot write to the workdir", "file"]),
    "workdir below a file": (["--workdir={tmp}/file/run"], ["cannot write to the workdir"]),
    "workdir not writable": (["--workdir=/proc/run"], ["cannot write to the workdir '/proc/run'"]),
    "nothing to evaluate": (
        ["--workdir={tmp}/empty", "--mode=eval"],
        ["empty is no workdir"],
    ),
    "evaluation not named": (["--config.eval.dataset=", "--mode=eval"], ["eval.dataset"]),
    "evaluation of another network": (
        ["--config.model.width=4", "--mode=eval"],
        ["model.width: 8 there, 4 here"],
    ),
    "no queries": (
        ["--config.eval.dataset=image_folder", "--config.eval.root={unlabelled}"],
        ["image_folder", "no query images"],
    ),
    "no run to start from": (
        ["--config.train.init_from={tmp}/empty", "--workdir={tmp}/second"],
        ["empty is no workdir"],
    ),
    "option misspelt": (["--wrokdir={tmp}/third"], ["wrokdir", "workdir"]),
    "stray argument": (["train"], ["train: expected GROUP.SETTING=VALUE"]),
    "no such mode": (["--mode=test"], ["--mode", "'test'"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_one_message_and_nothing_lost(mistake, places, capfd):
    arguments, words = MISTAKES[mistake]
    given = [argument.format(**places) for argument in arguments]
    before = digests(places["finished"]), digests(places["tmp"])
    status = run_here(
        *PRETRAIN,
        f"--config.data.root={places['unlabelled']}",
        "--config.eval.dataset=" + ("market1501" if "--mode=eval" in given else ""),
        f"--config.eval.root={places['labelled']}",
        f"--workdir={places['finished']}",
        *given,
    )
    message = capfd.readouterr().err
    assert status == 2
    assert message.startswith("luperson_jax: ")
    assert message.count("luperson_jax: ") == 1
    assert "Traceback" not in message
    for word in words:
        assert word in message
    assert before[0] == digests(places["finished"])
    assert before[1].items() <= digests(places["tmp"]).items()


# Arguments after those of a fine-tuning, and what its one message must name.
FINETUNE_MISTAKES = {
    "part to freeze misspelt": (
        ['--config.optim.freeze=("^backbon/",)', "--config.optim.freeze_epochs=1"],
        ["'^backbon/' matches no parameter", "backbone/conv1/kernel"],
    ),
    "cosine without epochs": (
        ["--config.optim.schedule=flat_cosine", "--config.optim.flat_epochs=1"],
        ["optim.flat_epochs=1", "train.epochs=1"],
    ),
    "average not kept": (["--config.eval.weights=average"], ["needs train.average"]),
    "average not kept, eval": (
        ["--config.eval.weights=average", "--mode=eval", "--workdir={finetuned}"],
        ["finetune keeps no average of its weights at step 2"],
    ),
}


@pytest.mark.parametrize("mistake", FINETUNE_MISTAKES)
def test_a_mistake_in_fine_tuning_ends_with_one_message(
    mistake, runs, labelled_world, tmp_path, capfd
):
    arguments, words = FINETUNE_MISTAKES[mistake]
    before = digests(runs)
    status = run_here(
        *FINETUNE,
        f"--config.data.root={labelled_world}",
        f"--config.eval.root={labelled_world}",
        f"--workdir={tmp_path / 'run'}",
        *(argument.format(finetuned=runs / "finetune") for argument in arguments),
    )
    message = capfd.readouterr().err
    assert status == 2
    assert message.startswith("luperson_jax: ")
    assert "Traceback" not in message
    for word in words:
        assert word in message
    assert before == digests(runs)


def test_the_process_ends_with_status_2_and_that_message_alone(tmp_path):
    process = start(*PRETRAIN, "--config.optim.lrr=1.0", f"--workdir={tmp_path}")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert out == ""
    assert err == "luperson_jax: unknown setting optim.lrr; did you mean 'lr'?\n"


def test_luperson_data_make_writes_a_world(tmp_path):
    program = pathlib.Path(sys.executable).with_name("luperson")
    root = tmp_path / "world"
    numbers = ["--identities", "4", "--cameras", "2", "--height", "32", "--width", "16"]
    command = [program, "data", "make", "--layout", "market1501", "--root", root, *numbers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert "bounding_box_train 16" in done.stdout
    assert len(list((root / "bounding_box_train").iterdir())) == 16


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["make", "--layout", "market", "--root", "{tmp}/new"], "did you mean 'market1501'"),
        (["make", "--layout", "folder", "--root", "{tmp}"], "is not an empty folder"),
        (["make", "--layout", "folder", "--root", "{tmp}/kept.txt"], "is not an empty folder"),
        (["make", "--layout", "folder", "--root", "{tmp}/kept.txt/new"], "kept.txt/new"),
        (["make", "--layout", "folder", "--root", "{tmp}/new", "--cameras", "-2"], "cameras=-2"),
        (["make", "--layout", "folder", "--root", "{tmp}/new", "--height", "-8"], "height -8"),
        (["make", "--layout", "folder", "--root", "{tmp}/new", "--width", "0"], "width 0"),
        (["make", "--layout", "folder", "--root", "{tmp}/new", "--cameras", "two"], "'two'"),
        (["make", "--layout", "folder"], "--root"),
        (["make", "--layout", "folder", "--root", "{tmp}/new", "--colors", "2"], "--colors"),
        (["mak"], "'data mak'"),
        ([], "COMMAND"),
    ],
)
def test_a_mistake_with_luperson_data_ends_with_one_message(arguments, word, tmp_path, capfd):
    (tmp_path / "kept.txt").write_text("kept")
    status = cli.main(["data", *(argument.format(tmp=tmp_path) for argument in arguments)])
    message = capfd.readouterr().err
    assert status == 2
    assert message.startswith("luperson: ")
    assert message.count("luperson: ") == 1
    assert word in message
    assert [path.name for path in tmp_path.rglob("*.*")] == ["kept.txt"]
    assert (tmp_path / "kept.txt").read_text() == "kept"


def test_no_memory_ends_with_one_message(monkeypatch, capfd, tmp_path):
    def fail(*_):
        raise MemoryError("Unable to allocate 40 TiB")

    monkeypatch.setattr("luperson_jax.commands.data_make.run", fail)
    assert cli.main(["data", "make", "--layout", "folder", "--root", str(tmp_path / "new")]) == 1
    message = capfd.readouterr().err
    assert message.startswith("luperson: there is not enough memory (Unable to allocate 40 TiB); ")
    assert message.count("\n") == 1
