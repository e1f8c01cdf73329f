"""One job of several processes is the run that one process would have made.

MoCo runs on a network that compiles at once; the last test has a ResNet."""

import pathlib
import shutil
import socket

import numpy as np
import pytest

from luperson_jax.run import peers
from luperson_jax.workdir import checkpoint
from tests import stand_in
from tests.end_to_end.commands import PRETRAIN, losses, run_here, start
from tests.helpers import assert_equal_to_rounding

# At a usual rate a network this small amplifies rounding from step to step.
LR = 1e-5
STAND_IN = "tests.stand_in"
MIXED = (
    "--config.data.dataset=several",
    "--config.data.weights=3.0,1.0",
    "--config.augment.statistics=lup+imagenet",
    "--config.train.steps_per_epoch=4",
)
SAVED = ("--config.train.checkpoint_every_steps=2", "--config.train.keep_checkpoints=9")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def run_job(*arguments: str, program: str = STAND_IN) -> list[tuple[str, str]]:
    """Two processes with one device each; their outputs, once both have ended well."""
    job = ["--distributed", f"--coordinator=localhost:{free_port()}", "--num_processes=2"]
    processes = [
        start(*arguments, *job, f"--process_id={i}", devices=1, program=program) for i in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    return outputs


def assert_same_run(one: pathlib.Path, two: pathlib.Path) -> None:
    """Equal to rounding: the loss of every step, and the last checkpoint."""
    first, second = losses(one), losses(two)
    assert first.keys() == second.keys()
    np.testing.assert_allclose(list(first.values()), list(second.values()), rtol=1e-5)
    ends = [checkpoint.Checkpoints(workdir, read_only=True).read()[1] for workdir in (one, two)]
    assert_equal_to_rounding(*ends, lr=LR)


@pytest.fixture(scope="module")
def job(tmp_path_factory, labelled_world, unlabelled_world):
    """Arguments, workdir and outputs of a run of two processes, on two data sets, with an
    evaluation."""
    workdir = tmp_path_factory.mktemp("job") / "two"
    mixed = f"image_folder={unlabelled_world},market1501={labelled_world}"
    worlds = (f"--config.data.root={mixed}", f"--config.eval.root={labelled_world}", *MIXED)
    arguments = (*PRETRAIN, *worlds, f"--config.optim.lr={LR}", *SAVED)
    return arguments, workdir, run_job(*arguments, f"--workdir={workdir}")


def test_process_0_speaks_alone(job):
    (spoken, first_errors), (silent, second_errors) = job[2]
    assert "in 2 processes" in spoken
    assert "mAP" in spoken
    # The collective library announces its connections by itself.
    assert [line for line in silent.splitlines() if not line.startswith("[Gloo]")] == []
    assert "Traceback" not in first_errors + second_errors


@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_is_lost_ends_the_other_with_one_line(lost, tmp_path, unlabelled_world):
    place = (f"--config.data.root={unlabelled_world}", f"--workdir={tmp_path}")
    long = ("--config.train.epochs=5000", "--config.eval.dataset=")
    job = ["--distributed", f"--coordinator=localhost:{free_port()}", "--num_processes=2"]
    processes = [
        start(
            *PRETRAIN, *place, *long, *SAVED, *job, f"--process_id={i}", devices=1, program=STAND_IN
        )
        for i in range(2)
    ]
    try:
        assert processes[0].stdout is not None
        for line in processes[0].stdout:
            if line.startswith("step 6/"):
                break
        processes[lost].kill()
        said = processes[1 - lost].communicate(timeout=300)[1]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[1 - lost].returncode
    assert said.startswith(f"luperson: {peers.LOST}")
    assert len(said.splitlines()) == 1, said
    step, _ = checkpoint.Checkpoints(tmp_path, read_only=True).read()
    assert step in (2, 4, 6)


def test_two_processes_train_what_one_process_trains(job, tmp_path, monkeypatch):
    arguments, workdir, _ = job
    stand_in.use(monkeypatch)
    assert run_here(*arguments, f"--workdir={tmp_path / 'one'}") == 0
    assert len(losses(workdir)) == 4
    assert_same_run(workdir, tmp_path / "one")


def test_a_job_resumes_with_another_number_of_processes_and_devices(job, tmp_path):
    arguments, workdir, _ = job
    resumed = shutil.copytree(workdir, tmp_path / "resumed")
    shutil.rmtree(resumed / "checkpoints" / "4")
    process = start(*arguments, f"--workdir={resumed}", devices=1, program=STAND_IN)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "resuming at step 2 of 4" in out
    assert_same_run(workdir, resumed)


def test_labels_of_a_job_are_those_of_its_first_process(tmp_path, labelled_world):
    """A method that clusters at every epoch, on two processes and on one device of one."""
    settings = {
        "task": {"name": "toy_cluster"},
        "model": {"arch": "resnet18", "width": 8, "bn_group_size": 8},
        "data": {"root": str(labelled_world), "canvas": (32, 16), "size": (32, 16)}
        | {"batch_size": 8, "sampler": "pk", "num_instances": 2, "num_workers": 0},
        "optim": {"lr": LR},
        "train": {"epochs": 2, "steps_per_epoch": 2, "log_every_steps": 1},
        "eval": {"batch_size": 8},
    }
    config = tmp_path / "toy.py"
    lines = ["from ml_collections import ConfigDict", "def get_config():"]
    config.write_text("\n".join([*lines, f"    return ConfigDict({settings!r})"]))
    two, one = tmp_path / "two", tmp_path / "one"
    run_job(f"--config={config}", f"--workdir={two}", program="tests.toy_cluster")
    alone = start(f"--config={config}", f"--workdir={one}", devices=1, program="tests.toy_cluster")
    assert "clusters/silhouette" in alone.communicate(timeout=300)[0]
    assert_same_run(two, one)
