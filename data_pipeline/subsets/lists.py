"""LUPerson's lists of identities and images: reading, writing, and finding their rows in a table.

    few_ids/used_ids_0.10.txt    one identity a line, as the data set numbers it
    few_ims/used_ims_0.10.txt    `name; label; camera`: the file name, the rank of its identity
                                 among all those of the training set, the camera from 0

Lines may end in blanks and in either line break; empty lines and those that start with `#` say
nothing. The published files end lines with a blank, those of images with CR LF besides.
"""

import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from data_pipeline import whole_numbers
from data_pipeline.datasets import listed
from data_pipeline.datasets.folders import some
from data_pipeline.errors import InputError
from data_pipeline.read import atomic, listing
from data_pipeline.subsets import draw
from data_pipeline.table.records import Table

Line = TypeVar("Line")


class Image(NamedTuple):
    """A line of a list of images."""

    name: str
    label: int
    camera: int


def ids_file(ratio: float) -> str:
    """Where the identities of a ratio stand, below the folder of the data set."""
    return f"few_ids/used_ids_{draw.percent(ratio) / 100:.2f}.txt"


def images_file(ratio: float) -> str:
    """Where the images of a ratio stand, below the folder of the data set."""
    return f"few_ims/used_ims_{draw.percent(ratio) / 100:.2f}.txt"


def read_ids(path: str | pathlib.Path) -> list[int]:
    """The identities of a list, in its order.

    Raises:
        InputError: the file cannot be read, holds another line or an identity twice, or none.
    """
    found = _read(path, _identity, "an identity, such as 27")
    _refuse_twice(path, found, "identity")
    return found


def read_images(path: str | pathlib.Path) -> list[Image]:
    """The images of a list, in its order.

    Raises:
        InputError: the file cannot be read, holds another line or an image twice, or none.
    """
    found = _read(path, _image, "`name; label; camera`, such as 0002_c1s2_000841_01.jpg; 0; 0")
    _refuse_twice(path, [one.name for one in found], "image")
    return found


def write_ids(path: str | pathlib.Path, ids: Iterable[int], comment: str = "") -> None:
    """Writes identities as LUPerson does, below a comment.

    Raises:
        InputError: the file exists or cannot be written.
    """
    _write(path, comment, "".join(f"{one} \n" for one in ids))


def write_images(path: str | pathlib.Path, images: Iterable[Image], comment: str = "") -> None:
    """Writes images as LUPerson does, below a comment.

    Raises:
        InputError: the file exists or cannot be written.
    """
    _write(path, comment, "".join(f"{one.name}; {one.label}; {one.camera} \r\n" for one in images))


def refuse_existing(paths: Iterable[pathlib.Path]) -> None:
    """Raises InputError where one of the files exists: a list in use must not change."""
    existing = [str(path) for path in paths if listing.exists(path)]
    if existing:
        raise InputError(
            f"{some(existing)} exist{'s' if len(existing) == 1 else ''} and lists are never "
            "overwritten; write to another folder, or move the old ones away"
        )


def images_of(table: Table, rows: np.ndarray) -> list[Image]:
    """The lines that list these rows, by name."""
    named, label = draw.names(table), table.relabelled().pid
    lines = (Image(named[row], int(label[row]), int(table.camera[row])) for row in rows)
    return sorted(lines)


def rows_of_ids(table: Table, path: str | pathlib.Path, expected: int) -> np.ndarray:
    """The rows whose identities a list names, ascending.

    Args:
        table: the whole training set.
        path: the list.
        expected: identities that it must have.

    Raises:
        InputError: another number of them, or some that the table lacks.
    """
    ids = read_ids(path)
    _refuse_unknown(path, sorted({*ids} - {*table.pid.tolist()}), "identities")
    _refuse_count(path, len(ids), expected, f"{table.num_ids} identities")
    return np.flatnonzero(np.isin(table.pid, ids))


def rows_of_images(table: Table, path: str | pathlib.Path, expected: int) -> np.ndarray:
    """The rows whose images a list names, ascending; else as `rows_of_ids`.

    Raises:
        InputError: another number of them, some that the table lacks, or labels or cameras that
            it does not give them.
    """
    images, named = read_images(path), draw.names(table)
    depth = named[0].count("/") + 1 if named else 1
    row_of = {name: row for row, name in enumerate(named)}
    short = ["/".join(one.name.split("/")[-depth:]) for one in images]
    _refuse_unknown(path, [name for name in short if name not in row_of], "images")
    _refuse_count(path, len(images), expected, f"{len(table)} images")
    rows = np.array([row_of[name] for name in short], np.int64)
    _refuse_twice(path, short, "image")
    label, camera = table.relabelled().pid[rows], table.camera[rows]
    for image, its_label, its_camera in zip(images, label, camera, strict=True):
        if image.label != its_label or (its_camera >= 0 and image.camera != its_camera):
            raise InputError(
                f"{path} gives {image.name} label {image.label} and camera {image.camera}; in the "
                f"data set it has {its_label} and {its_camera} (the rank of its identity among "
                f"{table.num_ids}, and the camera from 0): the list belongs to another version"
            )
    return np.sort(rows)


def _image(text: str) -> Image:
    name, label, camera = (part.strip() for part in text.rsplit(";", 2))
    name = listed.slashes(name)
    if not name:
        raise ValueError("no name")
    return Image(name, _number(label, "label"), _number(camera, "camera"))


def _identity(text: str) -> int:
    return _number(text, "identity")


def _number(text: str, what: str) -> int:
    return whole_numbers.parse(text, what, "it")


def _read(path: str | pathlib.Path, parse: Callable[[str], Line], expected: str) -> list[Line]:
    try:
        text = pathlib.Path(path).expanduser().read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise InputError(f"the list {path} cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            found.append(parse(line))
        except ValueError as error:
            raise InputError(
                f"{path}, line {number} is {line[:80]!r}; expected {expected}"
            ) from error
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
    if not found:
        raise InputError(f"{path} is empty; expected lines with {expected}")
    return found


def _write(path: str | pathlib.Path, comment: str, text: str) -> None:
    path = pathlib.Path(path)
    refuse_existing([path])
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    with atomic.replacing(path) as part:
        part.write_bytes((head + text).encode("utf-8", "surrogateescape"))


def _refuse_twice(path: str | pathlib.Path, found: Sequence[object], what: str) -> None:
    seen: set[object] = set()
    for one in found:
        if one in seen:
            raise InputError(f"{path} names the {what} {one} twice; expected every line once")
        seen.add(one)


def _refuse_unknown(path: str | pathlib.Path, unknown: Sequence[object], what: str) -> None:
    if unknown:
        raise InputError(
            f"{path} names {len(unknown)} {what} that the data set lacks: "
            f"{some([str(one) for one in unknown])}; expected those of the training set in this "
            "layout. Give the list that belongs to it as `list_path`, or move this one away "
            "to have a subset drawn"
        )


def _refuse_count(path: str | pathlib.Path, found: int, expected: int, whole: str) -> None:
    if found != expected:
        raise InputError(
            f"{path} has {found} lines; expected {expected} of the {whole} of the training set. "
            "Give the list that belongs to this data set and ratio as `list_path`, correct "
            "`ratio`, or move the list away to have a subset drawn"
        )
