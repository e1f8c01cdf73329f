"""The table of images that everything else refers to by row number."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from data_pipeline.errors import InputError

UNLABELLED = -1


@dataclasses.dataclass(frozen=True)
class Table:
    """Parallel arrays, one row an image.

    Attributes:
        media: [N] paths, unique.
        pid: [N] int64 identity as the data set names it; -1 where it is unknown.
        camera: [N] int64 camera, from 0; -1 where it is unknown.
        track: [N] int64 tracklet; -1 where it is unknown.
    """

    media: tuple[str, ...]
    pid: np.ndarray
    camera: np.ndarray
    track: np.ndarray

    def __post_init__(self) -> None:
        for name in ("pid", "camera", "track"):
            column = getattr(self, name)
            assert column.shape == (len(self.media),), f"{name}: {column.shape}"
            assert column.dtype == np.int64, f"{name}: {column.dtype}"

    def __len__(self) -> int:
        return len(self.media)

    @property
    def num_ids(self) -> int:
        """Number of distinct known identities."""
        return len(np.unique(self.pid[self.pid != UNLABELLED]))

    @property
    def num_cameras(self) -> int:
        """Number of distinct known cameras."""
        return len(np.unique(self.camera[self.camera >= 0]))

    def take(self, rows: np.ndarray) -> "Table":
        """The given rows, in the given order."""
        media = tuple(self.media[row] for row in rows)
        return Table(media, self.pid[rows], self.camera[rows], self.track[rows])

    def relabelled(self) -> "Table":
        """Identities renumbered 0..C-1 in ascending order; unknown ones stay -1."""
        known = self.pid != UNLABELLED
        pid = np.full_like(self.pid, UNLABELLED)
        pid[known] = np.unique(self.pid[known], return_inverse=True)[1]
        return dataclasses.replace(self, pid=pid)

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with any row, label or the order of rows.

        Folders above the last two path components do not count: the same data set moved to
        another disk keeps its fingerprint.
        """
        digest = hashlib.blake2b(digest_size=6)
        for path in self.media:
            digest.update("/".join(path.split("/")[-2:]).encode() + b"\0")
        for column in (self.pid, self.camera, self.track):
            digest.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Splits:
    """What a data set offers. A part that it lacks is an empty table."""

    train: Table
    query: Table
    gallery: Table


def make_table(rows: Sequence[tuple[str, int, int, int]]) -> Table:
    """A table from `(media, pid, camera, track)` rows.

    Rows are put in an order that depends on the file names alone and tells nothing about identity
    (files of one person usually stand side by side, and a method without labels must not profit).

    Raises:
        InputError: a path occurs twice.
    """

    def place(row: tuple[str, int, int, int]) -> tuple[bytes, str]:
        name = "/".join(row[0].split("/")[-2:])
        return hashlib.blake2b(name.encode(), digest_size=8).digest(), row[0]

    ordered = sorted(rows, key=place)
    media = tuple(row[0] for row in ordered)
    if len(set(media)) != len(media):
        raise InputError("the list of images names the same path twice; remove the duplicates")
    columns = np.array([row[1:] for row in ordered], dtype=np.int64).reshape(len(ordered), 3)
    return Table(media, *(np.ascontiguousarray(columns[:, i]) for i in range(3)))


def empty_table() -> Table:
    """A table without rows."""
    return make_table([])


def concatenate(tables: Sequence[Table]) -> Table:
    """One table after the other. Identities, cameras and tracklets of different sources are kept
    apart by shifting the numbers of the later ones; unknown ones stay -1."""
    columns: dict[str, list[np.ndarray]] = {"pid": [], "camera": [], "track": []}
    for name, parts in columns.items():
        offset = 0
        for table in tables:
            column = getattr(table, name)
            parts.append(np.where(column < 0, column, column + offset))
            offset += int(column.max(initial=-1)) + 1
    media = tuple(path for table in tables for path in table.media)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Table(media, joined["pid"], joined["camera"], joined["track"])
