"""Kills a run at random moments and resumes it; its end must equal that of a run left alone.

    python scripts/check_resume.py [--kills 3] [--seed 0] [--root FOLDER]
    python scripts/check_resume.py --config configs/demo.py:pretrain --config.data.root=DIR ...

Trains the same recipe twice, each time by `python -m luperson_jax.main`: once in peace, once killed
with SIGKILL, which no program can catch. One of the kills waits until a checkpoint is being
written. The last checkpoints are compared bit for bit. The exit status is 0 where they are equal
and every kill came in time. Without --config a small MoCo run on drawn pictures is taken.
"""

import argparse
import dataclasses
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from absl import logging

from data_pipeline import terminal
from data_pipeline.synthetic import layouts
from luperson_jax import trees
from luperson_jax.structs import Tree
from luperson_jax.workdir import checkpoint

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAST_SHARE = 0.85  # of the run in which kills fall: a save must still follow the last of them
POLL_SECONDS = 0.002
LOG_FILE = "output.txt"

SMALL = (
    "--config.model.width=8",
    "--config.model.bn_group_size=8",
    "--config.data.canvas=32,16",
    "--config.data.size=32,16",
    "--config.data.batch_size=16",
    "--config.task.queue_size=88",
    "--config.task.feature_dim=16",
    "--config.train.epochs=12",
    "--config.eval.dataset=",
)


@dataclasses.dataclass(frozen=True)
class Kill:
    """When a run is to be killed: once it has reported `step`, then `seconds` later or, if
    `in_save`, as soon as a checkpoint is being written."""

    step: int
    seconds: float
    in_save: bool


def plan_kills(total_steps: int, number: int, rng: random.Random) -> list[Kill]:
    """Random moments, one in each of `number` equal parts of the run, one of them in a save."""
    part = LAST_SHARE * total_steps / number
    chosen = rng.randrange(number)
    return [
        Kill(1 + int(part * (i + rng.random())), 0.1 * rng.random(), i == chosen)
        for i in range(number)
    ]


def start(arguments: list[str], workdir: pathlib.Path) -> subprocess.Popen[bytes]:
    """Starts or resumes the run in a process group of its own; it writes to `output.txt`."""
    workdir.mkdir(parents=True, exist_ok=True)
    steps = ["--config.train.log_every_steps=1", "--config.train.checkpoint_every_steps=3"]
    program = [sys.executable, "-m", "luperson_jax.main"]
    command = [*program, *arguments, *steps, f"--workdir={workdir}"]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax")}
    with (workdir / LOG_FILE).open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=cache | dict(os.environ) | {"PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def last_step(workdir: pathlib.Path, offset: int = 0) -> int:
    """The newest step that the run has told of, after `offset` bytes of its output; 0 for none."""
    with (workdir / LOG_FILE).open("rb") as stream:
        stream.seek(offset)
        steps = re.findall(rb"^step (\d+)/", stream.read(), re.MULTILINE)
    return max(map(int, steps), default=0)


def unfinished_saves(workdir: pathlib.Path) -> list[str]:
    """Checkpoints that are being written, or were when their writer died."""
    found = (workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")
    return sorted(path.name.partition(".")[0] for path in found)


def run_and_kill(arguments: list[str], workdir: pathlib.Path, kill: Kill) -> str | None:
    """Starts or resumes the run and kills it; says how it went, or None where it ended before."""
    log = workdir / LOG_FILE
    offset = log.stat().st_size if log.is_file() else 0
    process = start(arguments, workdir)
    while process.poll() is None:
        if last_step(workdir, offset) >= kill.step and (
            not kill.in_save or unfinished_saves(workdir)
        ):
            break
        time.sleep(POLL_SECONDS)
    if not kill.in_save:
        time.sleep(kill.seconds)
    if process.poll() is not None:
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # A save that was finished after all has been renamed.
    left = unfinished_saves(workdir)
    where = f"inside the save of step {', '.join(left)}" if left else "outside of any save"
    missed = " (a save was aimed at, and missed)" if kill.in_save and not left else ""
    return f"killed after step {last_step(workdir, offset)}, {where}{missed}"


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


def check(arguments: list[str], folder: pathlib.Path, number: int, seed: int) -> bool:
    """Runs both and compares; whether everything went as it must."""
    whole, pieces = folder / "whole", folder / "pieces"
    if start(arguments, whole).wait():
        sys.stderr.write((whole / LOG_FILE).read_text())
        return False
    total = last_step(whole)
    terminal.say(f"left alone: {total} steps")
    good, in_save = True, False
    for kill in plan_kills(total, number, random.Random(seed)):
        outcome = run_and_kill(arguments, pieces, kill)
        good &= outcome is not None
        in_save |= outcome is not None and "inside" in outcome
        aim = f"aimed at {'the next save after ' if kill.in_save else ''}step {kill.step}"
        terminal.say(f"{aim}: {outcome or 'the run ended before it could be killed'}")
    good &= start(arguments, pieces).wait() == 0
    resumed = re.findall(r"resuming at step (\d+)", (pieces / LOG_FILE).read_text())
    terminal.say(f"resumed at steps {', '.join(resumed) or 'none'}")
    step, count, unequal = differences(whole, pieces)
    for name in unequal:
        terminal.say(f"differs: {name}")
    sys.stdout.write(
        f"step {step}: {count - len(unequal)} of {count} tensors equal bit for bit; "
        f"{'a' if in_save else 'no'} kill hit a save\n"
    )
    return good and in_save and not unequal


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", help="recipe; what follows as --config.x.y=v belongs to it")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", type=pathlib.Path, help="folder for the runs, kept; absent now")
    options, overrides = parser.parse_known_args()
    logging.set_verbosity(logging.ERROR)
    if options.kills < 1:
        parser.error("--kills must be 1 or more")
    if options.root is not None and options.root.exists():
        parser.error(f"--root {options.root} exists; give a new folder")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.root or pathlib.Path(temporary)
        arguments = [f"--config={options.config}", *overrides]
        if options.config is None:
            size = {"height": 32, "width": 16, "cameras": 2}
            people = {"identities": 16, "tracklets": 2, "frames": 2}
            layouts.make("folder", folder / "world", **people, **size)
            arguments = [f"--config={ROOT / 'configs' / 'demo.py'}:pretrain", *SMALL]
            arguments += [f"--config.data.root={folder / 'world'}", *overrides]
        return 0 if check(arguments, folder, options.kills, options.seed) else 1


if __name__ == "__main__":
    sys.exit(terminal.run("check_resume", main))
