"""Kills a run at random moments and resumes it; its end must equal that of a run left alone.

    python scripts/check_resume.py [--kills 3] [--seed 0] [--root FOLDER]
    python scripts/check_resume.py --config configs/demo.py:pretrain --config.data.root=DIR ...

Trains the same recipe twice, each time by `python -m luperson_jax.main`: once in peace, once killed
with SIGKILL, which no program can catch. A quarter of the kills, one at least, wait until a
checkpoint is being written. The last checkpoints are compared bit for bit. The exit status is 0
where they are equal and every kill came in time. Without --config a small MoCo run on drawn
pictures is taken.
"""

import argparse
import pathlib
import random
import sys
import tempfile

import killing
from absl import logging

from data_pipeline import terminal
from data_pipeline.synthetic import layouts

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


def check(arguments: list[str], folder: pathlib.Path, number: int, seed: int) -> bool:
    """Runs both and compares; whether everything went as it must."""
    whole, pieces = folder / "whole", folder / "pieces"
    if killing.Job(arguments, whole).wait():
        sys.stderr.write((whole / killing.LOG_FILE).read_text())
        return False
    total = killing.last_step(whole)
    terminal.say(f"left alone: {total} steps")
    kills = killing.plan_kills(total, number, random.Random(seed))
    good, in_save = killing.kill_often(arguments, pieces, kills)
    step, count, unequal = killing.differences(whole, pieces)
    for name in unequal:
        terminal.say(f"differs: {name}")
    sys.stdout.write(
        f"step {step}: {count - len(unequal)} of {count} tensors equal bit for bit; "
        f"{in_save or 'no'} kill{'s' * (in_save > 1)} hit a save\n"
    )
    return good and in_save > 0 and not unequal


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
            arguments = [f"--config={killing.ROOT / 'configs' / 'demo.py'}:pretrain", *SMALL]
            arguments += [f"--config.data.root={folder / 'world'}", *overrides]
        return 0 if check(arguments, folder, options.kills, options.seed) else 1


if __name__ == "__main__":
    sys.exit(terminal.run("check_resume", main))
