"""Seconds and memory of exact ranking, beside plain NumPy in the same run.

    python scripts/benchmark_retrieval.py --case market1501 msmt17 million --json out.json
    python scripts/benchmark_retrieval.py --case 500x4000x256 1000x4000x256 500x8000x256
    python scripts/benchmark_retrieval.py --whole

Distances, removal of a query's own camera, mAP, CMC and mINP of drawn features. Every measurement
is a process of its own, so that its peak memory is its own. NumPy does what evaluators in Python
do: the whole matrix of distances, argsort, and a loop over the queries. It may take a part of the
queries; its seconds for all of them are then extrapolated. The memory of a ranking from files
counts their pages, which the system takes back when it needs them.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy_evaluator import rank_in_numpy

from data_pipeline import terminal
from data_pipeline.read import atomic
from luperson_jax.retrieval import ranking
from luperson_jax.structs import EmbeddingSet

IMAGES_OF_AN_IDENTITY = 20
NUM_CAMERAS = 6
BLOCK = 65536


class Size(NamedTuple):
    """Numbers of queries, gallery images and dimensions, and whether features lie in files."""

    queries: int
    gallery: int
    dimensions: int
    memmap: bool = False


CASES = {
    "market1501": Size(3368, 15913, 2048),
    "msmt17": Size(11659, 82161, 2048),
    "million": Size(3368, 1_000_000, 512, memmap=True),
}


def size_of(text: str) -> Size:
    """A case by its name, or QxNxD with `mapped` behind it for features in files."""
    if text in CASES:
        return CASES[text]
    numbers = text.removesuffix("mapped").split("x")
    if len(numbers) != 3 or not all(part.isdecimal() and int(part) for part in numbers):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no case; expected {', '.join(CASES)} or QUERIESxGALLERYxDIMENSIONS"
        )
    return Size(*map(int, numbers), memmap=text.endswith("mapped"))


def draw(size: Size, folder: pathlib.Path) -> list[EmbeddingSet]:
    """Query and gallery: identities in several cameras, and features that tell them apart with
    errors, about as many whatever the number of dimensions."""
    random = np.random.default_rng(0)
    noise = np.float32(size.dimensions**0.25 / 2)
    num_identities = max(2, size.gallery // IMAGES_OF_AN_IDENTITY)
    sets = []
    for name, num in (("query", size.queries), ("gallery", size.gallery)):
        shape = (num, size.dimensions)
        features = np.empty(shape if not size.memmap else (0, 0), np.float32)
        if size.memmap:
            path = folder / f"{name}.npy"
            features = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        pid = random.integers(0, num_identities, num)
        for start in range(0, num, BLOCK):
            rows = slice(start, start + BLOCK)
            features[rows] = random.standard_normal(features[rows].shape, np.float32) * noise
            for row, one in enumerate(pid[rows], start):
                center = np.random.default_rng(int(one)).integers(0, 2, size.dimensions)
                features[row] += 2 * center.astype(np.float32) - 1
        sets.append(EmbeddingSet(features, pid, random.integers(0, NUM_CAMERAS, num), ("",) * num))
    return sets


def whole_processes(size: Size, rounds: int) -> dict[str, Any]:
    """`luperson metrics` and the evaluator in NumPy from saved features, started in turn: seconds
    by the clock and of the CPU from start to end."""
    spent: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(pathlib.Path(folder, f"{name}.npz")) for name in ("query", "gallery")]
        for path, one in zip(paths, draw(size, pathlib.Path(folder)), strict=True):
            np.savez(path, features=one.features, pid=one.pid, camera=one.camera)
        evaluator = pathlib.Path(__file__).with_name("numpy_evaluator.py")
        programs = {
            "luperson metrics": [
                *("-m", "luperson_jax.cli", "metrics", "--query", paths[0], "--gallery", paths[1])
            ],
            "numpy": [str(evaluator), *paths],
        }
        for _ in range(rounds):
            for name, arguments in programs.items():
                began = _clocks()
                command = [sys.executable, *arguments]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                spent.setdefault(name, []).append((_clocks() - began).tolist())
    return {
        "size": size._asdict(),
        "rounds": rounds,
        "seconds": {name: statistics.median(one[0] for one in all) for name, all in spent.items()},
        "cpu_seconds": {
            name: statistics.median(one[1] for one in all) for name, all in spent.items()
        },
    }


def _clocks() -> np.ndarray:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.perf_counter(), children.ru_utime + children.ru_stime])


def measure(size: Size, method: str, rounds: int, num_queries: int) -> dict[str, Any]:
    """One measurement, in this process, after a ranking of one image that compiles."""
    numpy, seconds, ap = method == "numpy", [], np.empty(0)
    with tempfile.TemporaryDirectory() as folder:
        query, gallery = draw(size, pathlib.Path(folder))
        if numpy:
            query = query.take(np.arange(num_queries))
        else:
            one = query.take(np.arange(1))
            ranking.rank(one, EmbeddingSet(one.features, one.pid, one.camera + 1, one.key))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(1 if numpy else rounds):
            began = time.perf_counter()
            ap = rank_in_numpy(query, gallery) if numpy else ranking.rank(query, gallery).ap
            seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "size": size._asdict(),
        "method": method,
        "seconds": statistics.median(seconds) * size.queries / len(ap),
        "extrapolated": len(ap) < size.queries,
        "range": [min(seconds), max(seconds)],
        "megabytes_above_features": peak / 1024,
        "mAP": float(np.nanmean(ap[:num_queries])),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }


def main() -> int:
    """Measures every case and prints a line for each measurement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = f"{', '.join(CASES)}, or QxNxD such as 500x4000x256; QxNxDmapped reads from files"
    parser.add_argument(
        "--case", nargs="+", type=size_of, default=[CASES["market1501"]], help=names
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--baseline-queries", type=int, default=500, help="of NumPy; 0 for none")
    parser.add_argument(
        "--whole", action="store_true", help="whole processes from saved features, in turn"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        size, *rest = json.loads(options.measure)
        sys.stdout.write(json.dumps(measure(Size(*size), *rest)))
        return 0
    figures = []
    for one in _measured(options):
        figures.append(one)
        terminal.say(json.dumps(one))
        if options.json:
            atomic.write_text(options.json, json.dumps(figures, indent=2) + "\n")
    return 0


def _measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for size in options.case:
        if options.whole:
            yield whole_processes(size, options.rounds)
            continue
        num_queries = min(options.baseline_queries, size.queries)
        for method in ("ours", "numpy") if num_queries else ("ours",):
            wanted = json.dumps([size, method, options.rounds, num_queries or size.queries])
            command = [sys.executable, __file__, "--measure", wanted]
            child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            yield json.loads(child.stdout)


if __name__ == "__main__":
    sys.exit(terminal.run("benchmark_retrieval", main))
