"""Seconds of the exact ranking of random features of the size of Market-1501.

    python scripts/benchmark_ranking.py --dimensions 16 256 2048

Distances, removal of a query's own camera, mAP, CMC and mINP of 3368 queries in a gallery of 19732
images: 750 people, 6 cameras, and one in seven gallery images nobody's match, as in that set.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

import jax
import numpy as np
import rich.console
import rich.table

from luperson_jax.retrieval import ranking

NUM_QUERIES, NUM_GALLERY = 3368, 19732
NUM_PEOPLE, NUM_CAMERAS = 750, 6
NOBODY = 0
DISTRACTORS = 1 / 7


def make_sets(dimension: int) -> tuple[np.ndarray, ...]:
    """Arguments of `ranking.rank`."""
    random = np.random.default_rng(0)
    arrays = []
    for num in (NUM_QUERIES, NUM_GALLERY):
        features = random.standard_normal((num, dimension), dtype=np.float32)
        arrays += [features, random.integers(1, NUM_PEOPLE + 1, num)]
        arrays.append(random.integers(1, NUM_CAMERAS + 1, num))
    arrays[4][random.random(NUM_GALLERY) < DISTRACTORS] = NOBODY
    return tuple(arrays)


def measure(dimension: int, rounds: int) -> list[float]:
    """Seconds of each round, after one that compiles."""
    sets = make_sets(dimension)
    seconds = []
    for _ in range(1 + rounds):
        began = time.perf_counter()
        report = ranking.rank(*sets)  # numpy values: it has waited for the device
        seconds.append(time.perf_counter() - began)
        assert report.num_queries == NUM_QUERIES
    return seconds[1:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[16, 256, 2048])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    if min(*options.dimensions, options.rounds) < 1:
        parser.error("--dimensions and --rounds must be 1 or more")
    device = jax.devices()[0].device_kind
    table = rich.table.Table(title=f"{NUM_QUERIES} x {NUM_GALLERY} on {device}")
    for column in ("dimensions", "median, s", "lowest to highest, s"):
        table.add_column(column, justify="right")
    for dimension in options.dimensions:
        seconds = measure(dimension, options.rounds)
        spread = f"{min(seconds):.3f} to {max(seconds):.3f}"
        table.add_row(str(dimension), f"{statistics.median(seconds):.3f}", spread)
    rich.console.Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
