"""Tracklets: a feature of each, pooled from those of its frames while they stream past.

Mean and maximum over the frames are what the first evaluations of video re-identification take:
Zheng et al., "MARS: A Video Benchmark for Large-Scale Person Re-Identification", 2016.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from data_pipeline.errors import InputError
from data_pipeline.table.records import Splits, Table

FRAMES = "none"
"""The pooling that ranks single pictures."""
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


def pooled(
    parts: Iterable[Float[np.ndarray, "b d"]], number: Int[np.ndarray, "n"], pool: str
) -> Float[np.ndarray, "t d"]:
    """Mean or maximum of the features of every tracklet. No frame is kept.

    Args:
        parts: features of the frames in order, batch by batch; what follows the last is padding.
        number: [n] tracklet of every frame, 0..t-1, each of them there.
        pool: "mean", summed in float64, or "max".

    Returns:
        [t, d] float32.
    """
    counts = np.bincount(number)
    total, start = np.zeros((len(counts), 0)), 0
    for part in parts:
        if not start:
            shape = (len(counts), part.shape[1])
            total = np.zeros(shape) if pool == "mean" else np.full(shape, -np.inf, np.float32)
        for place, feature in zip(number[start : start + len(part)], part, strict=False):
            if pool == "mean":
                total[place] += feature
            else:
                np.maximum(total[place], feature, out=total[place])
        start += len(part)
    assert start >= len(number), (start, len(number))
    return (total / counts[:, None] if pool == "mean" else total).astype(np.float32)
