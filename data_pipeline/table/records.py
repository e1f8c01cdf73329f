"""The table of images that everything else refers to by row number."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from data_pipeline import whole_numbers
from data_pipeline.errors import InputError
from data_pipeline.table.paths import Paths

UNLABELLED = -1
WORDS = {"pid": "identity", "camera": "camera", "track": "tracklet"}
Column = Sequence[int] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Table:
    """Parallel arrays, one row an image.

    Attributes:
        media: [N] where each picture lies, unique: a path, or what else `storage.read` knows.
        pid: [N] int64 identity as the data set names it; -1 where it is unknown.
        camera: [N] int64 camera, from 0; -1 where it is unknown.
        track: [N] int64 tracklet; -1 where it is unknown.
        names: [N] the paths from which pictures were packed, without what leads to the data set;
            None where `media` holds the paths themselves.
        source: [N] int16 which of several data sets, from 0; None where there is one.
    """

    media: Paths
    pid: np.ndarray
    camera: np.ndarray
    track: np.ndarray
    names: Paths | None = None
    source: np.ndarray | None = None

    def __post_init__(self) -> None:
        assert self.names is None or len(self.names) == len(self.media), "names"
        for name in ("pid", "camera", "track"):
            column = getattr(self, name)
            assert column.shape == (len(self.media),), f"{name}: {column.shape}"
            assert column.dtype == np.int64, f"{name}: {column.dtype}"
        if self.source is not None:
            assert self.source.shape == (len(self.media),), f"source: {self.source.shape}"

    def __len__(self) -> int:
        return len(self.media)

    @property
    def paths(self) -> Paths:
        """What the pictures are called, wherever they lie: names where there are any."""
        return self.media if self.names is None else self.names

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
        columns = (self.pid[rows], self.camera[rows], self.track[rows])
        names = None if self.names is None else self.names.take(rows)
        source = None if self.source is None else self.source[rows]
        return Table(self.media.take(rows), *columns, names, source)

    def relabelled(self) -> "Table":
        """Identities renumbered 0..C-1 in ascending order; unknown ones stay -1."""
        known = self.pid != UNLABELLED
        pid = np.full_like(self.pid, UNLABELLED)
        pid[known] = np.unique(self.pid[known], return_inverse=True)[1]
        return dataclasses.replace(self, pid=pid)

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with any row, label or the order of rows.

        Folders above the last two path components do not count: the same data set moved to
        another disk, or packed, keeps its fingerprint.
        """
        digest = hashlib.blake2b(digest_size=6)
        for path in self.paths.encoded():
            digest.update(_name(path) + b"\0")
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
    """A table from `(media, pid, camera, track)` rows; see `table_of`."""
    return table_of(
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        [row[3] for row in rows],
    )


def table_of(media: Iterable[str], pid: Column, camera: Column, track: Column) -> Table:
    """A table from columns.

    Rows are put in an order that depends on the file names alone and tells nothing about identity
    (files of one person usually stand side by side, and a method without labels must not profit).

    Args:
        media: [N] where each picture lies.
        pid, camera, track: [N] whole numbers.

    Raises:
        InputError: a path occurs twice, or a number has more than 64 bits.
    """
    paths = Paths.of(media)
    places = np.fromiter(map(_place, paths.encoded()), np.uint64, len(paths))
    order = np.argsort(places, kind="stable")
    tied = np.flatnonzero(places[order[1:]] == places[order[:-1]])
    if len(tied):
        # Names that are equal up to a folder further out: by the whole path, for one fixed order.
        among = np.union1d(tied, tied + 1)
        rows = sorted(order[among].tolist(), key=lambda row: (places[row], paths[row]))
        pairs = itertools.pairwise(paths[row] for row in rows)
        if twice := next((path for path, after in pairs if path == after), None):
            raise InputError(
                f"the list of images names the same path twice: {twice}; remove the duplicates"
            )
        order[among] = rows
    named = zip(WORDS.values(), (pid, camera, track), strict=True)
    columns = (whole_numbers.column(one, what, paths.__getitem__)[order] for what, one in named)
    pid, camera, track = columns
    return Table(paths.take(order), pid, camera, track)


def _place(path: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(_name(path), digest_size=8).digest(), "big")


def _name(path: bytes) -> bytes:
    """The last two components: what the data set itself calls a picture."""
    return b"/".join(path.rsplit(b"/", 2)[-2:])


def with_match(query: Table, gallery: Table) -> np.ndarray:
    """Which queries can be ranked: those with a gallery picture of their identity from another
    camera, [Q] bool. The same camera does not count, nor does a query of unknown identity."""
    pairs = np.unique(np.stack([gallery.pid, gallery.camera], axis=1), axis=0)
    ids, first, cameras = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    if not len(ids):
        return np.zeros(len(query), bool)
    place = np.minimum(np.searchsorted(ids, query.pid), len(ids) - 1)
    known = (ids[place] == query.pid) & (query.pid != UNLABELLED)
    return known & ((cameras[place] > 1) | (pairs[first[place], 1] != query.camera))


def empty_table() -> Table:
    """A table without rows."""
    return make_table([])


def concatenate(tables: Sequence[Table]) -> Table:
    """One table after the other. Identities, cameras and tracklets of different sources are kept
    apart by shifting the numbers of the later ones; unknown ones stay -1."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in WORDS}
    for name, parts in columns.items():
        offset = 0
        for table in tables:
            column = getattr(table, name)
            where = f"{table.media[0] if len(table) else ''}, joined with others,"
            parts.append(whole_numbers.shifted(column, offset, WORDS[name], where))
            offset += int(column.max(initial=-1)) + 1
    media = Paths.of(path for table in tables for path in table.media)
    named = any(table.names is not None for table in tables)
    names = Paths.of(path for table in tables for path in table.paths) if named else None
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Table(media, joined["pid"], joined["camera"], joined["track"], names)
