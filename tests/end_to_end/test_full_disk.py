"""A disk that becomes full while a run trains ends it with one message, and loses nothing saved."""

import pathlib
import subprocess

import pytest

from luperson_jax.workdir import checkpoint, saved_steps
from tests.end_to_end.commands import PRETRAIN, losses, start

OPTIONS = ("--config.train.checkpoint_every_steps=1", "--config.train.keep_checkpoints=99")
LONG = ("--config.train.epochs=4", "--config.eval.dataset=")


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of 5 MB: of two checkpoints and a half."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk of a given size can be mounted: {error}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_run_on_a_disk_that_becomes_full(small_disk: pathlib.Path, unlabelled_world):
    workdir = small_disk / "run"
    place = (f"--config.data.root={unlabelled_world}", f"--workdir={workdir}")
    command = (*PRETRAIN, *place, *OPTIONS, *LONG)
    ended = start(*command)
    said, complained = ended.communicate(timeout=300)
    assert ended.returncode == 2, complained
    assert len(complained.splitlines()) == 1, complained
    assert "cannot write a checkpoint to" in complained
    assert "Make room and give the same command again" in complained
    saved = saved_steps.of(workdir)
    assert saved
    assert f"step {saved[-1]} is the last whole one" in complained
    assert checkpoint.Checkpoints(workdir, read_only=True).read()[0] == saved[-1]

    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    again = start(*command)
    said, complained = again.communicate(timeout=300)
    assert again.returncode == 0, complained
    assert f"resuming at step {saved[-1]} of 16" in said
    assert sorted(losses(workdir)) == list(range(1, 17))
