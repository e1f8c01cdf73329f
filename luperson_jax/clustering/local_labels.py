"""The file of local labels: to which cluster of its own camera an image belongs.

An `.npz` of three arrays of one length: `name`, the path of the picture below the folder of its
data set; `camera`; and `label`, 0.. within a camera, -1 for none. Labels that CALR's authors give
away, `cam1/pseudo_label.npy` and so on, are read as well: their pictures lie on other disks, so
names are compared from the end.
"""

import pathlib
import re
from collections.abc import Sequence

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import array_files, atomic, listing
from data_pipeline.table.records import Table
from luperson_jax.clustering.dbscan import NOISE

NAMES = ("name", "camera", "label")
AUTHORS_FILE = "pseudo_label.npy"
ADVICE = "make it again with `luperson local-labels`, or copy it again"
MAX_PARTS = 8
"""Folders of a path that are kept to tell names apart."""


def write(path: pathlib.Path, table: Table, labels: np.ndarray) -> None:
    """Writes the labels [N] of the pictures of a table.

    Raises:
        InputError: `path` cannot be written.
    """
    names = np.array(_ends(table.paths, _distinct(table.paths)))
    columns = dict(zip(NAMES, (names, table.camera, labels.astype(np.int64)), strict=True))
    with atomic.replacing(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, **columns)


def read(path: str | pathlib.Path, table: Table) -> np.ndarray:
    """The local labels of the pictures of a table.

    Args:
        path: a file of `write`, or a folder in which authors' files lie, at any depth.
        table: whose pictures all have to be in it; it may hold more.

    Returns:
        [N] int64; -1 for none.

    Raises:
        InputError: it is missing, damaged or holds objects, or belongs to other pictures.
    """
    names, camera, label = _columns(pathlib.Path(path))
    # As many folders as tell all pictures of the table apart, and no more than the file has.
    parts = min(_distinct(table.paths), min(map(len, map(_split, names))))
    place = dict(zip(_ends(names, parts), range(len(names)), strict=True))
    if len(place) < len(names):
        raise InputError(f"{path} names {len(names)} pictures, {len(place)} of them different")
    rows = np.array([place.get(end, -1) for end in _ends(table.paths, parts)], np.int64)
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        raise InputError(
            f"{path} has no label of {len(missing)} of {len(table)} training images, the first "
            f"{table.paths[int(missing[0])]}; it is of another data set, or of a part of this one"
        )
    strange = np.flatnonzero(~_same_groups(camera[rows], table.camera))
    if len(strange):
        row = int(strange[0])
        raise InputError(
            f"{path} has {table.paths[row]} under camera {camera[rows[row]]}, the data set under "
            f"{table.camera[row]}; it was made for other images"
        )
    return label[rows]


def _same_groups(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Where the commonest partner of a value of `one` stands in `two`: cameras may be counted from
    0 or 1."""
    _, first, group = np.unique(one, return_index=True, return_inverse=True)
    return two[first][group] == two


def _columns(path: pathlib.Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    if not listing.is_folder(path):
        columns = array_files.read_npz(path, ADVICE)
        lengths = {columns[name].shape for name in NAMES if name in columns}
        if set(NAMES) - set(columns) or len(lengths) != 1 or len(next(iter(lengths))) != 1:
            raise InputError(f"{path} holds no local labels: expected {', '.join(NAMES)}, [N] each")
        return _checked(path, *(columns[name] for name in NAMES))
    files = [
        pathlib.Path(folder, name)
        for folder, names in listing.walk(path)
        for name in names
        if name == AUTHORS_FILE
    ]
    if not files:
        raise InputError(f"{path} is a folder without any {AUTHORS_FILE}")
    found = [_authors(file) for file in sorted(files)]
    names = [name for one in found for name in one[0]]
    return (
        names,
        np.concatenate([one[1] for one in found]),
        np.concatenate([one[2] for one in found]),
    )


def _authors(path: pathlib.Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    array = array_files.map_npy(path, ADVICE)
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind != "U":
        raise InputError(
            f"{path} is {array.dtype}{list(array.shape)}; expected rows of path, label and camera"
        )
    return _checked(path, array[:, 0], array[:, 2], array[:, 1])


def _checked(
    path: pathlib.Path, names: np.ndarray, camera: np.ndarray, label: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    try:
        numbers = [np.asarray(one).astype(np.int64) for one in (camera, label)]
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path} holds a camera or label that is no number: {error}") from error
    if names.dtype.kind != "U" or not len(names):
        raise InputError(f"{path} holds no names of pictures")
    if numbers[1].min() < NOISE:
        raise InputError(f"{path} holds the label {numbers[1].min()}; expected 0.., or -1 for none")
    return [str(name) for name in names], numbers[0], numbers[1]


def _split(path: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", path) if part]


def _ends(paths: Sequence[str], parts: int) -> list[str]:
    return ["/".join(_split(path)[-parts:]) for path in paths]


def _distinct(paths: Sequence[str]) -> int:
    """How many last parts of the paths tell them apart."""
    different = len(set(paths))
    for parts in range(1, MAX_PARTS):
        if len(set(_ends(paths, parts))) == different:
            return parts
    return MAX_PARTS
