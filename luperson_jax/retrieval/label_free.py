"""What unlabelled tracklets tell of how well people are found again before other cameras.

A tracklet shows one person before one camera, and two of one camera mostly show two. Whether a
tracklet finds its person before another camera nobody knows, but it leaves traces: who finds whom
is mutual, the frames of a tracklet agree, and the nearest is nearer than the nearest of so many
others would be. Inside a camera, where the same is known of frames, it is easier. `statistics`
measures such traces; none of them is an estimate by itself.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from data_pipeline.errors import InputError
from luperson_jax.lengths import unit_rows

FEWEST_TRACKLETS = 4
"""Of a camera that is looked at."""
MOST_FRAMES = 3
"""Of a tracklet; more of them are much the same pictures."""
NAMES = (
    "mutual",
    "agree",
    "excess",
    "gap",
    "skew",
    "tail",
    "own_excess",
    "own_gap",
    "own_first",
    "own_distance",
    "shift",
    "cameras",
    "tracklets",
    "frames",
)
"""What is measured, see `statistics`."""


class Tracklets(NamedTuple):
    """T tracklets with N frames, all features of unit length.

    Attributes:
        centers: [T, D] mean features.
        camera: [T].
        frames: [N, D].
        owner: [N] which tracklet a frame is of.
    """

    centers: np.ndarray
    camera: np.ndarray
    frames: np.ndarray
    owner: np.ndarray

    def of_camera(self, camera: int) -> np.ndarray:
        """Which tracklets are of a camera."""
        return np.flatnonzero(self.camera == camera)


def thin(tracklet: Int[np.ndarray, "n"]) -> Int[np.ndarray, "m"]:
    """Rows of no more than `MOST_FRAMES` frames of each tracklet, evenly taken."""
    order = np.argsort(tracklet, kind="stable")
    _, starts, lengths = np.unique(tracklet[order], return_index=True, return_counts=True)
    kept = [
        start + np.unique(np.linspace(0, length - 1, MOST_FRAMES).round().astype(int))
        for start, length in zip(starts, lengths, strict=True)
    ]
    return np.sort(order[np.concatenate(kept)])


def gather(
    features: Float[np.ndarray, "n d"], tracklet: Int[np.ndarray, "n"], camera: Int[np.ndarray, "n"]
) -> Tracklets:
    """Frames as tracklets.

    Args:
        features: of any length.
        tracklet: which tracklet each frame is of.
        camera: of each frame.

    Raises:
        InputError: fewer than two cameras with enough tracklets, or no tracklet of two frames.
    """
    unit = unit_rows(np.asarray(features, np.float32))
    _, first, owner = np.unique(tracklet, return_index=True, return_inverse=True)
    centers = np.zeros((len(first), unit.shape[1]), np.float32)
    np.add.at(centers, owner, unit)
    found = Tracklets(unit_rows(centers), np.asarray(camera)[first], unit, owner)
    cameras, counts = np.unique(found.camera, return_counts=True)
    if np.sum(counts >= FEWEST_TRACKLETS) < 2:
        raise InputError(
            f"there are {len(first)} tracklets before {len(cameras)} cameras; an estimate needs "
            f"two cameras with {FEWEST_TRACKLETS} tracklets each, or more"
        )
    if not np.any(np.bincount(owner) > 1):
        raise InputError(
            "every tracklet has one frame; an estimate needs some with two or more, or single "
            "pictures with --pseudo-labels"
        )
    return found


def statistics(tracklets: Tracklets) -> dict[str, float]:
    """The traces, by `NAMES`.

    Similarities of two cameras are taken free of how similar each tracklet is to all of the other
    camera, and in units of what remains of their deviation.

    mutual           who is nearest before another camera and finds this one nearest in turn, logit
    agree            frames whose nearest is that of their tracklet, logit
    excess, gap      of the nearest: above the largest of so many normal numbers; above the second
    skew, tail       third and fourth moments
    own_excess, own_gap  of the nearest other tracklet inside a camera, where it is another person
    own_first        frames nearer to the rest of their tracklet than to others, logit
    own_distance     how much nearer
    shift            by how much cameras make others less similar
    cameras, tracklets, frames   logarithms of their number; tracklets of a camera, frames of one
    """
    counts: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    cameras, sizes = np.unique(tracklets.camera, return_counts=True)
    cameras = cameras[sizes >= FEWEST_TRACKLETS]
    mean_inside, mean_across, deviation = [], [], []
    for one in cameras.tolist():
        rows = tracklets.of_camera(one)
        _inside(tracklets, rows, counts)
        same = off_diagonal(tracklets.centers[rows] @ tracklets.centers[rows].T)
        mean_inside.append(np.nanmean(same))
        deviation.append(np.nanstd(same))
        for other in cameras[cameras != one].tolist():
            others = tracklets.of_camera(other)
            mean_across.append(_across(tracklets, rows, others, counts))
    found = {name: np.concatenate(parts) for name, parts in counts.items() if parts}
    values = {name: float(np.mean(each)) for name, each in found.items()}
    for name in ("mutual", "agree", "own_first"):
        values[name] = logit_of(found[name])
    values["shift"] = float((np.mean(mean_inside) - np.mean(mean_across)) / np.mean(deviation))
    values["cameras"] = float(np.log(len(cameras)))
    values["tracklets"] = float(np.log(np.mean(sizes[sizes >= FEWEST_TRACKLETS])))
    values["frames"] = float(np.log(len(tracklets.owner) / len(tracklets.camera)))
    return {name: values[name] for name in NAMES}


def _across(
    tracklets: Tracklets, rows: np.ndarray, others: np.ndarray, counts: dict[str, list[np.ndarray]]
) -> float:
    similarity = tracklets.centers[rows] @ tracklets.centers[others].T
    free = free_of_means(similarity)
    nearest = similarity.argmax(axis=1)
    back = similarity.argmax(axis=0)
    counts["mutual"].append(back[nearest] == np.arange(len(rows)))
    counts["excess"].append(free.max(axis=1) - largest_of(len(others)))
    second, first = np.partition(free, -2, axis=1)[:, -2:].T
    counts["gap"].append(first - second)
    counts["skew"].append(np.mean(free**3, axis=1))
    counts["tail"].append(np.mean(free**4, axis=1))
    place = np.full(len(tracklets.camera), -1)
    place[rows] = np.arange(len(rows))
    mine = np.flatnonzero(place[tracklets.owner] >= 0)
    chosen = (tracklets.frames[mine] @ tracklets.centers[others].T).argmax(axis=1)
    counts["agree"].append(chosen == nearest[place[tracklets.owner[mine]]])
    return float(similarity.mean())


def _inside(tracklets: Tracklets, rows: np.ndarray, counts: dict[str, list[np.ndarray]]) -> None:
    similarity = off_diagonal(tracklets.centers[rows] @ tracklets.centers[rows].T)
    free = free_of_means(similarity)
    ordered = np.sort(np.nan_to_num(free, nan=-np.inf), axis=1)
    counts["own_excess"].append(ordered[:, -1] - largest_of(len(rows) - 1))
    counts["own_gap"].append(ordered[:, -1] - ordered[:, -2])
    lengths = np.bincount(tracklets.owner)
    place = np.full(len(tracklets.camera), -1)
    place[rows] = np.arange(len(rows))
    mine = np.flatnonzero((place[tracklets.owner] >= 0) & (lengths[tracklets.owner] > 1))
    if not len(mine):
        return
    owner, frames = tracklets.owner[mine], tracklets.frames[mine]
    sums = np.zeros_like(tracklets.centers)
    np.add.at(sums, tracklets.owner, tracklets.frames)
    own = np.sum(unit_rows(sums[owner] - frames) * frames, axis=1)
    others = frames @ tracklets.centers[rows].T
    others[np.arange(len(mine)), place[owner]] = np.nan
    counts["own_first"].append(own > np.nanmax(others, axis=1))
    spread = np.maximum(np.nanstd(others, axis=1), 1e-6)
    counts["own_distance"].append((own - np.nanmean(others, axis=1)) / spread)


def logit_of(happened: Bool[np.ndarray, "n"]) -> float:
    """The logit of a share, finite where it is 0 or 1."""
    return float(scipy.special.logit((np.sum(happened) + 0.5) / (len(happened) + 1)))


def free_of_means(similarity: np.ndarray) -> np.ndarray:
    """Without the means of rows and columns, of variance 1; nan stays."""
    rows, columns = (np.nanmean(similarity, axis=axis, keepdims=True) for axis in (1, 0))
    free = similarity - rows - columns + np.nanmean(similarity)
    return free / max(float(np.nanstd(free)), 1e-6)


def off_diagonal(square: np.ndarray) -> np.ndarray:
    """A copy with nan on the diagonal."""
    found = square.copy()
    np.fill_diagonal(found, np.nan)
    return found


def largest_of(num: int) -> float:
    """The expected largest of so many normal numbers, nearly (Blom, 1958)."""
    return float(scipy.special.ndtri((num - 0.375) / (num + 0.25)))
