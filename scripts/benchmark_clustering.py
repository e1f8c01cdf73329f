"""Seconds and memory of the clustering of an epoch, beside the same in plain numpy.

    python scripts/benchmark_clustering.py --images 12936 32621 --methods dbscan communities \
        --linkage 4910 --json clustering.json

Everything between features and batches is measured: neighbors, Jaccard distances, clusters, their
means and all logged figures, and each part of it by itself. The baseline has the matrices of all
pairs, a loop over images and scikit-learn's DBSCAN; sets beyond --baseline_limit images are too
large for it. --linkage is average linkage over the images of one camera with the silhouettes of two
numbers of clusters, as CALR's local stage has it. Every measurement runs in a process of its own;
features are drawn as in benchmark_rerank.
"""

import argparse
import itertools
import json
import pathlib
import sys
import time
from typing import Any

import benchmark_rerank
import jax
import numpy as np
import sklearn.cluster

from data_pipeline import terminal
from luperson_jax.clustering import grouping, quality
from luperson_jax.clustering.jaccard import jaccard_distance
from luperson_jax.clustering.linkage import average_linkage

HOW = grouping.Grouping()
LINKAGE_DIVISORS = (5, 20)
"""Images a cluster of the two numbers that are compared."""


class Laps:
    """Seconds of one part after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def end(self, part: str) -> None:
        """Notes the part that ends now."""
        now = time.perf_counter()
        self.seconds[f"seconds_{part}"], self._began = now - self._began, now


def cluster(features: np.ndarray, method: str) -> dict[str, float]:
    """`grouping.group` with a lap between its two halves, then means and figures."""
    how = grouping.Grouping(method)  # type: ignore[arg-type]
    laps = Laps()
    pairs = jaccard_distance(features, k1=how.k1, k2=how.k2, max_distance=how.eps)
    laps.end("distances")
    labels = grouping.labels_of(features, pairs, how)
    laps.end("labels")
    grouping.centers(features, labels, int(labels.max()) + 1)
    laps.end("means")
    none = np.full(len(features), -1)
    quality.figures(pairs, labels, none, none, none)
    laps.end("figures")
    return {**_found(labels), "pairs": len(pairs.distance), **laps.seconds}


def link(features: np.ndarray, _: str) -> dict[str, float]:
    """Distances and average linkage for two numbers of clusters, with their silhouettes."""
    laps, number = Laps(), len(features)
    pairs = jaccard_distance(features, k1=min(HOW.k1, number), k2=HOW.k2)
    laps.end("distances")
    numbers = [max(number // divisor, 2) for divisor in LINKAGE_DIVISORS]
    found = average_linkage(pairs, numbers)
    laps.end("linkage")
    best = max(found, key=lambda one: float(quality.silhouette(pairs, found[one]).mean()))
    laps.end("silhouettes")
    return {**_found(found[best]), **laps.seconds}


def numpy_cluster(features: np.ndarray, _: str) -> dict[str, float]:
    """DBSCAN by matrices of all pairs, and the means."""
    distance = 2 - 2 * features @ features.T
    order = np.argsort(distance, axis=1, kind="stable")[:, : HOW.k1]
    vectors = benchmark_rerank.dense_vectors(order, distance, HOW.k1, HOW.k1)
    jaccard = benchmark_rerank.dense_jaccard(vectors, len(features))
    method = sklearn.cluster.DBSCAN(eps=HOW.eps, min_samples=HOW.min_samples, metric="precomputed")
    labels = method.fit(jaccard).labels_
    for number in range(labels.max() + 1):
        features[labels == number].mean(axis=0)
    return _found(labels)


def _found(labels: np.ndarray) -> dict[str, float]:
    return {"clusters": int(labels.max() + 1), "outliers": int((labels < 0).sum())}


WORK = {"cluster": cluster, "linkage": link, "numpy": numpy_cluster}


def measure(work: str, method: str, number: int, dimension: int) -> dict[str, Any]:
    """One measurement in this process, after a small one that loads what loads once. Compiling for
    the full size is counted."""
    features = benchmark_rerank.draw_features(number, dimension)
    WORK[work](features[: 4 * HOW.k1], method)
    return {
        **{"work": work, "method": method, "images": number, "dimension": dimension},
        "device": jax.devices()[0].device_kind,
        **benchmark_rerank.measured(lambda: WORK[work](features, method)),
    }


def main() -> int:
    """Measures all that is asked for and prints a line for each measurement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", nargs="*", type=int, default=[12936], metavar="N")
    parser.add_argument("--methods", nargs="+", choices=grouping.METHODS, default=["dbscan"])
    parser.add_argument("--linkage", nargs="*", type=int, default=[4910], metavar="N")
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--baseline_limit", type=int, default=20_000)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(measure(*json.loads(options.measure))))
        return 0
    jobs = [("linkage", "average", number) for number in options.linkage]
    jobs += [("cluster", *job[::-1]) for job in itertools.product(options.images, options.methods)]
    jobs += [
        ("numpy", "dbscan", number) for number in options.images if number <= options.baseline_limit
    ]
    with_dimension = [(*job, options.dimension) for job in jobs]
    benchmark_rerank.run_jobs(__file__, with_dimension, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("benchmark_clustering", main))
