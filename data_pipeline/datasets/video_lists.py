"""The list files that come with video sets: text, JSON and Matlab."""

import dataclasses
import json
import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from data_pipeline import whole_numbers
from data_pipeline.datasets import folders, listed
from data_pipeline.errors import InputError, refusal
from data_pipeline.read import listing, matlab

# Repositories that publish lists keep them as deep as `evaluation/datasplits/PRID2011/split1`.
SEARCH_DEPTH = 4

EXAMPLE_FRAME = "cam1/person_0147/0001.png 1 1 1"


@dataclasses.dataclass(frozen=True)
class FrameList:
    """A list of frames in the form of Deep Association Learning.

    The number of a tracklet counts in its camera. In the published lists of PRID2011 and iLIDS-VID
    the tracklets of one person have the same number in both cameras: it is the identity under
    another name, and labels of training without identities are to come from
    `frames.numbers_in_camera`.

    Attributes:
        source: path of the list.
        paths: [N] path of each frame as the list has it.
        tracklet: [N] int64 number in its camera, from 0.
        camera: [N] int64 from 0.
        sequence: [N] int64 number of the tracklet over all cameras, from 0.
    """

    source: str
    paths: list[str]
    tracklet: np.ndarray
    camera: np.ndarray
    sequence: np.ndarray


def find(root: str, name: str, closed: Collection[str] = ()) -> Iterator[str]:
    """Paths that end in `name`, a file or `folder/file`, below a folder, the outermost first.

    Args:
        root: where to begin; at most `SEARCH_DEPTH` folders deep is looked.
        name: what to look for.
        closed: names of folders not to enter, because they hold pictures.
    """
    level = [root]
    for _ in range(SEARCH_DEPTH):
        for folder in level:
            path = os.path.join(folder, name)
            if listing.is_file(path):
                yield path
        level = [
            os.path.join(folder, inner)
            for folder in level
            for inner in listing.subfolders(folder)
            if inner not in closed
        ]


def read_lines(path: str, example: str = "0001C1T0001F001.jpg") -> list[str]:
    """The lines of a text file without blank ones; any ends of lines.

    Raises:
        InputError: it is missing, empty or not text.
    """
    lines = [line.strip() for line in listed.lines(path, example) if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty; fetch it again")
    return lines


def read_frames(path: str) -> FrameList:
    """A list of frames: `cam1/person_0147/0001.png 1 1 1` in each line, which is path, tracklet
    in its camera, camera and sequence, all counted from 1.

    Raises:
        InputError: the file cannot be read or a line has another form.
    """
    paths, columns = [], []
    for number, line in enumerate(read_lines(path, EXAMPLE_FRAME), 1):
        fields = line.rsplit(maxsplit=3)
        if len(fields) != 4 or not all(
            field.isdecimal() and field.strip("0") for field in fields[1:]
        ):
            raise InputError(
                f"{path}, line {number} that is not blank: {line!r}; expected a path and three "
                "numbers from 1: tracklet in its camera, camera, sequence"
            )
        paths.append(listed.slashes(fields[0]))
        what, where = ("tracklet", "camera", "sequence"), f"{path}, line {number}"
        pairs = zip(fields[1:], what, strict=True)
        columns.append([whole_numbers.parse(field, name, where) - 1 for field, name in pairs])
    listed.check_once(path, range(1, len(paths) + 1), paths)
    return FrameList(path, paths, *np.array(columns, np.int64).T)


def read_json(path: str) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise refusal(path, error) from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); fetch it again") from error


def read_matrix(path: str, variable: str) -> np.ndarray:
    """A matrix of whole numbers from a Matlab file, [rows, columns] int64.

    Raises:
        InputError: the file is missing or damaged, or has no such matrix.
    """
    content = matlab.read(path)
    matrix = content.get(variable)
    if matrix is None or matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
        names = sorted(name for name in content if not name.startswith("__"))
        raise InputError(
            f"{path} has no matrix {variable!r} but {folders.some(names) or 'nothing'}; it is "
            "another file than the name says, fetch it again"
        )
    width = matrix.shape[1]
    numbers = whole_numbers.column(
        matrix.ravel(),
        "number",
        lambda at: f"{variable} of {path}, row {at // width + 1}, column {at % width + 1},",
    )
    return numbers.reshape(matrix.shape)


def check_present(paths: Sequence[str], source: str) -> None:
    """Whether every frame of a list lies where it should; lists each folder once.

    Args:
        paths: the frames.
        source: what names them, for the message.

    Raises:
        InputError: some are missing.
    """
    absent = folders.missing("", paths)
    if absent:
        raise InputError(
            f"{source} names {len(absent)} frames (of {len(paths)}) that are not there: "
            f"{folders.some(absent, 3)}; unpack the whole data set, or take the list that belongs "
            "to this release"
        )
