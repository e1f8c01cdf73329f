"""Runs that are killed at random moments and started again, and what is left of them."""

import atexit
import dataclasses
import itertools
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from data_pipeline import terminal
from data_pipeline.synthetic import layouts
from luperson_jax import trees
from luperson_jax.structs import Tree
from luperson_jax.workdir import checkpoint

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAST_SHARE = 0.85  # of the run in which kills fall: a save must still follow the last of them
POLL_SECONDS = 0.002
LOG_FILE = "output.txt"
RECENT_BYTES = 4096
STEPS = ("--config.train.log_every_steps=1", "--config.train.checkpoint_every_steps=3")


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where a run is started: devices of each process, and processes. 0 devices = as they are."""

    devices: int = 0
    processes: int = 1

    def __str__(self) -> str:
        return f"{self.processes} x {self.devices}" if self.devices else "here"


HERE = Machine()


@dataclasses.dataclass(frozen=True)
class Kill:
    """When a run is to be killed: once it has reported `step`, then `seconds` later or, if
    `in_save`, as soon as a checkpoint is being written."""

    step: int
    seconds: float
    in_save: bool


def plan_kills(total_steps: int, number: int, rng: random.Random) -> list[Kill]:
    """Random moments, one in each of `number` equal parts of the run; a quarter of them in a save,
    but at least one."""
    part = LAST_SHARE * total_steps / number
    chosen = rng.sample(range(number), max(number // 4, 1))
    return [
        Kill(1 + int(part * (i + rng.random())), 0.1 * rng.random(), i in chosen)
        for i in range(number)
    ]


class Job:
    """A run, in process groups of their own that write to `output.txt`. It is killed where the
    script ends before it.

    Args:
        arguments: of `python -m luperson_jax.main`, but for the workdir.
        workdir: of the run; it is resumed where it has begun.
        machine: where.
        steps: settings of how often it tells of its steps and saves them.
    """

    def __init__(
        self,
        arguments: list[str],
        workdir: pathlib.Path,
        machine: Machine = HERE,
        steps: Sequence[str] = STEPS,
    ):
        workdir.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, "-m", "luperson_jax.main"]
        command = [*program, *arguments, *steps, f"--workdir={workdir}"]
        variables = {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax")} | dict(os.environ)
        variables["PYTHONUNBUFFERED"] = "1"
        if machine.devices:
            flag = f"--xla_force_host_platform_device_count={machine.devices}"
            variables |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flag}
        job = []
        if machine.processes > 1:
            place = f"--coordinator=localhost:{_free_port()}"
            job = ["--distributed", place, f"--num_processes={machine.processes}"]
        self.processes = []
        atexit.register(self.kill)
        for number in range(machine.processes):
            more = [*job, f"--process_id={number}"] if job else []
            with (workdir / LOG_FILE).open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        [*command, *more],
                        cwd=ROOT,
                        env=variables,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )

    def runs(self) -> bool:
        """Whether none of its processes has ended."""
        return all(process.poll() is None for process in self.processes)

    def wait(self) -> int:
        """The worst exit status."""
        return max(abs(process.wait()) for process in self.processes)

    def kill(self) -> None:
        """SIGKILL to all, which no program can catch."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()


def make_worlds(root: pathlib.Path, extents: Mapping[str, Mapping[str, int]], **size: int) -> None:
    """Drawn people in folders named by their layouts, where they are not there yet."""
    for layout, extent in extents.items():
        if not (root / layout).exists():
            layouts.make(layout, root / layout, **extent, **size)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def last_step(workdir: pathlib.Path, offset: int = 0, *, recent: bool = False) -> int:
    """The newest step that the run has told of, after `offset` bytes of its output, or in the last
    `RECENT_BYTES` of them; 0 for none."""
    with (workdir / LOG_FILE).open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(offset, size - RECENT_BYTES) if recent else offset)
        steps = re.findall(rb"^step (\d+)/", stream.read(), re.MULTILINE)
    return max(map(int, steps), default=0)


def unfinished_saves(workdir: pathlib.Path) -> list[str]:
    """Checkpoints that are being written, or were when their writer died."""
    found = (workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")
    return sorted(path.name.partition(".")[0] for path in found)


def run_and_kill(
    arguments: list[str], workdir: pathlib.Path, kill: Kill, machine: Machine = HERE
) -> str | None:
    """Starts or resumes the run and kills it; says how it went, or None where it ended before."""
    log = workdir / LOG_FILE
    offset = log.stat().st_size if log.is_file() else 0
    job = Job(arguments, workdir, machine)
    while job.runs():
        if last_step(workdir, offset) >= kill.step and (
            not kill.in_save or unfinished_saves(workdir)
        ):
            break
        time.sleep(POLL_SECONDS)
    if not kill.in_save:
        time.sleep(kill.seconds)
    if not job.runs():
        job.kill()
        return None
    job.kill()
    # A save that was finished after all has been renamed.
    left = unfinished_saves(workdir)
    where = f"inside the save of step {', '.join(left)}" if left else "outside of any save"
    missed = " (a save was aimed at, and missed)" if kill.in_save and not left else ""
    return f"killed after step {last_step(workdir, offset)}, {where}{missed}"


def kill_often(
    arguments: list[str],
    workdir: pathlib.Path,
    kills: list[Kill],
    machines: Sequence[Machine] = (HERE,),
) -> tuple[bool, int]:
    """Starts a run again and again, each time on the next machine, and lets it end at last.

    Args:
        arguments, workdir: as of `Job`.
        kills: when.
        machines: where, in turn.

    Returns:
        whether every kill came in time and the end was a good one; how many hit a save.
    """
    good, in_save, places = True, 0, itertools.cycle(machines)
    for kill, machine in zip(kills, places, strict=False):
        outcome = run_and_kill(arguments, workdir, kill, machine)
        good &= outcome is not None
        in_save += outcome is not None and "inside" in outcome
        aim = f"{'the next save after ' if kill.in_save else ''}step {kill.step}"
        ended = outcome or "the run ended before it could be killed"
        terminal.say(f"{machine}, aimed at {aim}: {ended}")
    good &= Job(arguments, workdir, next(places)).wait() == 0
    resumed = re.findall(r"resuming at step (\d+)", (workdir / LOG_FILE).read_text())
    terminal.say(f"resumed at steps {', '.join(resumed) or 'none'}")
    return good, in_save


def read(workdir: pathlib.Path) -> tuple[int, Tree]:
    """The last checkpoint of a run and its step."""
    saved = checkpoint.Checkpoints(workdir, read_only=True)
    try:
        return saved.read()
    finally:
        saved.close()


def differences(one: pathlib.Path, two: pathlib.Path) -> tuple[int, int, list[str]]:
    """Last step of the first run, number of its tensors, and the names of those that differ."""
    (step, tree), (other_step, other) = (read(workdir) for workdir in (one, two))
    if step != other_step or trees.path_names(tree) != trees.path_names(other):
        return step, 0, [f"all: steps {step} and {other_step}"]
    pairs = zip(trees.path_names(tree), jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    arrays = [(name, np.asarray(left), np.asarray(right)) for name, left, right in pairs]
    unequal = [
        name
        for name, left, right in arrays
        if left.dtype != right.dtype or left.tobytes() != right.tobytes()
    ]
    return step, len(arrays), unequal
