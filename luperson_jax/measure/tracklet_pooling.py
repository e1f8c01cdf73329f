"""Tracklets: a feature of each, pooled from those of its frames while they stream past.

Mean and maximum over the frames are what the first evaluations of video re-identification take:
Zheng et al., "MARS: A Video Benchmark for Large-Scale Person Re-Identification", 2016.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from data_pipeline.errors import InputError
from data_pipeline.table.records import Splits, Table

FRAMES = "none"
"""The pooling that ranks single pictures."""
NUM_FRAMES = 3
"""That stand for a tracklet where it is shown."""
PROTOCOLS = ("mars", "mars_pytorch", "prid2011", "ilids_vid")
"""Protocols of tracklets: single frames ranked by their rules give other figures."""


def chosen(pool: str, splits: Splits) -> str:
    """How the frames of a data set are pooled: "mean", "max" or "none".

    Args:
        pool: one of these, or "auto": the mean where query and gallery are frames of tracklets.
        splits: the data set.

    Raises:
        InputError: a pooling for pictures without tracklets.
    """
    of_tracklets = all(np.any(part.track >= 0) for part in (splits.query, splits.gallery))
    if pool == "auto":
        return "mean" if of_tracklets else FRAMES
    if pool != FRAMES and not of_tracklets:
        raise InputError(
            f"frames of tracklets were to be pooled (eval.pool={pool}, or --pool {pool}), and the "
            "pictures of this data set belong to none; set it to none"
        )
    return pool


def check_protocol(protocol: str, pool: str, splits: Splits) -> None:
    """Raises InputError where a protocol of tracklets would rank single frames."""
    if protocol in PROTOCOLS and pool == FRAMES and np.any(splits.query.track >= 0):
        raise InputError(
            f"--protocol {protocol} ranks tracklets, and with --pool none single frames would be "
            "ranked; give --pool mean or --pool max, or another protocol"
        )


def table_of(table: Table) -> tuple[Table, Int[np.ndarray, "n"]]:
    """The tracklets of a table of frames.

    Returns:
        a table with one row for each tracklet, its first frame, in the order of these; and the
        row there of every frame. A picture without a tracklet is one of its own.
    """
    alone = int(table.track.max(initial=-1)) + 1 + np.arange(len(table))
    track = np.where(table.track >= 0, table.track, alone)
    _, first, place = np.unique(track, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return table.take(first[order]), number[place]


def of(table: Table, pool: str) -> Table:
    """What is ranked of a table: its tracklets, or its rows where `pool` is "none"."""
    return table if pool == FRAMES else table_of(table)[0]


def words(pool: str, num_query: int, num_gallery: int) -> str:
    """What was ranked, to stand in a title; empty for single pictures."""
    if pool == FRAMES:
        return ""
    return f", {num_query} query and {num_gallery} gallery tracklets by the {pool} of their frames"


class Pooled(NamedTuple):
    """Tracklets as one feature each.

    Attributes:
        features: [t, d] float32.
        frames: [t, NUM_FRAMES] rows of the frames that stand for each, in their order, -1 where it
            has fewer. Of a maximum those that gave most of its entries, of a mean evenly spread.
    """

    features: Float[np.ndarray, "t d"]
    frames: Int[np.ndarray, "t f"]


def pooled(
    parts: Iterable[Float[np.ndarray, "b d"]], number: Int[np.ndarray, "n"], pool: str
) -> Pooled:
    """Mean or maximum of the features of every tracklet. No frame is kept.

    Args:
        parts: features of the frames in order, batch by batch; what follows the last is padding.
        number: [n] tracklet of every frame, 0..t-1, each of them there.
        pool: "mean", summed in float64, or "max".
    """
    counts = np.bincount(number)
    pooling = (_Mean if pool == "mean" else _Max)(counts)
    start = 0
    for part in parts:
        rows = range(start, start + len(part))
        for row, place, feature in zip(rows, number[start:], part, strict=False):
            pooling.add(row, place, feature)
        start += len(part)
    assert start >= len(number), (start, len(number))
    return pooling.result(number)


class _Mean:
    def __init__(self, counts: np.ndarray) -> None:
        self._counts, self._total = counts, np.zeros((len(counts), 0))

    def add(self, row: int, place: int, feature: np.ndarray) -> None:
        if not row:
            self._total = np.zeros((len(self._counts), len(feature)))
        self._total[place] += feature

    def result(self, number: np.ndarray) -> Pooled:
        features = (self._total / self._counts[:, None]).astype(np.float32)
        frames = np.full((len(features), NUM_FRAMES), -1)
        order = np.argsort(number, kind="stable")
        for place, rows in enumerate(np.split(order, np.cumsum(self._counts)[:-1])):
            chosen = np.linspace(0, len(rows) - 1, min(NUM_FRAMES, len(rows))).round().astype(int)
            frames[place, : len(chosen)] = rows[chosen]
        return Pooled(features, frames)


class _Max:
    def __init__(self, counts: np.ndarray) -> None:
        self._left = counts.copy()
        self._largest = np.zeros((len(counts), 0), np.float32)
        self._frames = np.full((len(counts), NUM_FRAMES), -1)
        self._holder: dict[int, np.ndarray] = {}  # of tracklets that go on: who gave each entry

    def add(self, row: int, place: int, feature: np.ndarray) -> None:
        if not row:
            self._largest = np.full((len(self._left), len(feature)), -np.inf, np.float32)
        holder = self._holder.setdefault(place, np.full(len(feature), row))
        larger = feature > self._largest[place]
        self._largest[place][larger], holder[larger] = feature[larger], row
        self._left[place] -= 1
        if not self._left[place]:
            rows, entries = np.unique(self._holder.pop(place), return_counts=True)
            chosen = np.sort(rows[np.argsort(-entries, kind="stable")[:NUM_FRAMES]])
            self._frames[place, : len(chosen)] = chosen

    def result(self, number: np.ndarray) -> Pooled:
        del number
        return Pooled(self._largest, self._frames)
