"""The folder of an index: `manifest.json` names the two files that belong together,
`features-N.npy` [rows, D] float32 and `columns-N.parquet`.

A save writes new files before it changes the manifest, so that a process that ends meanwhile leaves
the former index or the new one. One process writes at a time (`locked`); readers are never kept
out, and read again where a writer has changed the index under them.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from data_pipeline.errors import InputError
from data_pipeline.read import array_files, atomic, json_files, listing
from luperson_jax import folder_kinds
from luperson_jax.serving.camera_names import UNKNOWN, CameraNames
from luperson_jax.serving.index_columns import IndexColumns
from luperson_jax.workdir import lock

FORMAT = "luperson_jax index 1"
MANIFEST = "manifest.json"
DAMAGED = "it is no index, or damaged; build it again"
WORDS = lock.Words("the index", "another process is changing", "wait for it or stop it")


class Stored(NamedTuple):
    """What a folder holds: features [rows, D], memory-mapped where there are any, the columns, what
    made the features, and what the numbers of cameras stand for; see `Index`."""

    features: np.ndarray
    columns: IndexColumns
    made_by: str
    made_with: str
    cameras: CameraNames


@contextlib.contextmanager
def locked(folder: str | os.PathLike, *, existing: bool = False) -> Iterator[str | None]:
    """Within, no other process can write this index: from the reading of what is there to the
    writing of what comes in its place.

    Args:
        folder: made where it is missing.
        existing: whether it must hold an index already.

    Yields:
        None, or why the file system cannot lock.

    Raises:
        InputError: another process is changing it, or it cannot be written; or the folder holds
            something else.
    """
    home = pathlib.Path(folder)
    if existing or not is_free(home):
        _manifest(home)  # no lock file among what is no index
    with lock.held(home, WORDS) as note:
        yield note


def is_free(folder: str | os.PathLike) -> bool:
    """Whether an index may be made there: nothing is, or an empty folder, perhaps with the lock of
    a process that ended before it wrote.

    Raises:
        InputError: the system does not let one look.
    """
    if not listing.is_folder(folder):
        return not listing.exists(folder)
    return not set(listing.names(folder)) - {lock.LOCK_FILE}


def write(
    folder: str | os.PathLike,
    pieces: Iterable[np.ndarray],
    columns: IndexColumns,
    about: dict[str, Any],
) -> None:
    """Writes an index, or puts it in the place of one that is there; within `locked`.

    Args:
        folder: of `locked`.
        pieces: of the features, [., D] each.
        columns: of all rows.
        about: more for the manifest; `dimensions` at least.

    Raises:
        InputError: it cannot be written, or the folder holds something else.
    """
    home = pathlib.Path(folder)
    former = None if is_free(home) else _manifest(home)
    number, rows = 1 if former is None else former["number"] + 1, len(columns.id)
    files = {"features": f"features-{number}.npy", "columns": f"columns-{number}.parquet"}
    with atomic.replacing(home / files["features"]) as part, part.open("wb") as stream:
        shape = (rows, about["dimensions"])
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for piece in pieces:
            stream.write(np.ascontiguousarray(piece, "<f4").tobytes())
    with atomic.replacing(home / files["columns"]) as part:
        pyarrow.parquet.write_table(pa.table(columns._asdict()), part)
    whole = {"format": FORMAT, "number": number, **files, "rows": rows, **about}
    atomic.write_text(home / MANIFEST, json.dumps(whole, indent=2) + "\n")
    if former is not None:
        for name in files:
            (home / former[name]).unlink(missing_ok=True)


def read(folder: str | os.PathLike) -> Stored:
    """What `write` has written.

    Raises:
        InputError: no index, or a damaged one.
    """
    home = pathlib.Path(folder)
    about = _manifest(home)
    while True:
        try:
            return _stored(home, about)
        except InputError:
            # A writer takes the former files away once the manifest names others.
            former, about = about, _manifest(home)
            if former["number"] == about["number"]:
                raise


def _stored(home: pathlib.Path, about: dict[str, Any]) -> Stored:
    path = home / about["columns"]
    listing.check_opens(path)
    try:
        table = pyarrow.parquet.read_table(path)
        columns = IndexColumns(*(table.column(name).to_numpy() for name in IndexColumns._fields))
        cameras = _cameras(about, columns.camera)
    except (OSError, ValueError, KeyError, MemoryError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}); {DAMAGED}") from error
    features = array_files.map_npy(home / about["features"], DAMAGED)
    shape = (about["rows"], about["dimensions"])
    if features.shape != shape or any(len(column) != shape[0] for column in columns):
        raise InputError(
            f"{home / about['features']} has shape {list(features.shape)}, and the manifest "
            f"says {list(shape)}; {DAMAGED}"
        )
    made = str(about["made_by"]), str(about.get("made_with", ""))
    return Stored(features, columns, *made, cameras)


def _cameras(about: dict[str, Any], numbers: np.ndarray) -> CameraNames:
    """As the manifest has them; one of before they were kept is taken to hold numbers of paths."""
    if "cameras" not in about:
        return CameraNames({one: str(one) for one in np.unique(numbers).tolist() if one != UNKNOWN})
    try:
        return CameraNames.of_values(about["cameras"], numbers)
    except (AttributeError, TypeError) as error:
        raise ValueError(f"cameras: {error}") from error


def _manifest(home: pathlib.Path) -> dict[str, Any]:
    path = home / MANIFEST
    if not listing.exists(path):
        if not listing.is_folder(home):
            make = f"`luperson index PICTURES --out {home}` makes one"
            raise InputError(f"there is no index {home}; {make}")
        known = f"it has no {MANIFEST}; `luperson index PICTURES --out DIR` makes an index"
        raise InputError(f"{home} is no index: {folder_kinds.told(home, known)}")
    about = json_files.read(path, DAMAGED)
    try:
        if about["format"] != FORMAT:
            raise InputError(f"{path} is of {str(about['format'])[:80]!r}; expected {FORMAT!r}")
        number, names = int(about["number"]), (about["features"], about["columns"])
        if names != (f"features-{number}.npy", f"columns-{number}.parquet"):
            raise ValueError(f"files {names}")
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error!r}); {DAMAGED}") from error
    return about
