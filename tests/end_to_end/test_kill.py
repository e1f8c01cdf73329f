"""A run that is killed and resumed ends like one that was left alone."""

import pathlib
import subprocess
import sys

from tests.end_to_end.commands import ROOT, environment


def test_a_killed_run_ends_like_one_left_alone(tmp_path: pathlib.Path):
    script = ROOT / "scripts" / "check_resume.py"
    options = ["--kills", "1", "--seed", "1", "--root", str(tmp_path / "runs")]
    short = "--config.train.epochs=6"
    done = subprocess.run(
        [sys.executable, str(script), *options, short],
        env=environment(devices=2),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left alone: 24 steps" in done.stdout
    assert "inside the save of step" in done.stdout
    assert "0 of 0" not in done.stdout
