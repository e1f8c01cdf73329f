"""What a pre-training on a table of the size of LUPerson-NL costs before its first step.

    python scripts/benchmark_start.py --rows 10683716 --methods moco pnl --json out.json

Writes LUPerson-NL in LMDB, `keys.pkl` with identities and a small picture under every key, and
begins a run of each method on it in a process of its own: the table is opened, its fingerprint
taken, the run built and checked, the first epoch drawn, and the first batch read. The network is
small, so that nothing but the table is large. Needs Linux and the extra `[lmdb]`.
"""

import argparse
import io
import json
import multiprocessing
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import benchmark_loader
import numpy as np
import process_trees
import rich.table
from PIL import Image

from data_pipeline import terminal
from data_pipeline.read import atomic

METHODS = ("moco", "simclr", "supcont", "pnl")
BATCH = 256
PICTURE = (32, 16)
STAGES = ("import", "table and run", "epoch", "first batch")


def small_picture() -> bytes:
    """A JPEG of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=30)
    return stream.getvalue()


def begin(method: str, home: str) -> dict[str, Any]:
    """Seconds of each stage by both clocks, memory at its end, and the highest."""
    laps, began = {}, _now()

    def lap(stage: str) -> None:
        nonlocal began
        wall, cpu = _now() - began
        laps[stage] = {"seconds": wall, "cpu_seconds": cpu, "bytes": process_trees.own("VmRSS")}
        began = _now()

    from data_pipeline.read.loader import Loader
    from luperson_jax import config, tasks
    from luperson_jax.run import setup

    lap(STAGES[0])
    settings = {
        "task": {"name": method},
        "model": {"arch": "resnet18", "width": 4},
        "data": {"dataset": "luperson_nl", "root": home, "batch_size": BATCH, "canvas": PICTURE},
        "augment": {"recipe": "ori", "statistics": "lmdb_200_20"},
    }
    settings["data"] |= {"size": PICTURE, "num_workers": 2}
    recipe = config.resolve(settings, tasks.OPTIONS)
    with tempfile.TemporaryDirectory() as workdir:
        current = setup.build(recipe, workdir, tasks.TASKS[method])
    lap(STAGES[1])
    rows = current.task.sampler(current.table, 0, current.steps_per_epoch)
    lap(STAGES[2])
    with Loader(current.table, rows, setup.loader_options(recipe)) as loader:
        batch = next(iter(loader))
    assert batch["mask"].all()
    lap(STAGES[3])
    return {
        "method": method,
        "rows": len(current.table),
        "identities": current.table.num_ids,
        "stages": laps,
        "peak_bytes": process_trees.own("VmHWM"),
    }


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def table_of(figures: Sequence[dict[str, Any]]) -> rich.table.Table:
    """A line for each stage of each method."""
    table = rich.table.Table()
    for column in ("", "seconds", "CPU seconds", "MiB after"):
        table.add_column(column, justify="right" if column else "left")
    for one in figures:
        table.add_section()
        rows, identities = one["rows"], one["identities"]
        peak = f"{one['peak_bytes'] / 2**20:.0f} at most"
        table.add_row(f"{one['method']}, {rows} rows, {identities} people", "", "", peak)
        for name, stage in one["stages"].items():
            times = (f"{stage[clock]:.1f}" for clock in ("seconds", "cpu_seconds"))
            table.add_row(f"  {name}", *times, f"{stage['bytes'] / 2**20:.0f}")
    return table


def main() -> int:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="pictures of the table")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["moco", "pnl"])
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures")
    options = parser.parse_args()
    if options.rows < BATCH:
        parser.error(f"--rows must be {BATCH} or more")
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder, "nl")
        benchmark_loader.write_keys(home, options.rows, small_picture())
        for method in options.methods:
            context = multiprocessing.get_context("spawn")
            with futures.ProcessPoolExecutor(1, context) as pool:
                figures.append(pool.submit(begin, method, str(home)).result())
    if options.json is not None:
        atomic.write_text(options.json, json.dumps(figures, indent=2) + "\n")
    terminal.console(soft_wrap=False).print(table_of(figures))
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("benchmark_start", main))
