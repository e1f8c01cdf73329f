"""What the page shows: the pictures of an index or its tracklets, by numbers that stay."""

import dataclasses
import datetime
import functools
import os
import pathlib
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.clustering import grouping
from luperson_jax.serving.camera_names import UNKNOWN
from luperson_jax.serving.gallery_index import Index
from luperson_jax.serving.index_columns import IndexColumns


class Item(NamedTuple):
    """A picture or a tracklet.

    Attributes:
        number: of the picture in the index, of a tracklet that of its first frame.
        name: of its file without the ending, of a tracklet that of its folder.
        camera: its number; None where it is not known.
        camera_name: what it is called; empty where it is not known.
        time: None where it is not known; of a tracklet that of its first frame.
        num_frames: 1 of a picture.
    """

    number: int
    name: str
    camera: int | None
    camera_name: str
    time: datetime.datetime | None
    num_frames: int

    def __str__(self) -> str:
        known = [self.name]
        known += [] if self.camera is None else [f"camera {self.camera_name}"]
        known += [] if self.time is None else [f"{self.time:%Y-%m-%d %H:%M:%S}"]
        return ", ".join([*known, *([f"{self.num_frames} frames"] if self.num_frames > 1 else [])])


@dataclasses.dataclass(frozen=True)
class Gallery:
    """An index as the page shows it.

    Attributes:
        index: a row for each of T items; of a tracklet the mean of the features of its frames.
        pictures: the N rows of the index on disk.
        item: [N] item of every picture, 0..T-1.
    """

    index: Index
    pictures: IndexColumns
    item: np.ndarray

    @classmethod
    def of(cls, index: Index, *, tracklets: bool = False) -> "Gallery":
        """The gallery of an index.

        Args:
            index: what `luperson index` or `Index.save` has written.
            tracklets: whether the pictures of one folder are the frames of a tracklet.

        Raises:
            InputError: there is no picture in it.
        """
        if not len(index):
            raise InputError("the index holds no picture; expected one or more")
        if not tracklets:
            return cls(index, index.columns, np.arange(len(index)))
        homes = [os.path.dirname(str(key)) or str(key) for key in index.columns.key]
        _, first, item = np.unique(homes, return_index=True, return_inverse=True)
        order = np.argsort(first)  # items stand in the order of their first frames
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        item, first = place[item], np.sort(first)
        means = grouping.centers(index.features(), item, len(first))
        pooled = dataclasses.replace(
            index,
            parts=(means.astype(np.float32),),
            rows=np.arange(len(first)),
            columns=index.columns.take(first),
        )
        return cls(pooled, index.columns, item)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def has_tracklets(self) -> bool:
        """Whether an item may have several frames."""
        return len(self.index) < len(self.pictures.id)

    @functools.cached_property
    def cameras(self) -> dict[int, str]:
        """What the known cameras are called, by their numbers."""
        found = np.unique(self.index.columns.camera).tolist()
        return {one: self.camera_name(one) for one in found if one != UNKNOWN}

    def camera_name(self, number: int) -> str:
        """What a camera is called; empty of the unknown one."""
        return "" if number == UNKNOWN else self.index.cameras.name(number)

    @functools.cached_property
    def times(self) -> tuple[datetime.datetime, datetime.datetime] | None:
        """The first and the last moment; None where none is known."""
        known = self.index.columns.time[~np.isnat(self.index.columns.time)]
        known = known.astype("datetime64[us]")
        return (known.min().item(), known.max().item()) if len(known) else None

    def place(self, number: int) -> int:
        """The row of the item of a picture.

        Raises:
            InputError: no picture has the number.
        """
        numbers = self.pictures.id  # in rising order: pictures are added behind the last
        row = int(np.searchsorted(numbers, number))
        if row == len(numbers) or numbers[row] != number:
            raise InputError(f"no picture of this index has the number {number}")
        return int(self.item[row])

    def describe(self, place: int) -> Item:
        """What is known of an item."""
        columns = self.index.columns
        path = pathlib.PurePath(str(columns.key[place]))
        num = int(self._num_frames[place])
        name = "/".join(path.parent.parts[-2:]) if num > 1 else path.stem
        moment = columns.time[place].astype("datetime64[us]")
        camera = int(columns.camera[place])
        return Item(
            int(columns.id[place]),
            name or f"picture {columns.id[place]}",
            None if camera == UNKNOWN else camera,
            self.camera_name(camera),
            None if np.isnat(moment) else moment.item(),
            num,
        )

    def keys(self, place: int) -> tuple[str, ...]:
        """Paths of the frames of an item, in their order in the index."""
        rows = np.flatnonzero(self.item == place) if self.has_tracklets else [place]
        return tuple(str(self.pictures.key[row]) for row in rows)

    def feature(self, place: int) -> np.ndarray:
        """[D] float32 of unit length."""
        return self.index.features(np.array([place]))[0]

    @functools.cached_property
    def _num_frames(self) -> np.ndarray:
        return np.bincount(self.item)
