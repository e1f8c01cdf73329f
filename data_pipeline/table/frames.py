"""Tracklets of a table of frames.

A sampler of `data_pipeline.table.samplers` draws tracklets as it draws images, from
`Tracklets.heads`. Frames are drawn singly, from the table itself; `numbers_in_camera` gives the
labels of training without identities and `Tracklets.of_row` the tracklet of each frame.
"""

import dataclasses
import hashlib
import re

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table

DIGITS = re.compile(r"(\d+)")


@dataclasses.dataclass(frozen=True)
class Tracklets:
    """The tracklets of a table, in the order of the rows of their first frames.

    That order follows from a hash of file names and tells nothing about identity.

    Attributes:
        heads: [T] rows: the first frame of each tracklet, with its identity, camera and tracklet.
        rows: [N] int64 rows of the table, tracklet after tracklet, each in the order of its frames.
        start: [T] int64 where a tracklet begins in `rows`.
        length: [T] int64 its number of frames.
        of_row: [table] int64 the tracklet of each row of the table; -1 where it has none.
    """

    heads: Table
    rows: np.ndarray
    start: np.ndarray
    length: np.ndarray
    of_row: np.ndarray

    @classmethod
    def of(cls, table: Table) -> "Tracklets":
        """The tracklets of a table, whatever the order of its rows.

        Frames are in the order of their names, numbers in them compared as numbers. Rows without a
        tracklet are left out.

        Raises:
            InputError: no row has a tracklet.
        """
        tracked = _tracked(table)
        tracked = tracked[np.argsort(table.track[tracked], kind="stable")]
        ends = np.flatnonzero(np.diff(table.track[tracked])) + 1
        groups = [_in_order(table, group) for group in np.split(tracked, ends)]
        groups.sort(key=lambda group: group[0])
        rows = np.concatenate(groups)
        length = np.array([len(group) for group in groups])
        start = _starts(length)
        of_row = np.full(len(table), -1, np.int64)
        of_row[rows] = np.repeat(np.arange(len(length)), length)
        return cls(table.take(rows[start]), rows, start, length, of_row)

    def __len__(self) -> int:
        return len(self.length)

    def frames(self, tracklet: int) -> np.ndarray:
        """All rows of one tracklet, in the order of its frames."""
        return self.rows[self.start[tracklet] : self.start[tracklet] + self.length[tracklet]]


def numbers_in_camera(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """What is known of each row without identities: its tracklet, numbered within its camera.

    A number means nothing in another camera: each camera counts in an order of its own. Not so the
    published lists of PRID2011 and iLIDS-VID, whose number of a tracklet is the same in both
    cameras and so is the identity; a method that compared it across cameras would be supervised.

    Returns:
        number: [N] int64 from 0.
        counts: [C] int64 tracklets of each camera.

    Raises:
        InputError: a row has no tracklet or no camera.
    """
    if len(_tracked(table)) < len(table) or (table.camera < 0).any():
        raise InputError(
            "some of the training images have no tracklet or no camera; training on tracklets "
            "within cameras needs a video data set (mars, prid2011, ilids_vid, ...)"
        )
    track, first, row_track = np.unique(table.track, return_index=True, return_inverse=True)
    camera = table.camera[first]
    key = [_scatter(*pair) for pair in zip(camera.tolist(), track.tolist(), strict=True)]
    order = np.lexsort((np.array(key, np.uint64), camera))
    counts = np.bincount(camera)
    number = np.empty(len(track), np.int64)
    number[order] = np.arange(len(track)) - np.repeat(_starts(counts), counts)
    return number[row_track], counts.astype(np.int64)


def _tracked(table: Table) -> np.ndarray:
    tracked = np.flatnonzero(table.track >= 0)
    if not len(tracked):
        raise InputError(
            f"none of the {len(table)} images belongs to a tracklet; frames of tracklets need a "
            "video data set (mars, prid2011, ilids_vid, ...)"
        )
    return tracked


def _in_order(table: Table, rows: np.ndarray) -> np.ndarray:
    """Rows of one tracklet in the order of its frames: F10 comes after F9."""
    return np.array(sorted(rows.tolist(), key=lambda row: _place(table.paths[row])), np.int64)


def _place(path: str) -> tuple[str, list[str | int]]:
    folder, _, name = path.rpartition("/")
    parts: list[str | int] = list(DIGITS.split(name))
    parts[1::2] = map(int, parts[1::2])
    return folder, parts


def _scatter(*numbers: int) -> int:
    digest = hashlib.blake2b(" ".join(map(str, numbers)).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def _starts(length: np.ndarray) -> np.ndarray:
    return np.cumsum(length) - length
