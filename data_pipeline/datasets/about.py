"""What is known of a data set, beside how to read it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from data_pipeline.table.records import Splits, Table

Kind = Literal["image", "video", "unlabelled"]


@dataclasses.dataclass(frozen=True)
class Count:
    """Published numbers of one part; None where none is published."""

    images: int | None = None
    ids: int | None = None
    cameras: int | None = None
    tracklets: int | None = None

    def differs(self, found: "Count") -> bool:
        """Whether one of these numbers is another one than was found."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(found), strict=True)
        return any(published not in (None, number) for published, number in pairs)


def count_of(table: Table) -> Count:
    """The numbers of a table."""
    return Count(
        images=len(table),
        ids=table.num_ids,
        cameras=table.num_cameras,
        tracklets=len(np.unique(table.track[table.track >= 0])),
    )


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One word that a configuration may name.

    Attributes:
        name: the word.
        title: its name in papers.
        load: root folder, and the number of the split where there are several, to the tables.
        kind: "image", "video" (rows are frames, `track` tells their tracklet) or "unlabelled".
        counts: published numbers, by part: `train`, `query`, `gallery`.
        markers: paths below the root, all of which a folder in this layout has. Patterns of
            `fnmatch`; the alternatives of one are separated by `|`.
        tree: the expected files, for people.
        citation: authors, title, year.
        url: home page or source.
        license: terms of use, in a few words.
        access: how one gets it.
        num_splits: published divisions of the set; results are averaged over them.
        note: what else one must know.
        withdrawn: its owners have withdrawn it.
        aside: (pattern, what) of pictures that a whole copy has and no part uses; patterns of
            `fnmatch` for the path below the root.
        remarks: what else a folder tells, such as its release or what is missing.
        confirms: looks closer where the markers are there: two sets may share them.
        inside: for a word that stands for any set, the one that a folder holds.
    """

    name: str
    title: str
    load: Callable[..., Splits]
    kind: Kind
    counts: Mapping[str, Count]
    markers: tuple[str, ...]
    tree: str
    citation: str
    url: str
    license: str
    access: str
    num_splits: int = 1
    note: str = ""
    withdrawn: bool = False
    aside: tuple[tuple[str, str], ...] = ()
    remarks: Callable[[str], Sequence[str]] | None = None
    confirms: Callable[[str], bool] | None = None
    inside: Callable[[str], "DataSet"] | None = None
