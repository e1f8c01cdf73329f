"""An index of many pictures: seconds to save, open and search, and memory beyond the features.

    python scripts/benchmark_index.py --rows 10000 100000 1000000 --dimension 512

Features are drawn, so that no network is needed; each size runs in a process of its own. Opening
maps the features, which the first search then reads from disk, or from the system's cache of it.
"""

import argparse
import json
import pathlib
import resource
import sys
import tempfile
import time
from typing import Any

import benchmark_rerank
import numpy as np
import rich.table

from data_pipeline import terminal
from luperson_jax.serving.gallery_index import Index
from luperson_jax.serving.index_columns import IndexColumns

CAMERAS, QUERIES = 20, 100
COLUMNS = {
    "save": "save, s",
    "open": "open, s",
    "first": "first query, s",
    "query": "a query, s",
    "camera": "of one camera, s",
    "queries": f"{QUERIES} queries, s",
    "memory": "memory above the features, MiB",
}


def drawn(rows: int, dimension: int) -> Index:
    """An index of unit vectors, one camera after the other, a second apart."""
    random = np.random.default_rng(0)
    features = random.standard_normal((rows, dimension), np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    number = np.arange(rows)
    columns = IndexColumns(
        number,
        np.char.add("picture", number.astype(np.str_)),
        number * CAMERAS // rows,
        np.datetime64("2026-01-01", "us") + number.astype("timedelta64[s]"),
    )
    return Index((features,), number, columns, None, "")


def save(rows: int, dimension: int, home: str) -> dict[str, Any]:
    """Seconds to write the index."""
    index = drawn(rows, dimension)
    began = time.perf_counter()
    index.save(home)
    return {"save": time.perf_counter() - began}


def search(rows: int, dimension: int, home: str) -> dict[str, Any]:
    """Seconds to open it and to search in it, and the largest memory beyond its features."""
    del rows
    query = np.random.default_rng(1).standard_normal((QUERIES, dimension), np.float32)
    small = drawn(1000, dimension)
    small.search(query[0])  # what loads once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    laps, began = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal began
        laps[name], began = time.perf_counter() - began, time.perf_counter()

    index = Index.open(home)
    lap("open")
    index.search(query[0])
    lap("first")
    index.search(query[1])
    lap("query")
    index.search(query[2], camera=3)
    lap("camera")
    index.search(query)
    lap("queries")
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    laps["memory"] = (grown - index.parts[0].nbytes) / 2**20
    return laps


def main() -> int:
    """Prints a line for each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        work, *arguments = json.loads(options.measure)
        sys.stdout.write(json.dumps({"save": save, "search": search}[work](*arguments)))
        return 0
    table = rich.table.Table(title=f"{options.dimension} dimensions")
    for title in ("pictures", *COLUMNS.values()):
        table.add_column(title, justify="right")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            home = str(pathlib.Path(folder, "index"))
            found = {}
            for work in ("save", "search"):
                found |= benchmark_rerank.apart(__file__, work, rows, options.dimension, home)
        table.add_row(f"{rows:,}", *(f"{found[name]:.3g}" for name in COLUMNS))
    terminal.console(soft_wrap=False).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("benchmark_index", main))
