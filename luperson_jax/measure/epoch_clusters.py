"""What a report shows of the clusters that an epoch begins with.

`clusters/epochNNNN.npz` of a workdir holds a few pictures of each of the largest clusters,
some pictures in none, and features of a few hundred pictures drawn by lot, for a plane. It is for
the reader alone: nothing that trains reads it.
"""

import pathlib
import re
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import array_files, atomic, listing
from luperson_jax.measure import cluster_page, page_parts, plots
from luperson_jax.structs import EmbeddingSet

FOLDER, NAME = "clusters", re.compile(r"epoch(\d{4,9})\.npz")
NUM_CLUSTERS = 6
"""Clusters whose pictures are kept, the largest."""
NUM_EPOCHS = 4
"""Epochs that a report shows, spread over all."""
ADVICE = "only the report reads it; delete it"


class Kept(NamedTuple):
    """M pictures of an epoch, in the order in which they are shown.

    Attributes:
        features: [M, D] float16.
        pid, camera: [M] int64, -1 where unknown.
        key: [M] where they lie.
        label: [M] cluster, -1 for none.
        nearness: [M] cosine with the mean of the cluster; NaN for one in none.
        size: [M] pictures of its cluster.
        shown: [M] whether it is a picture of its cluster's row.
        drawn: [M] whether it is a point of the plane.
    """

    features: np.ndarray
    pid: np.ndarray
    camera: np.ndarray
    key: np.ndarray
    label: np.ndarray
    nearness: np.ndarray
    size: np.ndarray
    shown: np.ndarray
    drawn: np.ndarray


def keep(
    workdir: pathlib.Path, epoch: int, embedded: EmbeddingSet, labels: np.ndarray
) -> pathlib.Path:
    """Writes what a report may show of the clusters of an epoch.

    Args:
        workdir: the run's.
        epoch: number of the epoch, from 0.
        embedded: features of the N training pictures at its start.
        labels: [N] cluster of each, -1 for none.

    Raises:
        InputError: it cannot be written.
    """
    listed = cluster_page.ranked(embedded.features, labels, NUM_CLUSTERS)
    shown = np.concatenate([one.rows for one in listed]).astype(np.int64)
    drawn = np.random.default_rng(0).permutation(len(labels))[: plots.MAX_EMBEDDED]
    rows = np.concatenate([shown, np.setdiff1d(drawn, shown)])
    nearness = np.full(len(rows), np.nan, np.float32)
    nearness[: len(shown)] = np.concatenate([one.nearness for one in listed])
    numbers, sizes = np.unique(labels, return_counts=True)
    kept = Kept(
        embedded.features[rows].astype(np.float16),
        embedded.pid[rows].astype(np.int64),
        embedded.camera[rows].astype(np.int64),
        np.array([embedded.key[row] for row in rows], dtype=str),
        labels[rows].astype(np.int64),
        nearness,
        sizes[np.searchsorted(numbers, labels[rows])],
        np.arange(len(rows)) < len(shown),
        np.isin(rows, drawn),
    )
    path = _path(workdir, epoch + 1)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    with atomic.replacing(path) as part, part.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **kept._asdict())
    return path


def section(workdir: pathlib.Path) -> list[str]:
    """What a report shows of a few epochs: planes, and pictures of the largest clusters.

    Returns:
        parts of a page; none where no epoch was kept.
    """
    folder = workdir / FOLDER
    names = listing.names(folder) if listing.is_folder(folder) else []
    found = [int(match[1]) for match in map(NAME.fullmatch, names) if match]
    if not found:
        return []
    places = np.unique(np.linspace(0, len(found) - 1, NUM_EPOCHS).round().astype(int))
    words = (
        "<p>Below, what some epochs began with: a few hundred "
        f"{cluster_page.PLANE_WORDS} Then pictures of the largest clusters, from the one nearest "
        "to the mean of the cluster to the farthest, with the cosine.</p>"
    )
    parts = [words]
    for number in np.sort(found)[places]:
        parts.append(f"<h3>Epoch {number}</h3>")
        try:
            parts += _epoch(_read(_path(workdir, number)))
        except InputError as error:  # a damaged file, or pictures that are gone
            parts.append(f"<p>{page_parts.text(error)}</p>")
    return parts


def _path(workdir: pathlib.Path, number: int) -> pathlib.Path:
    return workdir / FOLDER / f"epoch{number:04}.npz"


def _read(path: pathlib.Path) -> Kept:
    columns = array_files.read_npz(path, ADVICE)
    if set(columns) != set(Kept._fields):
        raise InputError(f"{path} holds no clusters of an epoch; {ADVICE}")
    kept = Kept(**columns)
    if kept.features.ndim != 2 or any(one.shape != kept.label.shape for one in kept[1:]):
        raise InputError(f"{path} holds columns that do not belong together; {ADVICE}")
    return kept


def _epoch(kept: Kept) -> list[str]:
    embedded = EmbeddingSet(
        kept.features.astype(np.float32), kept.pid, kept.camera, tuple(map(str, kept.key))
    )
    points = np.flatnonzero(kept.drawn)
    parts = cluster_page.planes(embedded.take(points), kept.label[points])
    for number in dict.fromkeys(kept.label[kept.shown].tolist()):
        rows = np.flatnonzero(kept.shown & (kept.label == number))
        found = cluster_page.Ranked(number, rows, kept.nearness[rows])
        parts.append(cluster_page.row_of(embedded, found, int(kept.size[rows[0]])))
    return parts
