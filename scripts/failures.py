"""What a run makes of a killed parent, of a full disk and of data that vanish."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

import killing
import process_trees

from data_pipeline import terminal
from luperson_jax.workdir import saved_steps

PATIENCE = 300.0
"""Seconds for what takes one of them on an idle machine."""
KILLED_SECONDS = 10.0
"""After which nothing may be left of a killed program."""
SMALL_DISK = "16m"
PROGRAM = "luperson_jax: "
STOPPED = 128 + signal.SIGTERM
STEPS = ("--config.train.log_every_steps=1", "--config.train.checkpoint_every_steps=20")


class Failure(Exception):
    """A run has not done what it must."""


def expect(condition: object, message: str) -> None:
    """Raises Failure with the message unless the condition holds."""
    if not condition:
        raise Failure(message)


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> float:
    """Seconds until the condition held; Failure where it never did."""
    begin = time.monotonic()
    while not condition():
        passed = time.monotonic() - begin
        expect(passed < seconds, f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.05)
    return time.monotonic() - begin


class Trial:
    """A run that is to fail, and then to go on.

    Args:
        arguments: of the run.
        workdir: of it, absent.
        log: its output, where it must not stand in the workdir.
    """

    def __init__(
        self, arguments: Sequence[str], workdir: pathlib.Path, log: pathlib.Path | None = None
    ) -> None:
        self.arguments, self.workdir, self.saved = list(arguments), workdir, 0
        workdir.mkdir(parents=True)
        if log is not None:
            (workdir / killing.LOG_FILE).symlink_to(log)

    @contextlib.contextmanager
    def running(self, least: int) -> Iterator[killing.Job]:
        """The run, so many steps after the last checkpoint; killed when the block is left."""
        log, until = self.workdir / killing.LOG_FILE, self.saved + least
        former = log.stat().st_size if log.is_file() else 0
        job = killing.Job(self.arguments, self.workdir, steps=STEPS)
        try:
            wait_for(lambda: not job.runs() or self._stands_at(until, former), f"step {until}")
            expect(job.runs(), f"the run ended before step {until}: {self.output()[-500:]}")
            yield job
        finally:
            job.kill()

    def _stands_at(self, step: int, former: int) -> bool:
        """Whether something is saved, and this start, after `former` bytes, has told of a step."""
        saved = saved_steps.of(self.workdir)
        return bool(saved) and killing.last_step(self.workdir, former) >= step

    def output(self) -> str:
        """All that it said, in all of its starts."""
        return (self.workdir / killing.LOG_FILE).read_text()

    def ends(self, job: killing.Job) -> str:
        """The one message with which it ends by itself."""
        wait_for(lambda: not job.runs(), "the end of the run")
        status, said = job.wait(), self.output()
        messages = [one for one in said.splitlines() if one.startswith(PROGRAM)]
        expect(status == 2, f"the status is {status}, expected 2: {said[-2000:]}")
        for unwanted in ("Traceback", "Error:", "Exception"):
            expect(unwanted not in said, f"it said {unwanted}: {said[-2000:]}")
        expect(len(messages) == 1, f"it ended with {len(messages)} messages: {messages}")
        return messages[0].removeprefix(PROGRAM)

    def goes_on(self) -> str:
        """Reads the last checkpoint, starts again from it and stops after the next one."""
        self.saved = killing.read(self.workdir)[0]
        expect(self.saved > 0, "no step was saved")
        with self.running(least=25) as job:
            job.processes[0].terminate()
            wait_for(lambda: not job.runs(), "the end after SIGTERM")
            expect(job.wait() == STOPPED, f"SIGTERM gave {job.wait()}: {self.output()[-2000:]}")
        said = f"resuming at step {self.saved} of"
        expect(said in self.output(), f"it did not say: {said}")
        after = killing.read(self.workdir)[0]
        expect(after > self.saved, f"step {after} is saved, after a start from {self.saved}")
        return f"went on from step {self.saved} to {after}"


def killed_parent(arguments: Sequence[str], folder: pathlib.Path) -> str:
    """SIGKILL of the program alone: its workers and their shared memory must go by themselves."""
    trial, before = Trial(arguments, folder / "run"), process_trees.orphans()
    with trial.running(least=25) as job:
        first = job.processes[0].pid
        wait_for(lambda: len(process_trees.tree(first)) > 2, "worker processes")
        wait_for(process_trees.blocks, "shared memory")
        others = process_trees.tree(first)[1:]
        os.kill(first, signal.SIGKILL)
        job.processes[0].wait()
        gone = wait_for(
            lambda: not process_trees.alive(others), f"the end of {others}", KILLED_SECONDS
        )
        gone += wait_for(
            lambda: not process_trees.orphans() - before, "no shared memory left", KILLED_SECONDS
        )
    return f"{len(others)} processes and their memory were gone in {gone:.1f} s; {trial.goes_on()}"


def full_disk(arguments: Sequence[str], folder: pathlib.Path) -> str:
    """A checkpoint that finds no room; the disk is a small one of its own."""
    disk = folder / "disk"
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(disk)]
    refused = subprocess.run(mount, capture_output=True, text=True)
    if refused.returncode:
        return f"not tried, because mounting is refused: {refused.stderr.strip()}"
    try:
        trial = Trial(arguments, disk / "run", folder / killing.LOG_FILE)
        with trial.running(least=25) as job:
            ballast = _fill(disk)
            message = trial.ends(job)
        expect("cannot write" in message, f"the message is no word of writing: {message}")
        told = re.search(r"step (\d+) is the last whole one", message)
        expect(told, f"the message does not tell the last checkpoint: {message}")
        saved = killing.read(trial.workdir)[0]
        expect(told and int(told[1]) == saved, f"step {saved} is saved, and it said: {message}")
        ballast.unlink()
        return f"{message}; {trial.goes_on()}"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _fill(disk: pathlib.Path) -> pathlib.Path:
    """A file that takes all room that is left."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    return ballast


def vanished(arguments: Sequence[str], folder: pathlib.Path, setting: str) -> str:
    """The folder of a setting is renamed in the middle of a run."""
    name = f"--config.{setting}="
    data = pathlib.Path(next(one.removeprefix(name) for one in arguments if one.startswith(name)))
    own, away = folder / "data", folder / "away"
    shutil.copytree(data, own)
    trial = Trial([*arguments, f"{name}{own}"], folder / "run")
    with trial.running(least=25) as job:
        own.rename(away)
        message = trial.ends(job)
    expect(str(own) in message, f"the message does not name {own}: {message}")
    away.rename(own)
    return f"{message}; {trial.goes_on()}"


def check(name: str, trial: Callable[[], str]) -> dict[str, object]:
    """Tries it; what was seen, and whether it is `good`."""
    begin = time.monotonic()
    try:
        seen, good = trial(), True
    except Failure as failure:
        seen, good = str(failure), False
    terminal.say(f"{name}: {'' if good else 'NOT GOOD: '}{seen}")
    return {"good": good, "seen": seen, "seconds": round(time.monotonic() - begin, 1)}
