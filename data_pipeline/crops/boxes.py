"""Boxes against the frame: of the right scale, and inside.

LUPerson's detections do not tell the resolution that they were made at. A video that was downloaded
in another one then gives crops of anything but people, and nothing would show it.
"""

import dataclasses
import re

import numpy as np

from data_pipeline.errors import InputError

OUTSIDE = {
    "refuse": "give up the video",
    "skip": "leave such boxes out",
    "clip": "cut them to the frame, and leave out those with less than half inside",
}
# How far a box may stick out before it counts as outside: rounding and trackers' overhang.
OVERHANG_PIXELS, OVERHANG_SHARE = 2.0, 0.01
LEAST_INSIDE = 0.5
SHAPE_TOLERANCE = 0.02

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Boxes in the pixels of the video.

    Attributes:
        box: [N, 4] int64 left, top, right, bottom, inside the frame.
        outside: [N] bool, boxes to leave out because they do not lie in the frame.
        empty: [N] bool, boxes to leave out because they have no pixel or no finite number.
        clipped: [N] bool, boxes that were cut to the frame.
        reach: the farthest right and bottom side, in shares of the frame.
    """

    box: np.ndarray
    outside: np.ndarray
    empty: np.ndarray
    clipped: np.ndarray
    reach: tuple[float, float]


def fit(box: np.ndarray, made_at: str, size: Size, outside: str) -> Fitted:
    """Boxes of one video, scaled to its frames and checked against them.

    Sides are rounded to whole pixels, halves to even ones, as LUPerson's scripts do.

    Args:
        box: [N, 4] left, top, right, bottom in pixels of the picture that the detector saw.
        made_at: that picture's size, "1280x720", or its height, "720"; "" is the size of the
            frame.
        size: width and height of the frame.
        outside: a key of `OUTSIDE`: what to do with boxes that reach beyond the frame.

    Raises:
        InputError: `made_at` has another shape than the frame; or boxes reach beyond it, and
            `outside` is "refuse".
    """
    width, height = size
    finite = np.all(np.isfinite(box), axis=1)
    scaled = np.where(finite[:, None], box, 0.0) * np.tile(_factors(made_at, size), 2)
    limit = np.array([width, height], np.float64)
    overhang = np.maximum(-scaled[:, :2], scaled[:, 2:] - limit)
    beyond = np.any(overhang > np.maximum(OVERHANG_PIXELS, OVERHANG_SHARE * limit), axis=1)
    reach = scaled[:, 2:].max(axis=0, initial=0.0)
    if beyond.any() and outside == "refuse":
        raise InputError(
            f"{beyond.sum()} of {len(box)} boxes reach beyond the frame of {width}x{height}, as far"
            f" as {reach[0]:.0f}, {reach[1]:.0f}; were the detections made at another resolution? "
            "Give it (--detections-at), or take --outside skip or clip if it is the right one"
        )
    rounded = np.rint(scaled)
    inside = np.clip(rounded, 0.0, np.tile(limit, 2))
    empty = ~finite | np.any(rounded[:, 2:] <= rounded[:, :2], axis=1)
    if outside == "clip":
        beyond &= _area(inside) < LEAST_INSIDE * _area(rounded)
    beyond |= np.any(inside[:, 2:] <= inside[:, :2], axis=1)
    beyond &= ~empty
    clipped = np.any(inside != rounded, axis=1)
    share = (float(reach[0] / width), float(reach[1] / height))
    return Fitted(inside.astype(np.int64), beyond, empty, clipped, share)


def parse_size(text: str) -> tuple[int | None, int] | None:
    """Width (None: by the shape of the video) and height; None where the text is no size."""
    match = re.fullmatch(r"(?:([1-9]\d*)[xX])?([1-9]\d*)", text.strip())
    return (int(match[1]) if match[1] else None, int(match[2])) if match else None


def _factors(made_at: str, size: Size) -> np.ndarray:
    """Frame over detections, [2] horizontally and vertically."""
    if not made_at:
        return np.ones(2)
    parsed = parse_size(made_at)
    assert parsed is not None, made_at
    width, height = parsed
    if width is None:
        return np.full(2, size[1] / height)
    if abs(width * size[1] / (height * size[0]) - 1.0) > SHAPE_TOLERANCE:
        raise InputError(
            f"the detections are said to be made at {made_at}, but the frames of the video are "
            f"{size[0]}x{size[1]}, of another shape; it is not the same video, or not that size"
        )
    return np.array([size[0] / width, size[1] / height])


def _area(box: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(box[:, 2:] - box[:, :2], 0.0), axis=1)
