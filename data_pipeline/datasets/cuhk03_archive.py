"""The file cuhk-03.mat of the CUHK03 release: pictures out of it, and its 20 test sets.

It is a Matlab file of version 7.3, which is HDF5. The cell arrays `labeled` and `detected` have one
cell for each of five pairs of cameras; that is an array of cells, persons x 10 pictures (1 to 5
from one camera, 6 to 10 from the other), some of them empty. `testsets` has 20 cells of rows
(pair, person), both from 1. HDF5 shows Matlab's arrays with their axes reversed.
"""

import os
import re
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.read.archives import FREE_BYTES, MAX_RATIO

PICTURES_OF_A_VIEW = 5
WHOLE = "expected cuhk-03.mat of the CUHK03 release, whole"

# What h5py lets out on damaged files.
H5_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    OverflowError,
    MemoryError,
)
NAME = re.compile(r"(\d)_(\d{3,})_([12])_(\d{2})\.png")


def extract(archive: str, kind: str, target: str) -> None:
    """Write the pictures of one kind to a folder, as `{pair}_{person:03d}_{view}_{number:02d}.png`.

    They are written once and without loss. The folder appears when it is complete. Until then it is
    called `target` + ".part", and what a killed process left in it is used again. Several processes
    may do it at once.

    Args:
        archive: cuhk-03.mat.
        kind: "labeled" or "detected".
        target: folder to make.

    Raises:
        InputError: h5py is missing, the file is damaged or another one, or `target` cannot be
            written.
    """
    part = f"{target}.part"
    try:
        os.makedirs(part, exist_ok=True)
        there = set(listing.names(part))
        for name, picture in _pictures(archive, kind):
            if name not in there:
                _write(os.path.join(part, name), picture)
        os.rename(part, target)
    except OSError as error:
        # Another process, which did the same, was done first.
        if not listing.is_folder(target):
            raise InputError(
                f"cannot bring the pictures of {archive} to {target}: {error}; `root` must be "
                "a folder that can be written to, once"
            ) from error


def test_sets(archive: str) -> list[set[tuple[int, int]]]:
    """The (pair, person) of the people for testing, in each of the classic divisions.

    Raises:
        InputError: as `extract`.
    """
    with _opened(archive) as file:
        cells = [
            _content(file, archive, reference) for reference in _cells(file, archive, "testsets")
        ]
    if any(cell.ndim != 2 or cell.shape[0] != 2 or cell.dtype.kind not in "iuf" for cell in cells):
        raise InputError(f"{archive} has test sets that are no rows of (pair, person); {WHOLE}")
    return [{(int(pair), int(person)) for pair, person in cell.T} for cell in cells]


def _pictures(archive: str, kind: str) -> Iterator[tuple[str, np.ndarray]]:
    """Name and picture [h, w, 3] of every cell that is not empty."""
    with _opened(archive) as file:
        for pair, reference in enumerate(_cells(file, archive, kind), 1):
            for person, row in enumerate(np.atleast_2d(_content(file, archive, reference).T), 1):
                for number, cell in enumerate(row, 1):
                    pixels = _content(file, archive, cell) if cell else None
                    # Matlab stores the shape of an empty array in place of its content.
                    if pixels is None or pixels.ndim != 3:
                        continue
                    view = 1 if number <= PICTURES_OF_A_VIEW else 2
                    name = f"{pair}_{person:03d}_{view}_{number:02d}.png"
                    yield name, _picture(pixels.T, archive, name)


def _picture(pixels: np.ndarray, archive: str, name: str) -> np.ndarray:
    if pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(
            f"{archive} has for {name} an array of shape {pixels.shape} and type {pixels.dtype}; "
            "expected a picture of 3 channels and 8 bits; is this the file of the CUHK03 release?"
        )
    return np.ascontiguousarray(pixels)


def _write(path: str, picture: np.ndarray) -> None:
    """Write so that the name appears with the whole picture, whoever else writes the same one."""
    temporary = f"{path}.{uuid.uuid4().hex}.part"
    Image.fromarray(picture).save(temporary, format="PNG")
    os.replace(temporary, path)


def _cells(file: Any, archive: str, name: str) -> np.ndarray:
    """The references in a cell array of Matlab's that has one column."""
    if name not in file:
        raise InputError(
            f"{archive} has no {name!r} but {', '.join(sorted(file))}; expected cuhk-03.mat of "
            "the CUHK03 release"
        )
    return _content(file, archive, name).ravel()


def _content(file: Any, archive: str, place: Any) -> np.ndarray:
    """An array of the file, by its name or a reference; no larger than the file could hold."""
    import h5py

    try:
        found = file[place]
        if not isinstance(found, h5py.Dataset):
            raise TypeError(f"{found} is no array")
        # A part that was never written takes no place in the file, and memory when it is read.
        if found.nbytes > FREE_BYTES + MAX_RATIO * os.path.getsize(archive):
            raise ValueError(f"{found.name} declares shape {found.shape}, {found.nbytes} bytes")
        return found[()]
    except H5_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"cannot read {archive}: {reason}; {WHOLE}") from error


def _opened(archive: str) -> Any:
    """The file, open for reading."""
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"reading {archive} needs h5py; pip install 'luperson_jax[mat]' or pip install h5py"
        ) from error
    listing.check_opens(archive)
    try:
        return h5py.File(archive, "r")
    except OSError as error:
        raise InputError(f"cannot read {archive}: {error}; {WHOLE}") from error
