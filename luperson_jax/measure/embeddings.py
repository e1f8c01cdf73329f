"""Embedded pictures as files: one `.npz`, or a folder whose features are read memory-mapped.

| form | features | the rest |
|---|---|---|
| `NAME.npz` | array `features` [N, D] | arrays `pid`, `camera`, `key`, `frames`, [N] each |
| a folder | `features.npy` [N, D] | columns of these names of `index.parquet` |

`key` is what a picture is called, mostly its path. It may be missing, and so may `pid` and `camera`
where they are not known, as of pictures of one's own. `frames`, of tracklets alone, holds a few of
their frames, a zero character between two.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from data_pipeline import whole_numbers
from data_pipeline.errors import InputError
from data_pipeline.read import array_files, atomic, listing
from data_pipeline.table.records import UNLABELLED
from luperson_jax.structs import EmbeddingSet

if TYPE_CHECKING:
    import pyarrow

SUFFIX = ".npz"
FEATURES_FILE = "features.npy"
INDEX_FILE = "index.parquet"
LABELS = ("pid", "camera")
TEXTS = ("key", "frames")
BETWEEN = "\0"
"""Frames of a tracklet: no path holds it."""
EXPECTED = (
    f"expected a {SUFFIX} with the arrays features [N, D], pid [N] and camera [N], or a folder "
    f"with {FEATURES_FILE} and {INDEX_FILE}"
)

DAMAGED = f"it is damaged or not what its name says; {EXPECTED}"


def read(path: str | pathlib.Path, *, labelled: bool) -> EmbeddingSet:
    """The embeddings of a file or a folder; the features of a folder stay on disk until used.

    Their numbers are checked where they are compared (`retrieval.inputs`).

    Args:
        path: see the head of this file.
        labelled: whether identities and cameras must be there. Where they need not be and are not,
            they are -1.

    Returns:
        The set, its features in the floating-point type that they were saved in. Without keys
        each key is "".

    Raises:
        InputError: the path, an array or a column is missing, damaged, or of another shape or type
            than expected; or every identity is -1 although `labelled`.
    """
    place = pathlib.Path(path)
    if listing.is_folder(place):
        features, columns = _read_folder(place)
    elif listing.is_file(place):
        features, columns = _read_npz(place)
    else:
        raise InputError(f"{place} does not exist; {EXPECTED}")
    shaped = features.ndim == 2 and features.shape[1]
    if not shaped or not np.issubdtype(features.dtype, np.floating):
        raise InputError(
            f"features of {place} have shape {features.shape} and type {features.dtype}; expected "
            "[images, dimensions] of float32"
        )
    labels = {name: _integers(columns, name, len(features), place, labelled) for name in LABELS}
    if labelled and len(features) and np.all(labels["pid"] == UNLABELLED):
        raise InputError(
            f"every pid of {place} is {UNLABELLED}, which stands for an unknown identity; save the "
            "identities with the features"
        )
    keys = _texts(columns, "key", len(features), place)
    frames = tuple(tuple(one.split(BETWEEN)) for one in _frames(columns, len(features), place))
    return EmbeddingSet(features, **labels, key=keys, frames=frames)


def write(path: str | pathlib.Path, embedded: EmbeddingSet) -> None:
    """Saves embeddings: a `.npz` where the name ends so, else a folder. All of it or nothing.

    Identities and cameras are left out where none is known.

    Raises:
        InputError: `path` exists or cannot be written, or a key is not text.
    """
    place = pathlib.Path(path)
    check_target(place)
    columns: dict[str, np.ndarray | Sequence[str]] = {
        name: column
        for name in LABELS
        if np.any((column := np.asarray(getattr(embedded, name), np.int64)) != UNLABELLED)
    }
    if embedded.frames:
        columns["frames"] = [BETWEEN.join(one) for one in embedded.frames]
    features = np.asarray(embedded.features, np.float32)
    if place.suffix == SUFFIX:
        if any(embedded.key):
            columns["key"] = embedded.key
        arrays = {name: np.asarray(column) for name, column in columns.items()}
        with atomic.replacing(place) as part, part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, features=features, **arrays)
    else:
        # The keys always: without any column the number of rows would be lost.
        _write_folder(place, features, {**columns, "key": embedded.key})


def is_saved(path: str | pathlib.Path) -> bool:
    """Whether a path that exists names saved embeddings, and not pictures."""
    place = pathlib.Path(path)
    return listing.is_file(place if place.suffix == SUFFIX else place / FEATURES_FILE)


def join(sets: Sequence[EmbeddingSet]) -> EmbeddingSet:
    """Several sets as one, which is copied to memory where there are more than one."""
    if len(sets) == 1:
        return sets[0]
    features, pid, camera = (
        np.concatenate([getattr(one, name) for one in sets])
        for name in ("features", "pid", "camera")
    )
    keys = tuple(key for one in sets for key in one.key)
    frames = ()
    if any(one.frames for one in sets):
        frames = tuple(one.shown(row) for one in sets for row in range(len(one.pid)))
    return EmbeddingSet(features, pid, camera, keys, frames)


def check_target(path: str | pathlib.Path) -> None:
    """Raises InputError where `write` would: before hours of embedding, not after them."""
    place = pathlib.Path(path)
    if listing.exists(place):
        raise InputError(f"{place} exists; delete it, or write to another name")
    if not listing.is_folder(place.absolute().parent):
        raise InputError(f"there is no folder {place.parent} for {place}; make it first")


def _read_npz(path: pathlib.Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    with array_files.open_npz(path, DAMAGED) as opened:
        if "features" not in opened:
            raise InputError(
                f"{path} has no array 'features' (it has {', '.join(opened.names) or 'none'}); "
                f"{EXPECTED}"
            )
        arrays = {name: opened[name] for name in (*LABELS, *TEXTS) if name in opened}
        return opened["features"], arrays


def _read_folder(folder: pathlib.Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    for name in (FEATURES_FILE, INDEX_FILE):
        if not listing.is_file(folder / name):
            raise InputError(f"the folder {folder} has no {name}; {EXPECTED}")
    features = array_files.map_npy(folder / FEATURES_FILE, DAMAGED)
    import pyarrow.parquet  # late: reading one file takes less time than importing it

    path = folder / INDEX_FILE
    listing.check_opens(path)
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}); {DAMAGED}") from error
    columns = {}
    for name in (*LABELS, *TEXTS):
        if name in table.column_names:
            column = table.column(name)
            if column.null_count:
                raise InputError(
                    f"the column {name} of {path} has {column.null_count} empty places; fill "
                    f"them, or leave the column out ({UNLABELLED} stands for an unknown number)"
                )
            columns[name] = column.to_numpy()
    columns.setdefault("key", np.full(table.num_rows, ""))  # so that the lengths are compared
    return features, columns


def _integers(
    columns: Mapping[str, np.ndarray], name: str, num_rows: int, path: pathlib.Path, needed: bool
) -> np.ndarray:
    if name not in columns:
        if needed:
            raise InputError(
                f"{path} has no {name}; identities and cameras are needed here: "
                "`luperson evaluate --save-embeddings` saves them; or save pid [N] and "
                "camera [N] beside the features"
            )
        return np.full(num_rows, UNLABELLED, np.int64)
    column = columns[name]
    if column.shape != (num_rows,) or not np.issubdtype(column.dtype, np.integer):
        raise InputError(
            f"{name} of {path} has shape {column.shape} and type {column.dtype}; expected "
            f"{num_rows} integers, one for each row of the features"
        )
    return whole_numbers.column(column, name, lambda row: f"row {row} of {path}")


def _frames(columns: Mapping[str, np.ndarray], num_rows: int, path: pathlib.Path) -> Sequence[str]:
    return _texts(columns, "frames", num_rows, path) if "frames" in columns else ()


def _texts(
    columns: Mapping[str, np.ndarray], name: str, num_rows: int, path: pathlib.Path
) -> tuple[str, ...]:
    if name not in columns:
        return ("",) * num_rows
    column = columns[name]
    if column.shape != (num_rows,) or column.dtype.kind not in "UO":
        raise InputError(
            f"{name} of {path} has shape {column.shape} and type {column.dtype}; expected "
            f"{num_rows} strings, one for each row of the features"
        )
    return tuple(os.fsdecode(one) if isinstance(one, bytes) else str(one) for one in column)


def _write_folder(
    folder: pathlib.Path, features: np.ndarray, columns: Mapping[str, np.ndarray | Sequence[str]]
) -> None:
    import pyarrow.parquet

    rows = pyarrow.table({name: _column(column) for name, column in columns.items()})
    with atomic.making(folder) as part:
        np.save(part / FEATURES_FILE, features)
        pyarrow.parquet.write_table(rows, part / INDEX_FILE)


def _column(values: np.ndarray | Sequence[str]) -> "pyarrow.Array":
    """Numbers, or text; bytes where a file name is not UTF-8, which text of Arrow has to be."""
    import pyarrow

    try:
        return pyarrow.array(values)
    except UnicodeEncodeError:
        return pyarrow.array([os.fsencode(one) for one in values])
