"""Seconds and memory of re-ranking, beside plain numpy.

    python scripts/benchmark_rerank.py --rerank 3368x15913 11659x82161 --json benchmark_rerank.json

A size is queries x gallery. Every measurement runs in a
process of its own, whose largest memory is counted from the moment when the features are there.
The baseline is the method written down with matrices of all pairs and a loop over images; sets
beyond --baseline_limit images are too large for it. Features are drawn as overlapping clusters.
How cost grows is asked for by several sizes, several --k1 or several --dimensions.
"""

import argparse
import itertools
import json
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from data_pipeline import terminal
from data_pipeline.read import atomic
from luperson_jax.retrieval.rerank import rerank

IMAGES_PER_IDENTITY, NUM_CAMERAS, LATENT = 20, 6, 64
NOISE = 0.8
K2, LAMBDA = 6, 0.3
ROWS_AT_ONCE = 128
BYTES_PER_UNIT = 1 if sys.platform == "darwin" else 1024
"""Of the largest memory that the system reports."""


def draw_features(num_rows: int, dimension: int) -> np.ndarray:
    """[num_rows, dimension] unit rows: a center for each identity, a shift for each camera and
    noise, in `LATENT` directions, so that neighborhoods overlap as those of a network's do."""
    random = np.random.default_rng(0)
    identities = random.integers(0, max(num_rows // IMAGES_PER_IDENTITY, 1), num_rows)
    centers = random.standard_normal((identities.max() + 1, LATENT), dtype=np.float32)
    shifts = 0.45 * random.standard_normal((NUM_CAMERAS, LATENT), dtype=np.float32)
    spread = random.standard_normal((LATENT, dimension), dtype=np.float32)
    features = np.empty((num_rows, dimension), np.float32)
    for start in range(0, num_rows, 4096):
        rows = slice(start, start + 4096)
        identity = identities[rows]
        latent = centers[identity] + shifts[random.integers(0, NUM_CAMERAS, len(identity))]
        latent += NOISE * random.standard_normal(latent.shape, dtype=np.float32)
        block = latent @ spread
        features[rows] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return features


# What is measured; each returns numbers by which two programs can be compared


def run_rerank(features: np.ndarray, num_queries: int, k1: int) -> dict[str, float]:
    """Distances of all queries to the whole gallery, a block at a time."""
    query, gallery = features[:num_queries], features[num_queries:]
    reranked = rerank(query, gallery, k1=k1, k2=K2, lambda_value=LAMBDA)
    total = 0.0
    for start in range(0, num_queries, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, num_queries)
        total += float(reranked.rows(np.arange(start, stop)).sum(dtype=np.float64))
    return {"mean_distance": total / num_queries / len(gallery)}


def dense_vectors(order: np.ndarray, distance: np.ndarray, size: int, k1: int) -> np.ndarray:
    """[N, N] encoded neighborhoods, image by image."""
    num_rows = len(order)
    vectors = np.zeros((num_rows, num_rows), np.float32)

    def reciprocal(i: int, columns: int) -> np.ndarray:
        forward = order[i, :columns]
        return forward[(order[forward, :columns] == i).any(axis=1)]

    for i in range(num_rows):
        near = reciprocal(i, size)
        members = near
        for candidate in near:
            others = reciprocal(candidate, round(k1 / 2) + 1)
            if len(np.intersect1d(others, near)) > 2 / 3 * len(others):
                members = np.append(members, others)
        members = np.unique(members)
        weight = np.exp(-distance[i, members])
        vectors[i, members] = weight / weight.sum()
    expanded = np.zeros_like(vectors)
    for i in range(num_rows):
        expanded[i] = vectors[order[i, :K2]].mean(axis=0)
    return expanded


def dense_jaccard(vectors: np.ndarray, num_queries: int) -> np.ndarray:
    """[num_queries, N] distances, by the columns that hold an entry of the query."""
    columns = [np.flatnonzero(vectors[:, j]) for j in range(len(vectors))]
    jaccard = np.empty((num_queries, len(vectors)), np.float32)
    for i in range(num_queries):
        overlap = np.zeros(len(vectors), np.float32)
        for j in np.flatnonzero(vectors[i]):
            overlap[columns[j]] += np.minimum(vectors[i, j], vectors[columns[j], j])
        jaccard[i] = 1 - overlap / (2 - overlap)
    return np.maximum(jaccard, 0)


def baseline_rerank(features: np.ndarray, num_queries: int, k1: int) -> dict[str, float]:
    """`run_rerank` by matrices of all pairs."""
    distance = (1 - features @ features.T) ** 2
    distance /= distance.max(axis=1, keepdims=True)
    order = np.argsort(distance, axis=1, kind="stable")
    vectors = dense_vectors(order, distance, k1 + 1, k1)
    final = (1 - LAMBDA) * dense_jaccard(vectors, num_queries) + LAMBDA * distance[:num_queries]
    return {"mean_distance": float(final[:, num_queries:].mean(dtype=np.float64))}


PROGRAMS: dict[str, Callable[[np.ndarray, int, int], dict[str, float]]] = {
    "luperson_jax": run_rerank,
    "numpy": baseline_rerank,
}


def measured(run: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What `run` returns, with its seconds and the memory that it took above what was there."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, worked = time.perf_counter(), time.process_time()
    result = run()
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - worked,
        "gigabytes_above_features": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        * BYTES_PER_UNIT
        / 1e9,
        **result,
    }


def measure(program: str, sizes: list[int], dimension: int, k1: int) -> dict[str, Any]:
    """One measurement in this process, after a small one that loads what loads once. Compiling for
    the full size is counted."""
    run = PROGRAMS[program]
    features = draw_features(sum(sizes), dimension)
    small = min(len(features), 4 * k1)
    run(features[:small], small // 4, k1)
    return {
        **{"program": program, "sizes": sizes, "dimension": dimension, "k1": k1},
        "device": jax.devices()[0].device_kind if program != "numpy" else "host",
        **measured(lambda: run(features, sizes[0], k1)),
    }


def apart(script: str, *arguments: Any) -> dict[str, Any]:
    """What the `measure` of a script tells of a process of its own."""
    command = [sys.executable, script, "--measure", json.dumps(arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def run_jobs(script: str, jobs: Iterable[Sequence[Any]], to: pathlib.Path | None) -> None:
    """Measures one job after the other, prints a line for each, and keeps them in a file."""
    rows = []
    for job in jobs:
        rows.append(apart(script, *job))
        terminal.say(json.dumps(rows[-1]))
        if to:
            atomic.write_text(to, json.dumps(rows, indent=2) + "\n")


def main() -> int:
    """Measures all that is asked for and prints a line for each measurement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rerank", nargs="+", default=["3368x15913"], metavar="QxG")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2048])
    parser.add_argument("--k1", type=int, nargs="+", default=[20])
    parser.add_argument("--baseline_limit", type=int, default=20_000)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(measure(*json.loads(options.measure))))
        return 0
    sizes = [[int(part) for part in size.split("x")] for size in options.rerank]
    kinds = list(itertools.product(options.dimensions, options.k1, PROGRAMS))
    jobs = (
        (program, size, dimension, k1)
        for size in sizes
        for dimension, k1, program in kinds
        if program != "numpy" or sum(size) <= options.baseline_limit
    )
    run_jobs(__file__, jobs, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("benchmark_rerank", main))
