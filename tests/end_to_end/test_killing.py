"""Runs that the scripts which kill and watch them start."""

import subprocess
import sys

import process_trees

from tests.end_to_end.commands import ROOT

# A script that is stopped while a run of it, a program that would go on for ten minutes, is alive.
STOPPED = """
import pathlib, sys
import killing

program = pathlib.Path(sys.argv[1], "program")
program.write_text("#!/bin/sh\\nexec sleep 600\\n")
program.chmod(0o755)
sys.executable = str(program)
job = killing.Job([], program.parent / "run")
print(job.processes[0].pid, job.runs(), flush=True)
raise KeyboardInterrupt
"""


def test_a_script_that_is_stopped_leaves_no_run_behind(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(tmp_path)],
        cwd=ROOT / "scripts",
        capture_output=True,
        text=True,
        check=False,
    )
    number, ran = done.stdout.split()
    assert (ran, "KeyboardInterrupt" in done.stderr) == ("True", True)
    assert not process_trees.alive([int(number)])
