"""Detections of one video: which boxes, in which frames, of whom."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipeline import whole_numbers
from data_pipeline.errors import InputError
from data_pipeline.read import safe_pickle
from data_pipeline.table.records import UNLABELLED


@dataclasses.dataclass(frozen=True)
class Detections:
    """Parallel arrays, one row a box, in the order of frames.

    Attributes:
        frame: [N] int64, as the file numbers them.
        object: [N] int64, number of the box within its frame.
        box: [N, 4] float64, left, top, right, bottom in pixels of the picture that the detector
            saw; right and bottom are exclusive.
        pid: [N] int64 identity by the tracker; -1 where the data set has none.
    """

    frame: np.ndarray
    object: np.ndarray
    box: np.ndarray
    pid: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: np.ndarray) -> "Detections":
        """The given rows."""
        return Detections(self.frame[rows], self.object[rows], self.box[rows], self.pid[rows])


def read(path: str, with_ids: bool) -> Detections:
    """The detections of a video.

    The pickle holds a dict: number of a frame -> list of (number of the object, dict), where the
    dict has `bbox`, four numbers, and for LUPerson-NL `pid`.

    Args:
        path: the pickle. It is read without running any code that it may name.
        with_ids: whether each box must have a `pid`.

    Raises:
        InputError: it cannot be read, or its contents have another form.
    """
    content = safe_pickle.load(path)
    if not isinstance(content, Mapping):
        raise InputError(
            f"{path} holds a {type(content).__name__}; expected a dict: number of a frame -> list "
            "of boxes"
        )
    rows = []
    for key, entries in content.items():
        try:
            frame = _whole(key)
            rows += [(frame, *_entry(entry, with_ids)) for entry in entries]
        except (TypeError, ValueError, LookupError) as error:
            wanted = "{'bbox': (x1, y1, x2, y2), 'pid': P}" if with_ids else "{'bbox': (x1, ...)}"
            raise InputError(
                f"{path}, frame {key!r}: expected a list of (number, {wanted}), whole numbers for "
                f"frame and object{' and pid' if with_ids else ''}; {_reason(error)}"
            ) from error
    rows.sort(key=lambda row: row[0])
    columns = np.array([(f, o, p) for f, o, p, _ in rows], np.int64).reshape(len(rows), 3)
    box = np.array([row[3] for row in rows], np.float64).reshape(len(rows), 4)
    frame, number, pid = columns.T
    return Detections(frame, number, box, pid)


def sample(found: Detections, min_frames: int, keep_every: int) -> Detections:
    """The boxes of people seen for long, thinned out in time.

    `200_20`, LUPerson-NL's own choice, is 200 and 20: who is seen in less than 200 frames of the
    video is left out, and of the frames that show somebody the 1st, 21st, 41st, ... are kept.

    Args:
        found: detections with identities.
        min_frames: the least number of frames of an identity.
        keep_every: one in so many of the frames that show an identity.
    """
    if min_frames <= 1 and keep_every == 1:
        return found
    keep = np.zeros(len(found), bool)
    order = np.argsort(found.pid, kind="stable")
    starts = np.flatnonzero(np.diff(found.pid[order], prepend=UNLABELLED - 1))
    for rows in np.split(order, starts[1:]):
        seen, place = np.unique(found.frame[rows], return_inverse=True)
        keep[rows] = (len(seen) >= min_frames) & (place % keep_every == 0)
    return found.take(np.flatnonzero(keep))


def _entry(entry: Any, with_ids: bool) -> tuple[int, int, list[float]]:
    number, about = entry[0], entry[1]
    corners = np.asarray(about["bbox"], np.float64)
    if corners.shape != (4,):
        raise ValueError(f"bbox has the shape {corners.shape}")
    pid = _whole(about["pid"]) if with_ids else UNLABELLED
    if with_ids and pid < 0:
        raise ValueError(f"pid {pid} is negative")
    return _whole(number), pid, corners.tolist()


def _whole(number: Any) -> int:
    whole = int(number)
    if isinstance(number, (str, bytes)) or whole != number:
        raise ValueError(f"{number!r} is no whole number")
    if not whole_numbers.LEAST <= whole <= whole_numbers.MOST:
        raise ValueError(f"{number!r} has more than 64 bits")
    return whole


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, LookupError) else str(error)
