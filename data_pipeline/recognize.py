"""Which data set a folder holds, by the paths in it."""

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence

from data_pipeline import datasets
from data_pipeline.datasets import folders
from data_pipeline.datasets.about import DataSet, count_of
from data_pipeline.errors import InputError, shorten
from data_pipeline.read import listing
from data_pipeline.table.records import Splits

UNORDERED = "image_folder"
MAX_NAMED = 5

Place = tuple[DataSet, str]
"""A data set and its root."""


def recognize(root: str) -> list[Place]:
    """The data sets whose layout a folder has, the most particular first, with the right root.

    The folder itself is tried first, then those one level below. What lies beside it says nothing
    of it: only where it holds no picture and nothing of any layout, the folder above is tried, if
    this one is a part of its layout.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    home = os.path.abspath(folders.checked_root(root))
    below = [os.path.join(home, name) for name in listing.subfolders(home)]
    for place in (home, *below):
        known = [one for one in datasets.DATASETS.values() if _is(place, one, sure=place == home)]
        if known:
            return _sorted(known, place)
    parent, own_name = os.path.split(home)
    if not own_name or any(_shares(home).values()) or any(True for _ in pictures(home)):
        return []
    parts = [one for one in datasets.DATASETS.values() if _is_part(own_name, parent, one)]
    return _sorted([one for one in parts if _is(parent, one, sure=False)], parent)


def nearest(root: str) -> list[Place]:
    """Where no layout is there in full: the one with the largest part of its folders and lists,
    whose reader will say what is missing; pictures in no order at all are an `image_folder`.

    Raises:
        InputError: the folder holds neither, or cannot be read.
    """
    home = os.path.abspath(folders.checked_root(root))
    shares = _shares(home)
    fullest = max(shares, key=lambda name: shares[name])
    # `train` and `test` are folders of MSMT17 as well, whose people are called by four digits.
    named = any(not re.fullmatch(r"\d{4}", name) for name in folders.people(home))
    own = shares[fullest] <= 0.5 and named
    if shares[fullest] and not own:
        return [(datasets.DATASETS[fullest], home)]
    if any(True for _ in pictures(home)):
        return [(datasets.DATASETS[UNORDERED], home)]
    inside = shorten(listing.names(home), MAX_NAMED) or ["nothing"]
    raise InputError(
        f"{root} holds no pictures and has the layout of no data set, nor have the folders in it, "
        f"nor is it a part of what the one above holds; it holds {', '.join(inside)}; known are "
        f"{', '.join(shares)}"
    )


def best(known: Sequence[Place], split: int) -> Place:
    """Of the sets that share a layout the one whose published numbers are there; else the one
    whose reader accepts the folder; else the first."""

    def fitness(candidate: Place) -> tuple[bool, float]:
        dataset, place = candidate
        try:
            splits = load(dataset, place, min(split, dataset.num_splits - 1))
        except InputError:
            return False, 0.0
        same = [
            not published.differs(count_of(getattr(splits, part)))
            for part, published in dataset.counts.items()
        ]
        return True, sum(same) / max(len(same), 1)

    return known[0] if len(known) == 1 else max(known, key=fitness)


def load(dataset: DataSet, place: str, split: int) -> Splits:
    """The tables of one folder."""
    return dataset.load(place, *((split,) if dataset.num_splits > 1 else ()))


def pictures(root: str) -> Iterator[str]:
    """Paths of the pictures below a folder; links to folders are not followed.

    Raises:
        InputError: a folder cannot be read.
    """
    for folder, names in listing.walk(root):
        yield from (os.path.join(folder, name) for name in names if folders.is_picture(name))


def _sorted(known: Sequence[DataSet], place: str) -> list[Place]:
    return [(one, place) for one in sorted(known, key=lambda one: -len(one.markers))]


def _is(folder: str, dataset: DataSet, sure: bool) -> bool:
    """Whether a folder has a layout. Only of the folder that was given (`sure`) must it be known
    for certain; another one that cannot be told is none."""
    if not dataset.markers or _share(folder, dataset) < 1:
        return False
    if dataset.confirms is None:
        return True
    try:
        return dataset.confirms(folder)
    except InputError:
        if sure:
            raise
        return False


def _is_part(name: str, parent: str, dataset: DataSet) -> bool:
    """Whether a folder of that name is what some marker of its parent means."""
    patterns = (pattern for marker in dataset.markers for pattern in marker.split("|"))
    return any(
        first not in ("", "*") and fnmatch.fnmatch(name, first) and _exists(parent, pattern)
        for pattern in patterns
        for first in (pattern.partition("/")[0],)
    )


def _shares(folder: str) -> dict[str, float]:
    return {one.name: _share(folder, one) for one in datasets.DATASETS.values() if one.markers}


def _share(folder: str, dataset: DataSet) -> float:
    found = [
        any(_exists(folder, pattern) for pattern in marker.split("|")) for marker in dataset.markers
    ]
    return sum(found) / len(found)


def _exists(folder: str, pattern: str) -> bool:
    """Whether a path below a folder matches; each component is a pattern of its own."""
    first, _, rest = pattern.partition("/")
    try:
        names = fnmatch.filter(listing.names(folder), first)
    except InputError:
        return False  # no folder, or one that the reader of the set will name
    return any(not rest or _exists(os.path.join(folder, name), rest) for name in names)
