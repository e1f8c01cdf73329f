"""The ranks of all matches, on the host or on devices.

On a CPU NumPy computes the scores and counts, a thread of its own for every core: no JAX is
imported. Products take one thread each meanwhile: those of a BLAS would wait for each other.
"""

import collections
import functools
import math
import os
import threading
from collections.abc import Iterator
from concurrent import futures

import numpy as np
import threadpoolctl

from luperson_jax.retrieval.counting import Counter, passes, query_blocks, score_matches
from luperson_jax.retrieval.execution import Execution, TileShape
from luperson_jax.retrieval.grid_gallery import GridGallery
from luperson_jax.retrieval.grid_rows import (
    GridRows,
    error_bound,
    exact_pairs,
    exact_scores,
    on_grid,
)
from luperson_jax.retrieval.labels import Labels
from luperson_jax.retrieval.rows import HostRows, KnownDistances, read_rows

LEAST_QUERIES, MOST_QUERIES = 32, 1024
"""Queries of a block."""
BLOCK_ELEMENTS = 2**21
"""Numbers in a gallery block, and in the scores that a thread holds (twice): 8 MB."""
MOST_THREADS = 16
ONE_AT_A_TIME = threading.Lock()
"""Held while a ranking has all cores, and BLAS one thread in the whole process."""
MAX_ROW_ELEMENTS = 2**24
"""Distances asked at once of a function that gives whole rows: 64 MB."""


def ranks_of_features(
    query: HostRows, gallery: HostRows, labels: Labels, metric: str, execution: Execution
) -> np.ndarray:
    """Ranks, from 1, of all matches of `labels`, [M] int64, ascending for each query."""
    if not execution.on_host:
        from luperson_jax.retrieval import device_counting  # late: it imports JAX

        return device_counting.ranks_of_features(query, gallery, labels, metric, execution)
    dimensions = query.shape[1]
    queries = _even_blocks(int(np.count_nonzero(labels.num_matches)))
    rows = max(1, BLOCK_ELEMENTS // max(dimensions, queries))
    shape = execution.tile or TileShape(queries, rows)
    counter = Counter(labels)
    limits = threadpoolctl.threadpool_limits
    with ONE_AT_A_TIME, limits(1, "blas"), futures.ThreadPoolExecutor(_num_threads()) as pool:
        rights = GridGallery(gallery, metric, shape.gallery, pool.map)

        def prepared(block: np.ndarray) -> GridRows:
            left = on_grid(query.take(block, len(block)), metric)
            score_matches(counter, block, left, rights)
            return left

        for blocks in passes(labels, shape.queries, dimensions):
            lefts = list(pool.map(prepared, blocks))
            jobs = collections.deque()
            for first, right in _one_ahead(pool, rights):
                for block, left in zip(blocks, lefts, strict=True):
                    jobs.append(pool.submit(_count, counter, block, first, left, right))
                while len(jobs) > len(blocks):
                    jobs.popleft().result()
            for job in jobs:
                job.result()
    return counter.ranks()


def _one_ahead(pool: futures.Executor, gallery: GridGallery) -> Iterator[tuple[int, GridRows]]:
    """First row and rows of every gallery block, each after the next was begun."""
    begun = [pool.submit(gallery.block, first) for first in gallery.firsts[:1]]
    for number, first in enumerate(gallery.firsts):
        right = begun.pop().result()
        begun += [pool.submit(gallery.block, next) for next in gallery.firsts[number + 1 :][:1]]
        yield first, right


def _even_blocks(num_queries: int) -> int:
    """The size of blocks of queries of which every thread gets as many as the others."""
    threads = _num_threads()
    rounds = math.ceil(num_queries / (threads * MOST_QUERIES))
    return max(LEAST_QUERIES, math.ceil(num_queries / (threads * rounds)))


def _num_threads() -> int:
    return min(os.cpu_count() or 1, MOST_THREADS)


def _count(
    counter: Counter, block: np.ndarray, first: int, left: GridRows, right: GridRows
) -> None:
    """A block of queries with a block of the gallery."""

    exactly = functools.partial(exact_pairs, left, right)
    scores = left.rows @ right.rows.T
    scores *= np.float32(-right.weight)
    if right.weight != 1:
        scores += right.offset.astype(np.float32)
    if not counter.add(block, first, scores, error_bound(left, right), exactly):
        counter.add_known(block, first, exact_scores(left.wide(), right, slice(None)))


def ranks_of_rows(distances: KnownDistances, labels: Labels) -> np.ndarray:
    """The same where a function gives the distances, which are compared as float32.

    Raises:
        InputError: a distance is not finite.
    """
    counter, num_gallery = Counter(labels), len(labels.gallery_group)
    for block in query_blocks(labels, max(1, MAX_ROW_ELEMENTS // num_gallery)):
        matrix = read_rows(distances, block, num_gallery)
        places, query_of = counter.places(block)
        counter.own[places] = matrix[query_of, labels.matches[places]]
        counter.add_known(block, 0, matrix)
    return counter.ranks()
