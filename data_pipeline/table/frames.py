"""Tracklets of a table of frames, and which of their frames make a clip.

A sampler of `data_pipeline.table.samplers` draws tracklets as it draws images, from
`Tracklets.heads`; a function of this file puts frames in their place:

    tracklets = Tracklets.of(table)
    chosen = samplers.pk(tracklets.heads, 32, 4, seed, epoch)           # [steps, B]
    rows = frames.restricted_random(tracklets, chosen, 8, seed, epoch)  # [steps, B, 8]
    batches = Loader(table, rows, options)                              # images [B, 8, H, W, 3]

Frames may also be drawn singly, from the table itself; `numbers_in_camera` then gives the labels of
training without identities and `Tracklets.of_row` the tracklet of each frame.
"""

import dataclasses
import hashlib
import re

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table

PADDING = -1

# Keeps the draws apart from those of `samplers`, which start from the same seed and epoch.
STREAM = 1

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


def evenly(tracklets: Tracklets, chosen: np.ndarray, num_frames: int) -> np.ndarray:
    """Frames at equal strides from the first on, the stride being floor(length / num_frames).

    Of a tracklet shorter than that every frame, then the last one again.

    Args:
        tracklets: T tracklets.
        chosen: [steps, B] numbers below T, or -1 for padding.
        num_frames: F, frames of a clip.

    Returns:
        [steps, B, F] rows of the table; -1 where there is padding.

    Source:
        the choice "evenly" of Torchreid (Zhou, Xiang: Torchreid: A Library for Deep Learning
        Person Re-Identification in Pytorch. 2019, arXiv:1910.10093).
    """
    length = _lengths(tracklets, chosen, num_frames)
    stride = np.maximum(length // num_frames, 1)
    return _rows_at(tracklets, chosen, np.minimum(stride * np.arange(num_frames), length - 1))


def random(
    tracklets: Tracklets, chosen: np.ndarray, num_frames: int, seed: int, epoch: int
) -> np.ndarray:
    """Random frames in their order; each at most once, but drawn with replacement from a tracklet
    that has fewer. Args and Returns as in `evenly`, and a draw for every seed and epoch.

    Source:
        the choice "random" of Torchreid, see `evenly`.
    """
    length = _lengths(tracklets, chosen, num_frames)
    generator = _generator(seed, epoch)
    place = [
        np.sort(generator.choice(one, num_frames, replace=one < num_frames))
        for one in length.ravel().tolist()
    ]
    return _rows_at(tracklets, chosen, np.reshape(place, (*chosen.shape, num_frames)))


def restricted_random(
    tracklets: Tracklets, chosen: np.ndarray, num_frames: int, seed: int, epoch: int
) -> np.ndarray:
    """One random frame out of each of `num_frames` equal chunks, which differ by one frame where
    the length is no multiple. Of a shorter tracklet every frame, then the last one again. Args and
    Returns as in `evenly`, and a draw for every seed and epoch.

    Source:
        Li, Bak, Carr, Wang: Diversity Regularized Spatiotemporal Attention for Video-based Person
        Re-identification. 2018, arXiv:1803.09882.
    """
    length = _lengths(tracklets, chosen, num_frames)
    chunk = np.arange(num_frames)
    first, end = chunk * length // num_frames, (chunk + 1) * length // num_frames
    is_short = length < num_frames
    first = np.where(is_short, np.minimum(chunk, length - 1), first)
    end = np.where(is_short, first + 1, end)
    return _rows_at(tracklets, chosen, _generator(seed, epoch).integers(first, end))


def all_clips(
    tracklets: Tracklets, num_frames: int, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Every frame of every tracklet once, in order, as clips of at most F = `num_frames`
    consecutive frames; the last clip of a tracklet is filled up with -1. For evaluation.

    With F = 1 a batch is single frames: `rows[..., 0]` is [steps, B], as the loader takes images.

    Returns:
        rows: [steps, B, F] rows of the table; the last batch is filled up with clips of -1.
        owner: [steps, B] tracklet of each clip, -1 for padding. A tracklet's clips are side by
            side; `np.bincount(owner[owner >= 0])` counts them.
    """
    _check_positive(num_frames, batch_size)
    count = -(-tracklets.length // num_frames)
    steps = -(-int(count.sum()) // batch_size)
    owner = np.full(steps * batch_size, PADDING, np.int64)
    owner[: count.sum()] = np.repeat(np.arange(len(tracklets)), count)
    clip = np.arange(len(owner)) - _starts(count)[owner]
    place = clip[:, None] * num_frames + np.arange(num_frames)
    length = tracklets.length[owner][:, None]
    rows = _rows_at(tracklets, owner, np.minimum(place, length - 1))
    rows[place >= length] = PADDING
    return rows.reshape(steps, batch_size, num_frames), owner.reshape(steps, batch_size)


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


def _lengths(tracklets: Tracklets, chosen: np.ndarray, num_frames: int) -> np.ndarray:
    """Length of each chosen tracklet, with an axis for its frames. That of padding is anything."""
    _check_positive(num_frames)
    assert chosen.max(initial=-1) < len(tracklets), f"tracklet {chosen.max()} of {len(tracklets)}"
    return tracklets.length[chosen][..., None]


def _rows_at(tracklets: Tracklets, chosen: np.ndarray, place: np.ndarray) -> np.ndarray:
    rows = tracklets.rows[tracklets.start[chosen][..., None] + place]
    return np.where(chosen[..., None] == PADDING, PADDING, rows)


def _check_positive(*numbers: int) -> None:
    if min(numbers) < 1:
        raise InputError(f"{min(numbers)} frames in a clip, or clips in a batch; give 1 or more")


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, STREAM]))
