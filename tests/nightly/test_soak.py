"""A soak of a minute, and runs that fail: the long one is `scripts/soak.py`."""

import json
import os
import subprocess
import sys

import failures
import numpy as np
import process_trees
import pytest
import soak

from luperson_jax.workdir import saved_steps
from tests.end_to_end.commands import ROOT

MINUTES = os.environ.get("LUPERSON_NIGHTLY_SOAK_MINUTES", "1")


def test_a_line_is_fitted_with_its_standard_error():
    steps = np.arange(240)
    noise = np.random.default_rng(0).normal(size=240)
    slope, error = soak.line(steps.tolist(), (0.02 * steps + noise).tolist())
    assert abs(slope - 0.02) < 3 * error
    assert 5e-4 < error < 2e-3  # 1 / sqrt(sum of (x - mean)^2) = 0.00093
    assert np.isnan(soak.line([1, 2, 3], [1.0, 1.0, 1.0])).all()


def test_growth_is_that_of_moments_at_which_all_workers_stand():
    samples = []
    for step in range(400):
        held = process_trees.Holdings(bytes=(100 + step) << 20, processes=3, threads=9, files=5)
        if step % 4 == 0:  # between two epochs
            held = process_trees.Holdings(bytes=1 << 20, processes=1, threads=3, files=2)
        samples.append(soak.Sample(float(step), step, held))
    found = soak.figures(samples)
    assert found["MiB_per_1000_steps"][0] == pytest.approx(1000)
    assert found["processes"] == [3, 3]
    assert not soak.is_flat(found)


def test_what_a_tree_of_processes_holds():
    program = "import subprocess, sys; a = b'x' * 50_000_000; subprocess.run(['sleep', '60'])"
    child = subprocess.Popen([sys.executable, "-c", program])
    try:
        failures.wait_for(lambda: len(process_trees.tree(child.pid)) == 2, "both", 20)
        held, numbers = process_trees.holdings(child.pid), process_trees.tree(child.pid)
        assert held.processes == 2
        assert 50_000_000 < held.first_bytes < held.bytes < 80_000_000
        assert process_trees.alive(numbers) == numbers
    finally:
        for number in process_trees.tree(child.pid)[::-1]:
            os.kill(number, 9)
        child.wait()
    assert not process_trees.alive(numbers)
    assert process_trees.holdings(child.pid).processes == 0


def test_runs_of_a_minute_stop_when_they_are_told_to_and_leave_their_figures(tmp_path):
    jobs = {}
    soak.make_worlds(tmp_path)
    for kind in soak.KINDS:
        given = soak.arguments_of(kind, tmp_path)
        jobs[kind] = soak.killing.Job(given, tmp_path / kind, steps=soak.STEPS)
    for kind in soak.KINDS:
        begun = lambda kind=kind: soak.killing.last_step(tmp_path / kind)  # noqa: E731
        failures.wait_for(begun, f"the first step with {kind}")
    found = soak.watch(jobs, tmp_path, float(MINUTES), {})
    for kind, one in found.items():
        assert one["status"] == failures.STOPPED, kind
        assert one["saved"] == saved_steps.of(tmp_path / kind)[-1] >= one["steps"][1] > 0
    assert found["threads"]["processes"] == [1, 1]
    assert found["processes"]["processes"][1] == 2 + soak.WORKERS  # and the tracker of its memory
    assert json.loads((tmp_path / "soak.json").read_text())["memory"] == found


def test_failures_are_met_by_one_message_and_a_checkpoint_to_go_on_from(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "soak.py"), "--root", str(tmp_path)]
    done = subprocess.run(
        [*command, "--minutes", "0", "--kinds", "processes"], capture_output=True, text=True
    )
    found = json.loads((tmp_path / "soak.json").read_text())["failures"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(found) == 4
    assert all(one["good"] for one in found.values())
