"""Images per second of the loader, and what a table of a million rows costs to open and shuffle.

    python scripts/benchmark_loader.py --json out.json
    python scripts/benchmark_loader.py --parts speed --originals 128x64 --canvases 256x128 \\
        --storages folder --workers 0 2

The bare loop beside each loader reads, decodes and resizes the same pictures in as many plain
threads, and does nothing else. So the overhead is what grain, batches and the way between processes
cost: in CPU time, which other programs on the machine disturb little, and on the wall, which also
counts waiting. All figures are the best of several turns. Needs Linux.
"""

import argparse
import functools
import itertools
import json
import multiprocessing
import operator
import os
import pathlib
import pickle
import re
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import numpy as np
import process_trees
import rich.console
import rich.table

from data_pipeline import datasets, terminal
from data_pipeline.errors import InputError
from data_pipeline.packing import lmdb_form
from data_pipeline.read import atomic, lmdb_store, shard_layout, storage
from data_pipeline.read.decode import decode, to_canvas
from data_pipeline.synthetic import layouts
from data_pipeline.table import records, samplers
from data_pipeline.table.paths import Paths
from data_pipeline.table.records import Table

PARTS = ("speed", "tables", "shuffles")
STORAGES = ("folder", "lmdb", "array_record")
KINDS = ("threads", "processes")
TABLES = ("rows", "packed", "luperson", "luperson_nl")
ORIGINALS, CANVASES = ("128x64", "400x160"), ("256x128", "384x192")
SIZE = re.compile(r"[1-9]\d*x[1-9]\d*")
AS_THEY_ARE = "as they are"
PICTURES_OF_A_PERSON = 8

# Made-up rows: pictures of a person, of a camera and in a shard.
OF_A_PERSON, OF_A_CAMERA, OF_A_SHARD = 25, 500, 10_000
BATCH = 256
SAMPLERS = {samplers.shuffled: (), samplers.pk: (4,), samplers.pk_camera: (4,)}

# By the two clocks, of the wall and of all cores together.
SPEEDS = {"wall": "images_per_second", "cpu": "images_per_cpu_second"}
SECONDS = ("seconds", "cpu_seconds")
MEMORY = ("bytes_before", "peak_bytes")
LEAST = {"batch_size": 1, "steps": 1, "rounds": 1, "rows": BATCH}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(message)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; raises InputError where they are wrong."""
    parser = _Parser(prog="benchmark_loader", description=(__doc__ or "").splitlines()[0])
    choices = {"parts": PARTS, "storages": STORAGES, "kinds": KINDS, "tables": TABLES}
    for name, valid in choices.items():
        parser.add_argument(f"--{name}", nargs="+", choices=valid, default=valid)
    for name, default in (("originals", ORIGINALS), ("canvases", CANVASES)):
        parser.add_argument(f"--{name}", nargs="+", type=_size, default=default, metavar="HxW")
    parser.add_argument("--root", help="pictures of any size, where they are not to be drawn")
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2, 4])
    for name, default, meaning in (
        ("images", 512, "pictures to draw of each size"),
        ("batch-size", 64, "pictures of a step"),
        ("steps", 16, "steps of one turn"),
        ("rounds", 3, "turns of each contestant"),
        ("rows", 1_000_000, "rows of a table"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=meaning)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    for name, least in (LEAST | {"images": options.batch_size}).items():
        if (given := getattr(options, name)) < least:
            raise InputError(f"--{name.replace('_', '-')} is {given}; give {least} or more")
    if min(options.workers) < 0:
        raise InputError(f"--workers is {min(options.workers)}; give 0 or more")
    return options


def _size(text: str) -> str:
    if not SIZE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected HEIGHTxWIDTH in pixels")
    return text


def _pixels(size: str) -> tuple[int, int]:
    height, width = map(int, size.split("x"))
    return height, width


def run(options: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """All figures that were asked for; `folder` takes what they need."""
    load = {"before": os.getloadavg()[0]}
    report: dict[str, Any] = {name: [] for name in options.parts}
    if "speed" in options.parts:
        for original in [AS_THEY_ARE] if options.root else options.originals:
            tables = store(original, folder / original, options)
            for canvas in options.canvases:
                facts = {"original": original, "canvas": canvas}
                figures = compare(tables, _pixels(canvas), options)
                report["speed"] += [facts | one for one in figures]
    if "tables" in options.parts:
        report["tables"] = opening(options.tables, folder, options.rows, options.rounds)
    if "shuffles" in options.parts:
        report["shuffles"] = shuffling(options.rows, options.rounds)
    load["after"] = os.getloadavg()[0]
    return {"cores": len(os.sched_getaffinity(0)), "load": load, **report}


def store(original: str, folder: pathlib.Path, options: argparse.Namespace) -> dict[str, Table]:
    """The table of the same pictures in each storage, by its name."""
    root = options.root
    if root is None:
        root = str(folder / "folder")
        height, width = _pixels(original)
        people = -(-options.images // PICTURES_OF_A_PERSON)
        numbers = {"tracklets": 1, "frames": PICTURES_OF_A_PERSON}
        layouts.make("folder", root, identities=people, height=height, width=width, **numbers)
    tables = {}
    for name in options.storages:
        place = str(folder / name)
        if name == "folder":
            tables[name] = datasets.load("image_folder", root).train
        elif name == "lmdb":
            lmdb_form.export("image_folder", root, place)
            tables[name] = datasets.load("luperson", place).train
        else:
            # Here, because a process of `opening` imports this file and need not hold TFDS.
            from data_pipeline.packing import pack

            pack.pack("image_folder", root, place)
            tables[name] = datasets.load("packed", place).train
    return tables


def compare(
    tables: Mapping[str, Table], canvas: tuple[int, int], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Speed of the bare loop from memory, and of bare loops and loaders from each storage."""
    media = next(iter(tables.values())).media
    count = options.batch_size * options.steps
    pictures = [storage.read(one) for one in media[:count]]
    alone = [bare_turn(pictures, bytes, canvas, 1, count) for _ in range(options.rounds)]
    figures = [_figures("memory", "bare", 1, alone)]
    for name, table in tables.items():
        figures += compare_workers(name, table, canvas, options)
    storage.close()
    return figures


def compare_workers(
    name: str, table: Table, canvas: tuple[int, int], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Speed of the bare loop and of the loader by kind and number of workers."""
    count = options.batch_size * options.steps
    bare: dict[int, list[np.ndarray]] = {}
    loaders = []
    for workers in options.workers:
        for kind in options.kinds if workers else options.kinds[:1]:
            # Beside every loader: a machine that slows down slows both.
            for _ in range(options.rounds):
                turn = bare_turn(table.media, storage.read, canvas, max(workers, 1), count)
                bare.setdefault(max(workers, 1), []).append(turn)
            turns = loader_turns(table, canvas, kind, workers, options)
            loaders.append(_figures(name, kind if workers else "calling thread", workers, turns))
    bases = {threads: _figures(name, "bare", threads, turns) for threads, turns in bare.items()}
    for one in loaders:
        base = bases[max(one["workers"], 1)]
        one["overhead"] = {key: base[speed] / one[speed] - 1 for key, speed in SPEEDS.items()}
    return [*bases.values(), *loaders]


def _figures(place: str, kind: str, workers: int, turns: Sequence[np.ndarray]) -> dict[str, Any]:
    speeds = 1 / np.min(turns, axis=0)
    who = {"storage": place, "kind": kind, "workers": workers}
    return who | dict(zip(SPEEDS.values(), speeds.tolist(), strict=True))


def bare_turn(
    media: Sequence, read: Callable[[Any], bytes], canvas: tuple[int, int], threads: int, count: int
) -> np.ndarray:
    """Reads, decodes and resizes `count` pictures in plain threads; seconds per image by `_now`."""

    def work(rows: np.ndarray) -> None:
        for row in rows.tolist():
            to_canvas(decode(read(media[row])), canvas)

    shares = np.array_split(np.arange(count) % len(media), threads)
    with futures.ThreadPoolExecutor(threads) as pool:
        began = _now()
        list(pool.map(work, shares))
        return (_now() - began) / count


def loader_turns(
    table: Table, canvas: tuple[int, int], kind: str, workers: int, options: argparse.Namespace
) -> list[np.ndarray]:
    """Turns of one iteration of a loader, after a warm-up and before its workers run out."""
    # Here, for the same reason as TFDS.
    from data_pipeline.read.loader import Loader, LoaderOptions

    chosen = LoaderOptions(canvas, num_workers=workers, worker_kind=kind)
    margin = (chosen.prefetch + 2 * workers) if workers else 1
    steps = options.steps * options.rounds + 2 * margin
    rows = samplers.shuffled(table, options.batch_size, 0, 0, steps)
    turns = []
    with Loader(table, rows, chosen) as loader:
        batches = iter(loader)
        for _ in range(margin):
            next(batches)
        processes = [process.pid for process in multiprocessing.active_children()]
        for _ in range(options.rounds):
            began = _now(processes)
            for _ in range(options.steps):
                next(batches)
            turns.append((_now(processes) - began) / (options.steps * options.batch_size))
    return turns


def _now(processes: Sequence[int | None] = ()) -> np.ndarray:
    """Clock of the wall, and CPU time of this process and of the given ones, all in seconds."""
    # As clock_getcpuclockid(3) makes a clock of a process.
    clocks = [(~process << 3) | 2 for process in processes if process is not None]
    cpu = time.process_time() + sum(map(time.clock_gettime, clocks))
    return np.array([time.perf_counter(), cpu])


def opening(
    names: Sequence[str], folder: pathlib.Path, rows: int, rounds: int
) -> list[dict[str, Any]]:
    """Seconds and peak memory of opening each table in a process of its own."""
    if "packed" in names:
        write_packed(folder / "packed", rows)
    if {"luperson", "luperson_nl"} & set(names):
        write_keys(folder / "keys", rows)
    figures = []
    for name in names:
        turns = []
        for _ in range(rounds):
            context = multiprocessing.get_context("spawn")
            with futures.ProcessPoolExecutor(1, context) as pool:
                home = folder / ("packed" if name == "packed" else "keys")
                turns.append(pool.submit(open_table, name, home, rows).result())
        least = {key: min(turn[key] for turn in turns) for key in turns[0]}
        figures.append({"table": name, "rows": rows, **least})
    return figures


def open_table(name: str, home: pathlib.Path, rows: int) -> dict[str, float]:
    """Seconds of opening a table, and memory of this process before it and at its highest."""
    before, began = process_trees.own("VmRSS"), _now()
    table = made_up(rows) if name == "rows" else datasets.load(name, str(home)).train
    seconds = _seconds(_now() - began)
    assert len(table) == rows, f"{len(table)} rows of {rows}"
    return {**seconds, "bytes_before": before, "peak_bytes": process_trees.own("VmHWM")}


def _seconds(passed: np.ndarray) -> dict[str, float]:
    return dict(zip(SECONDS, passed.tolist(), strict=True))


def made_up(rows: int) -> Table:
    """A table of pictures that are nowhere, named as those of LUPerson-NL."""
    paths = (f"/pictures/{_key(row).replace('_', '/', 1)}.jpg" for row in range(rows))
    number = np.arange(rows)
    person = number // OF_A_PERSON
    return records.table_of(paths, person, number // OF_A_CAMERA, person)


def _key(row: int) -> str:
    person, frame = divmod(row, OF_A_PERSON)
    return f"{row // OF_A_CAMERA:05d}_{person:06d}_{frame:07d}_00"


def write_packed(home: pathlib.Path, rows: int) -> None:
    """A packed folder with an index, whose shards hold nothing."""
    home.mkdir()
    table = made_up(rows)
    shards = shard_layout.shards_of(table, shard_layout.source_prefix([table]), OF_A_SHARD)
    shard_layout.write_index(home, {"train": shards})
    files = {f"shard-{number:05d}": len(shard.names) for number, shard in enumerate(shards)}
    for file in files:
        (home / file).touch()
    parts = {"train": {"shards": files}}
    description = {"format": shard_layout.FORMAT, "parts": parts, "bytes": dict.fromkeys(files, 0)}
    shard_layout.write_description(home / shard_layout.DESCRIPTION, description)


def write_keys(home: pathlib.Path, rows: int, picture: bytes = b"") -> None:
    """LUPerson-NL as LMDB: a list of keys and identities, and one picture under every key."""
    home.mkdir()
    keys = [_key(row) for row in range(rows)]
    people = [row // OF_A_PERSON for row in range(rows)]
    (home / lmdb_form.KEYS).write_bytes(pickle.dumps({"keys": keys, "pids": people}, protocol=4))
    lmdb_store.write_lmdb(home / lmdb_form.ENVIRONMENT, ((key, picture) for key in keys))


def shuffling(rows: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds and peak memory of the rows of an epoch, which include the result."""
    number, nothing = np.arange(rows), np.zeros(rows, np.int64)
    person = number // OF_A_PERSON
    table = Table(Paths(b"", nothing, nothing), person, number // OF_A_CAMERA, person)
    figures = []
    for sampler, instances in SAMPLERS.items():
        draw = functools.partial(sampler, table, BATCH, *instances)
        turns = []
        for epoch in range(rounds):
            began = _now()
            draw(0, epoch, rows // BATCH)
            turns.append(_now() - began)
        tracemalloc.start()
        draw(0, 0, rows // BATCH)
        costs = _seconds(np.min(turns, axis=0)) | {"peak_bytes": tracemalloc.get_traced_memory()[1]}
        tracemalloc.stop()
        figures.append({"sampler": sampler.__name__, "rows": rows, **costs})
    return figures


def speed_tables(report: Mapping[str, Any]) -> Iterator[rich.table.Table]:
    """Images per second of all contestants; a table for each original and canvas."""
    sizes = operator.itemgetter("original", "canvas")
    for (original, canvas), figures in itertools.groupby(report.get("speed", []), sizes):
        table = rich.table.Table(title=f"{original} to {canvas}")
        for column in ("storage", "workers"):
            table.add_column(column)
        for column in ("images/s", "per CPU s", "overhead", "of CPU"):
            table.add_column(column, justify="right")
        for place, rows in itertools.groupby(figures, operator.itemgetter("storage")):
            table.add_section()
            for one in rows:
                overhead = one.get("overhead", {})
                table.add_row(
                    place,
                    f"{one['workers']} {one['kind']}" if one["workers"] else one["kind"],
                    *(f"{one[speed]:.0f}" for speed in SPEEDS.values()),
                    *(f"{overhead[clock]:.1%}" if overhead else "" for clock in SPEEDS),
                )
        yield table


def million_table(report: Mapping[str, Any]) -> rich.table.Table:
    """Seconds and memory of opening and shuffling tables."""
    table = rich.table.Table(caption="memory of the process that opens a table; of an epoch alone")
    for column in ("", "rows", "seconds", "CPU seconds", "MiB before", "peak MiB"):
        table.add_column(column, justify="right" if column else "left")
    for one in [*report.get("tables", []), *report.get("shuffles", [])]:
        name = f"open {one['table']}" if "table" in one else f"epoch, {one['sampler']}"
        memory = (f"{one[key] / 2**20:.0f}" if key in one else "" for key in MEMORY)
        seconds = (f"{one[key]:.2f}" for key in SECONDS)
        table.add_row(name, f"{one['rows']}", *seconds, *memory)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; the exit status is 2 where the user has something to mend."""
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        with tempfile.TemporaryDirectory() as folder:
            report = run(options, pathlib.Path(folder))
        if options.json is not None:
            atomic.write_text(options.json, json.dumps(report, indent=2) + "\n")
    except (InputError, OSError) as error:
        terminal.complain("benchmark_loader", error)
        return 2
    console = terminal.console(soft_wrap=False)
    for table in speed_tables(report):
        console.print(table)
    if "tables" in report or "shuffles" in report:
        console.print(million_table(report))
    console.print("{cores} cores, load {load[before]:.1f}, then {load[after]:.1f}".format(**report))
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("benchmark_loader", main))
