"""Lets tiny runs train for hours, looks at what they hold, and lets others fail.

    python scripts/soak.py --root runs/soak [--minutes 120] [--kinds threads processes]
    python scripts/soak.py --root runs/failures --minutes 0        # the failures alone

First the failures, each with every kind of worker that it concerns: SIGKILL of the program alone,
whose workers and shared memory must be gone in ten seconds; a full disk (needs the right to mount a
small one); pictures to train on or to rank that vanish. Each must end with one message, keep its
last checkpoint and go on from it.

Then one run of each kind, at the same time, by `python -m luperson_jax.main`: MoCo on drawn
pictures, in epochs of 1,000 steps, a checkpoint and an evaluation after each (the published recipe
has 1,632). Every few seconds its memory, processes, threads and open files are read from outside. A
line is fitted to the samples after the first quarter in which all workers stand: MiB per 1,000
steps and the standard error. At the end SIGTERM stops the runs, which must save and say so.

Writes ROOT/soak.json, every minute; the status is 0 where no failure was met in another way and
all runs grew by less than 1 MiB per 1,000 steps, so that the published 330,000 steps take no third
of a GiB. What follows as --config.x.y=v belongs to the recipe.
"""

import argparse
import collections
import dataclasses
import functools
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Sequence

import failures
import killing
import numpy as np
import process_trees
import rich.table
from absl import logging
from process_trees import Holdings

from data_pipeline import terminal
from data_pipeline.read import atomic

KINDS = ("threads", "processes")
MOST_GROWTH = 1.0  # MiB per 1,000 steps
WARM_UP = 0.25  # of the samples
BLOCKS = 24  # neighboring samples are alike: a line is fitted to the means of so many parts
SAMPLE_SECONDS = 3.0
WRITE_SECONDS = 60.0
MIB = 1 << 20
WORKERS = 2
# A batch of 16 pictures of 64 x 32 is large enough to go through shared memory.
TINY = f"""model.width=8 model.bn_group_size=8 data.canvas=64,32 data.size=64,32
    data.batch_size=16 data.num_workers={WORKERS} task.queue_size=256 task.feature_dim=16
    eval.batch_size=16 eval.every_epochs=1 train.best=market1501/mAP train.keep_checkpoints=2
    train.steps_per_epoch=1000 train.epochs=20000"""
STEPS = ("--config.train.log_every_steps=1", "--config.train.checkpoint_every_steps=0")
# What fails does so soon, and evaluates often where the pictures to rank vanish.
SHORT = ("--config.train.steps_per_epoch=60", "--config.eval.every_epochs=1")
COUNTS = ("processes", "threads", "files", "blocks")


def make_worlds(root: pathlib.Path) -> None:
    """Drawn people, to train on and to rank, where they are not there yet."""
    size = {"height": 64, "width": 32, "cameras": 2}
    extents = {
        "folder": {"identities": 48, "tracklets": 2, "frames": 4},
        "market1501": {"identities": 12, "images_per_camera": 3},
    }
    killing.make_worlds(root, extents, **size)


def arguments_of(kind: str, root: pathlib.Path, changes: Sequence[str] = ()) -> list[str]:
    """What `python -m luperson_jax.main` is given, but for the workdir."""
    settings = [*TINY.split(), f"data.worker_kind={kind}"]
    settings += [f"data.root={root / 'folder'}", f"eval.root={root / 'market1501'}"]
    config = f"--config={killing.ROOT / 'configs' / 'demo.py'}:pretrain"
    return [config, *(f"--config.{setting}" for setting in settings), *changes]


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a run held, and when."""

    seconds: float
    step: int
    held: Holdings


def line(steps: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Slope of a line by least squares through the means of `BLOCKS` parts, and its standard error,
    which takes the parts for independent. Not a number where there are too few samples."""
    number = min(BLOCKS, len(steps) // 2)
    if number < 3:
        return float("nan"), float("nan")
    x, y = (
        np.asarray([np.mean(part) for part in np.array_split(np.asarray(one, float), number)])
        for one in (steps, values)
    )
    x -= x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    return slope, float(np.sqrt(rest @ rest / (number - 2) / (x @ x)))


def figures(samples: Sequence[Sample]) -> dict[str, object]:
    """Growth in MiB per 1,000 steps, of all processes and of the first, and numbers at the begin
    and the end (medians of a tenth); of the samples after the warm-up with all workers."""
    after = samples[int(WARM_UP * len(samples)) :]
    numbers = collections.Counter(sample.held.processes for sample in after)
    # Between epochs there are no worker processes.
    common = numbers.most_common(1)[0][0] if numbers else 0
    chosen = [sample for sample in after if sample.held.processes == common]
    found: dict[str, object] = {
        "samples": len(chosen),
        "steps": [chosen[0].step, chosen[-1].step] if chosen else [],
        "minutes": round(samples[-1].seconds / 60, 1) if samples else 0.0,
    }
    for name in ("bytes", "first_bytes"):
        values = [getattr(sample.held, name) / MIB for sample in chosen]
        slope, error = line([sample.step for sample in chosen], values)
        key = name.replace("bytes", "MiB")
        found[key] = [round(statistics.median(part), 2) for part in _ends(values)]
        found[f"{key}_per_1000_steps"] = [1000 * slope, 1000 * error]
    for name in COUNTS:
        values = [getattr(sample.held, name) for sample in chosen]
        found[name] = [statistics.median(part) for part in _ends(values)]
    return found


def _ends(values: list) -> list[list]:
    """The first tenth and the last; of nothing, nothing."""
    tenth = -(-len(values) // 10)
    return [values[:tenth], values[-tenth:]] if values else []


def is_flat(found: dict) -> bool:
    """Whether memory grew by no more than it may, and nothing else grew."""
    slope, error = found["MiB_per_1000_steps"]
    counts = [found[name] for name in ("processes", "threads", "files")]
    return slope - 2 * error < MOST_GROWTH and all(last <= first for first, last in counts)


def fail(kinds: Sequence[str], root: pathlib.Path, changes: Sequence[str]) -> dict[str, dict]:
    """Lets runs fail in each way; what was seen."""
    trials = {}
    for kind in kinds:
        given = arguments_of(kind, root, [*changes, *SHORT])
        for setting in ("data.root", "eval.root"):
            vanished = functools.partial(failures.vanished, setting=setting)
            trials[f"{setting} vanished, {kind}"] = functools.partial(vanished, given)
        trials[f"disk full, {kind}"] = functools.partial(failures.full_disk, given)
        if kind == "processes":
            trials["program killed"] = functools.partial(failures.killed_parent, given)
    return {
        name: failures.check(name, functools.partial(trial, root / "failures" / str(number)))
        for number, (name, trial) in enumerate(trials.items())
    }


def watch(
    jobs: dict[str, killing.Job], root: pathlib.Path, minutes: float, failed: dict[str, dict]
) -> dict[str, dict]:
    """Samples the runs for so long, stops them, and gives their figures. Writes them beside what
    was seen of failures."""
    samples: dict[str, list[Sample]] = {kind: [] for kind in jobs}
    begin = written = time.monotonic()
    while all(job.runs() for job in jobs.values()) and time.monotonic() < begin + 60 * minutes:
        time.sleep(SAMPLE_SECONDS)
        for kind, job in jobs.items():
            step = killing.last_step(root / kind, recent=True)
            if step:
                held = process_trees.holdings(job.processes[0].pid)
                samples[kind].append(Sample(time.monotonic() - begin, step, held))
        if time.monotonic() > written + WRITE_SECONDS:
            written = time.monotonic()
            so_far = {kind: figures(taken) for kind, taken in samples.items()}
            write(root, {"memory": so_far, "failures": failed}, samples)
    early = {kind: job.processes[0].poll() for kind, job in jobs.items()}
    for kind, job in jobs.items():
        if early[kind] is None:
            job.processes[0].terminate()
    found = {}
    for kind, job in jobs.items():
        status = job.wait()
        found[kind] = {**figures(samples[kind]), "status": status, "ended_early": early[kind]}
        found[kind]["saved"] = killing.read(root / kind)[0]
        found[kind]["good"] = status == failures.STOPPED and is_flat(found[kind])
    write(root, {"memory": found, "failures": failed}, samples)
    return found


def write(root: pathlib.Path, found: dict, samples: dict[str, list[Sample]]) -> None:
    """The figures, and the samples beside them."""
    atomic.write_text(root / "soak.json", json.dumps(found, indent=1))
    rows = {
        kind: [[round(one.seconds, 1), one.step, *dataclasses.astuple(one.held)] for one in taken]
        for kind, taken in samples.items()
    }
    names = ["seconds", "step", *(field.name for field in dataclasses.fields(Holdings))]
    atomic.write_text(root / "samples.json", json.dumps({"columns": names, **rows}))


def table_of(found: dict[str, dict]) -> rich.table.Table:
    """The figures for a reader: a column for each kind of worker."""
    table = rich.table.Table(title="what runs of hours hold")
    for name in ("", *found):
        table.add_column(name)
    slopes = {"MiB_per_1000_steps": "growth, MiB per 1,000 steps"}
    slopes["first_MiB_per_1000_steps"] = "the same of the main process"
    for name in ("steps", "minutes", "MiB", *slopes, *COUNTS, "status", "saved", "good"):
        cells = []
        for value in (one[name] for one in found.values()):
            pair = f"{value[0]:g} to {value[1]:g}" if isinstance(value, list) else str(value)
            cells.append(f"{value[0]:.3f} ± {value[1]:.3f}" if name in slopes else pair)
        label = "blocks of shared memory" if name == "blocks" else slopes.get(name, name)
        table.add_row(label, *cells)
    return table


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder of all runs")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options, changes = parser.parse_known_args()
    logging.set_verbosity(logging.ERROR)
    make_worlds(options.root)
    found = {"failures": fail(options.kinds, options.root, changes), "memory": {}}
    write(options.root, found, {})
    if options.minutes > 0:
        jobs = {
            kind: killing.Job(
                arguments_of(kind, options.root, changes), options.root / kind, steps=STEPS
            )
            for kind in options.kinds
        }
        found["memory"] = watch(jobs, options.root, options.minutes, found["failures"])
        terminal.say(table_of(found["memory"]))
    return 0 if all(one["good"] for part in found.values() for one in part.values()) else 1


if __name__ == "__main__":
    sys.exit(terminal.run("soak", main))
