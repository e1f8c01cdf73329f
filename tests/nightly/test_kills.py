"""Runs that are killed at random moments, some while they save, end like those left alone."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.end_to_end.commands import FINETUNE, ROOT, environment

SCRIPT = ROOT / "scripts" / "check_resume.py"
KILLS = int(os.environ.get("LUPERSON_NIGHTLY_KILLS", "8"))
"""Of each run."""
SEEDS = range(int(os.environ.get("LUPERSON_NIGHTLY_SEEDS", "2")))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", ["moco", "finetune"])
def test_a_killed_run_ends_bit_for_bit_like_one_left_alone(
    method: str, seed: int, tmp_path: pathlib.Path, labelled_world: pathlib.Path
):
    chosen = []
    if method == "finetune":
        world = [f"--config.{group}.root={labelled_world}" for group in ("data", "eval")]
        longer = ["--config.train.epochs=20", "--config.eval.every_epochs=4"]
        chosen = [*FINETUNE, *world, *longer, "--config.optim.milestones=(9,)"]
    options = ["--kills", str(KILLS), "--seed", str(seed), "--root", str(tmp_path / "runs")]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options, *chosen],
        env=environment(devices=2),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    sys.stdout.write(f"\n{method}, seed {seed}:\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(\d+) of \1 tensors equal bit for bit", done.stdout)
    assert "Traceback" not in (tmp_path / "runs" / "pieces" / "output.txt").read_text()
