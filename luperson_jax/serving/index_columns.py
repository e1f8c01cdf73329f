"""What an index knows of its pictures, and what a search says of those that it has found."""

import datetime
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Match(NamedTuple):
    """A picture that was found.

    Attributes:
        id: number of the picture in the index; it stays when others are removed.
        key: its path, or what it is called.
        distance: 1 - cosine, 0..2.
        camera: -1 where it is not known.
        time: None where it is not known.
        same: whether it shows the same person, by the model's thresholds; None where that is unsure
            or there are none.
    """

    id: int
    key: str
    distance: float
    camera: int
    time: datetime.datetime | None
    same: bool | None = None


class IndexColumns(NamedTuple):
    """What is known of N pictures: `id` int64, `key`, `camera` int64, `time` datetime64[us]."""

    id: np.ndarray
    key: np.ndarray
    camera: np.ndarray
    time: np.ndarray

    def take(self, rows: np.ndarray) -> "IndexColumns":
        """Some rows of each."""
        return IndexColumns(*(column[rows] for column in self))

    def matches(self, distance: np.ndarray, same: Sequence[bool | None]) -> list[Match]:
        """The pictures as those that a query has found.

        Args:
            distance: [N] from the query.
            same: [N] whether they show the same person.
        """
        times = self.time.astype("datetime64[us]").tolist()  # what is not known becomes None
        values = (self.id, self.key, distance, self.camera)
        rows = zip(*(column.tolist() for column in values), times, same, strict=True)
        return [Match(*row) for row in rows]
