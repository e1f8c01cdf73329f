"""Seconds and memory of exact ranking, beside plain NumPy in the same run.

    python scripts/benchmark_retrieval.py --case market1501 msmt17 million --json out.json
    python scripts/benchmark_retrieval.py --case 500x4000x256 --growth

Distances, removal of a query's own camera, mAP, CMC and mINP of drawn features. Every measurement
is a process of its own, so that its peak memory is its own. NumPy does what evaluators in Python
do: the whole matrix of distances, argsort, and a loop over the queries. It may take a part of the
queries; its seconds for all of them are then extrapolated, and the table says so.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import rich.console
import rich.table

from data_pipeline import terminal
from data_pipeline.errors import InputError
from data_pipeline.read import atomic
from luperson_jax.retrieval import ranking, tiles

IMAGES_OF_AN_IDENTITY = 20
NUM_CAMERAS = 6
BLOCK = 65536
SAMPLE_SECONDS = 0.01


class Size(NamedTuple):
    """Numbers of queries, gallery images and dimensions, and whether features lie in files."""

    queries: int
    gallery: int
    dimensions: int
    memmap: bool = False

    def __str__(self) -> str:
        text = f"{self.queries}x{self.gallery}x{self.dimensions}"
        return f"{text}mapped" if self.memmap else text

    @property
    def feature_bytes(self) -> int:
        return 4 * (self.queries + self.gallery) * self.dimensions


CASES = {
    "market1501": Size(3368, 15913, 2048),
    "msmt17": Size(11659, 82161, 2048),
    "million": Size(3368, 1_000_000, 512, memmap=True),
}
GROWTH_FROM = Size(1000, 8000, 256)


class Columns(NamedTuple):
    """Arguments of `ranking.rank`."""

    query: np.ndarray
    query_pid: np.ndarray
    query_camera: np.ndarray
    gallery: np.ndarray
    gallery_pid: np.ndarray
    gallery_camera: np.ndarray


def draw(size: Size, folder: pathlib.Path) -> Columns:
    """Identities in several cameras, and features that tell them apart with errors."""
    random = np.random.default_rng(0)
    # Identities overlap about as much whatever the number of dimensions.
    noise = np.float32(size.dimensions**0.25 / 2)
    num_identities = max(2, size.gallery // IMAGES_OF_AN_IDENTITY)
    columns = []
    for name, num in (("query", size.queries), ("gallery", size.gallery)):
        shape = (num, size.dimensions)
        if size.memmap:
            path = folder / f"{name}.npy"
            features = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        else:
            features = np.empty(shape, np.float32)
        pid = random.integers(0, num_identities, num)
        for start in range(0, num, BLOCK):
            rows = slice(start, start + BLOCK)
            features[rows] = random.standard_normal(features[rows].shape, np.float32) * noise
            for row, one in enumerate(pid[rows], start):
                features[row] += _center(int(one), size.dimensions)
        columns += [features, pid, random.integers(0, NUM_CAMERAS, num)]
    return Columns(*columns)


def _center(identity: int, dimensions: int) -> np.ndarray:
    """A row of signs for each identity, without a matrix of them."""
    mixed = (np.arange(dimensions, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ np.uint64(identity)) * np.uint64(0xBF58476D1CE4E5B9)
    return 1 - 2 * ((mixed >> np.uint64(40)) & np.uint64(1)).astype(np.float32)


def rank_in_numpy(columns: Columns, num_queries: int) -> np.ndarray:
    """Average precision of the first queries, with the whole matrix and a sort of every row."""
    query = columns.query[:num_queries]
    query = query / np.linalg.norm(query, axis=1, keepdims=True)
    gallery = columns.gallery / np.linalg.norm(columns.gallery, axis=1, keepdims=True)
    distance = 1 - query @ gallery.T
    order = np.argsort(distance, axis=1)
    ap = np.full(num_queries, np.nan)
    for row in range(num_queries):
        pid, camera = columns.gallery_pid[order[row]], columns.gallery_camera[order[row]]
        own = pid == columns.query_pid[row]
        hits = own[~(own & (camera == columns.query_camera[row]))]
        if hits.any():
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            ap[row] = precision[hits].mean()
    return ap


class Memory:
    """Peak memory of this process while it works, above what it holds at the start.

    `resident` includes pages of mapped files, which the system takes back when it needs them;
    `anonymous` does not, and is sampled.
    """

    def __enter__(self) -> "Memory":
        self.resident = self.anonymous = 0
        self._start = _status("VmRSS"), _status("RssAnon")
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._sampler.start()
        return self

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self.anonymous = max(self.anonymous, _status("RssAnon") - self._start[1])

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._sampler.join()
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.resident = max(0, peak - self._start[0])


def _status(name: str) -> int:
    """Bytes that Linux states for this process; 0 elsewhere."""
    path = pathlib.Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def measure(size: Size, method: str, rounds: int, num_queries: int) -> dict[str, Any]:
    """One measurement, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        columns = draw(size, pathlib.Path(folder))
        if method == "jax":
            _compile(columns)
        seconds, ap = [], np.empty(0)
        with Memory() as memory:
            for _ in range(rounds):
                began = time.perf_counter()
                if method == "jax":
                    ap = ranking.rank(*columns).ap
                else:
                    ap = rank_in_numpy(columns, num_queries)
                seconds.append(time.perf_counter() - began)
    device = jax.devices()[0]
    return {
        "seconds": statistics.median(seconds),
        "lowest": min(seconds),
        "highest": max(seconds),
        "resident_bytes": memory.resident,
        "anonymous_bytes": memory.anonymous,
        "device_bytes": (device.memory_stats() or {}).get("peak_bytes_in_use"),
        "mAP": float(np.nanmean(ap)),
        "ap": ap[:num_queries].tolist(),
        "device": device.device_kind,
        "num_devices": jax.device_count(),
    }


def _compile(columns: Columns) -> None:
    """A ranking of one image by itself: the shapes of tiles are those of any ranking."""
    one, camera = columns.query[:1], columns.query_camera[:1]
    ranking.rank(one, columns.query_pid[:1], camera, one, columns.query_pid[:1], camera + 1)


def measure_apart(size: Size, method: str, options: argparse.Namespace) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    num_queries = min(options.baseline_queries or size.queries, size.queries)
    rounds = options.rounds if method == "jax" else 1
    wanted = json.dumps([*size]), method, str(rounds), str(num_queries)
    child = subprocess.run(
        [sys.executable, __file__, "--measure", *wanted], stdout=subprocess.PIPE, text=True
    )
    if child.returncode:
        raise InputError(
            f"{method} at {size} ended with status {child.returncode}; a negative one is a signal, "
            "and -9 most likely means that memory was short: choose a smaller --case, or fewer "
            "--baseline-queries"
        )
    return json.loads(child.stdout)


def compare(size: Size, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one case."""
    figures: dict[str, Any] = {"size": size._asdict(), "feature_bytes": size.feature_bytes}
    figures["jax"] = measure_apart(size, "jax", options)
    ours = np.array(figures["jax"].pop("ap"))
    if options.baseline:
        numpy = measure_apart(size, "numpy", options)
        theirs = np.array(numpy.pop("ap"))
        numpy["num_queries"] = len(theirs)
        numpy["extrapolated_seconds"] = numpy["seconds"] * size.queries / len(theirs)
        figures["numpy"] = numpy
        figures["largest_ap_difference"] = float(np.nanmax(np.abs(ours - theirs)))
    return figures


def growth(start: Size) -> dict[str, Size]:
    """The start and each of its numbers twice and four times as large."""
    sizes = {"base": start}
    for name in ("queries", "gallery", "dimensions"):
        for factor in (2, 4):
            sizes[f"{factor} x {name}"] = start._replace(**{name: factor * getattr(start, name)})
    return sizes


def table(results: dict[str, dict[str, Any]]) -> rich.table.Table:
    """Seconds and memory of every case."""
    device = next(iter(results.values()))["jax"]
    shown = rich.table.Table(
        title=f"exact ranking on {device['num_devices']} x {device['device']}",
        caption="MB: peak above the features (*: without pages of mapped files). "
        "~: extrapolated from fewer queries, and the MB are of those.",
    )
    for column in ("case", "seconds", "range", "MB", "NumPy, s", "NumPy, MB", "AP differs"):
        shown.add_column(column)
    for name, figures in results.items():
        ours, memmap = figures["jax"], figures["size"]["memmap"]
        spread = f"{ours['lowest']:.2f} to {ours['highest']:.2f}"
        cells = [name, f"{ours['seconds']:.2f}", spread, _megabytes(ours, memmap)]
        if "numpy" in figures:
            numpy = figures["numpy"]
            sign = "~" if numpy["num_queries"] < figures["size"]["queries"] else ""
            cells.append(f"{sign}{numpy['extrapolated_seconds']:.1f}")
            cells.append(sign + _megabytes(numpy, memmap))
            cells.append(f"{figures['largest_ap_difference']:.0e}")
        shown.add_row(*cells)
    return shown


def _megabytes(figures: dict[str, Any], memmap: bool) -> str:
    if memmap:
        return f"{figures['anonymous_bytes'] / 2**20:.0f}*"
    return f"{figures['resident_bytes'] / 2**20:.0f}"


def _size(text: str) -> Size:
    """A case by its name, or QxNxD with `mapped` behind it for features in files."""
    if text in CASES:
        return CASES[text]
    numbers = text.removesuffix("mapped").split("x")
    if len(numbers) != 3 or not all(part.isdecimal() and int(part) for part in numbers):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no case; expected {', '.join(CASES)} or QUERIESxGALLERYxDIMENSIONS"
        )
    return Size(*map(int, numbers), memmap=text.endswith("mapped"))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = f"{', '.join(CASES)}, or QxNxD such as 500x4000x256; QxNxDmapped reads from files"
    parser.add_argument("--case", nargs="+", type=_size, default=[CASES["market1501"]], help=names)
    parser.add_argument("--growth", action="store_true", help="also double Q, N and D in turn")
    parser.add_argument("--growth-from", type=_size, default=GROWTH_FROM, metavar="QxNxD")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-baseline", dest="baseline", action="store_false")
    parser.add_argument(
        "--baseline-queries", type=int, default=500, help="queries that NumPy ranks; 0 for all"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.baseline_queries < 0:
        parser.error("--rounds must be 1 or more, and --baseline-queries 0 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures every case and prints the table."""
    options = parse(arguments)
    if options.measure:
        size, method, rounds, num_queries = options.measure
        found = measure(Size(*json.loads(size)), method, int(rounds), int(num_queries))
        sys.stdout.write(json.dumps(found))
        return 0
    names = {size: name for name, size in CASES.items()}
    sizes = {names.get(size, str(size)): size for size in options.case}
    if options.growth:
        sizes |= growth(options.growth_from)
    try:
        results = {name: compare(size, options) for name, size in sizes.items()}
    except InputError as error:
        terminal.complain("benchmark_retrieval", error)
        return 2
    terminal.say(table(results))
    if options.json:
        tile = tiles.tile_shape()._asdict()
        atomic.write_text(
            options.json, json.dumps({"tile": tile, "cases": results}, indent=2) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("benchmark_retrieval", main))
