"""What a folder of pictures really is: recognized, counted, decoded and compared with the paper."""

import concurrent.futures
import fnmatch
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data_pipeline import datasets, recognize
from data_pipeline.datasets import folders
from data_pipeline.datasets.about import DataSet, count_of
from data_pipeline.errors import InputError
from data_pipeline.findings import Findings, PartCounts
from data_pipeline.read import listing
from data_pipeline.read.picture_files import read_picture
from data_pipeline.table.records import Splits, Table, with_match

AUTO = "auto"
PARTS = ("train", "query", "gallery")


def examine(
    name: str,
    root: str,
    *,
    split: int = 0,
    own: bool = False,
    pictures: bool = True,
    workers: int = 4,
) -> Findings:
    """Reads a data set as training does, and looks at every picture.

    Args:
        name: a word of a configuration, or "auto".
        root: its folder.
        split: which published division, of sets that have several.
        own: the pictures are the user's own; no numbers are published for them.
        pictures: decode every picture; else only names are read.
        workers: threads that decode.

    Raises:
        InputError: no such folder or name, or, under "auto", a layout that nothing knows.
    """
    if name == AUTO:
        known = recognize.recognize(root) or recognize.nearest(root)
        dataset, place = recognize.best(known, split)
    else:
        dataset, place = datasets.find(name), os.path.abspath(folders.checked_root(root))
    if not 0 <= split < (num := dataset.num_splits):
        raise InputError(f"--split {split} of {dataset.name}; it has {num}, counted from 0")
    try:
        splits = recognize.load(dataset, place, split)
        dataset = dataset.inside(place) if dataset.inside else dataset
        tables = {part: getattr(splits, part) for part in PARTS}
        unused, aside = _unused(dataset, place, tables)
    except InputError as error:
        notes = (*_where(root, place), *_remarks(dataset, place))
        return Findings(dataset, place, own, notes=notes, unreadable=str(error))
    media = [path for table in tables.values() for path in table.media]
    unreadable = damaged(media, workers) if pictures else []
    counts = {} if own else dataset.counts
    queries, matched = _matches(splits)
    return Findings(
        dataset=dataset,
        root=place,
        own=own,
        parts={
            part: PartCounts(count_of(table), counts.get(part))
            for part, table in tables.items()
            if len(table) or part in dataset.counts
        },
        fingerprint=(splits.train if len(splits.train) else splits.gallery).fingerprint(),
        damaged=tuple(unreadable),
        unused=unused,
        aside=aside,
        distractors=int(np.count_nonzero(splits.gallery.pid == 0)),
        decoded=sum(map(len, tables.values())) - len(unreadable) if pictures else 0,
        queries=queries,
        matched=matched,
        notes=(*_where(root, place), *_notes(dataset, splits, place)),
    )


def damaged(media: Iterable[str], workers: int = 4) -> list[tuple[str, str]]:
    """Pictures that cannot be read, and why.

    Args:
        media: paths, or places in archives.
        workers: threads that decode.
    """

    def problem(media: str) -> tuple[str, str] | None:
        try:
            read_picture(media)
        except InputError as error:
            return media, str(error)
        return None

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return [found for found in pool.map(problem, media, chunksize=64) if found]


def _unused(
    dataset: DataSet, root: str, tables: Mapping[str, Table]
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Pictures below the root that are in no part: those that nobody expects, and numbers of
    those that the set leaves aside."""
    used = {os.path.realpath(path) for table in tables.values() for path in table.media}
    if not any(os.path.isabs(path) and listing.exists(path) for path in list(used)[:1]):
        return (), {}  # packed: the pictures are no files
    unexpected: list[str] = []
    aside: dict[str, int] = {}
    for path in recognize.pictures(root):
        if os.path.realpath(path) in used:
            continue
        below = os.path.relpath(path, root)
        what = next((w for pattern, w in dataset.aside if fnmatch.fnmatch(below, pattern)), None)
        if what is None:
            unexpected.append(path)
        else:
            aside[what] = aside.get(what, 0) + 1
    return tuple(unexpected), aside


def _matches(splits: Splits) -> tuple[int, int]:
    """Queries, and those that can be ranked; tracklets where the rows are frames of them."""
    matched, track = with_match(splits.query, splits.gallery), splits.query.track
    if not len(track) or (track < 0).any():
        return len(track), int(np.count_nonzero(matched))
    return len(np.unique(track)), len(np.unique(track[matched]))


def _where(root: str, place: str) -> list[str]:
    """What to say where another folder than the one given is the right one."""
    given, read = (os.path.realpath(os.path.expanduser(path)) for path in (root, place))
    if given == read:
        return []
    if os.path.dirname(given) == read:
        return [
            f"{root} holds no picture and no layout, so the folder above it was looked at: the "
            f"folder to give is {place}"
        ]
    return [f"the folder to give is {place}, one level from {root}"]


def _notes(dataset: DataSet, splits: Splits, place: str) -> list[str]:
    notes = []
    if dataset.withdrawn:
        notes.append("its owners have withdrawn this set; do not pass it on")
    notes += _remarks(dataset, place)
    if dataset.note:
        notes.append(dataset.note)
    return notes if dataset.kind == "unlabelled" else [*notes, *_labels(splits)]


def _labels(splits: Splits) -> list[str]:
    """What identities and cameras of the parts tell together."""
    notes = []
    train, query, gallery = splits.train, splits.query, splits.gallery
    queried = np.unique(query.pid)
    missing = np.setdiff1d(queried, gallery.pid)
    if len(gallery) and len(missing):
        notes.append(f"{len(missing)} identities of the queries are not in the gallery")
    shared = np.intersect1d(train.pid, queried)
    if len(shared):
        notes.append(f"{len(shared)} identities are in train and among the queries")
    tested = np.concatenate([query.camera, gallery.camera])
    for what, camera in (("train shows", train.camera), ("query and gallery show", tested)):
        if len(camera) > 1 and len(np.unique(camera)) == 1 and camera[0] >= 0:
            notes.append(f"{what} one camera only")
    empty = [name for name in ("query", "gallery") if not len(getattr(splits, name))]
    if len(empty) == 1:
        notes.append(
            f"{empty[0]} holds no picture that counts, so nothing can be evaluated; junk, which is "
            "identity -1, does not count"
        )
    return notes


def _remarks(dataset: DataSet, place: str) -> Sequence[str]:
    """What else the folder tells; nothing where it is too broken for that."""
    try:
        return dataset.remarks(place) if dataset.remarks else []
    except InputError:
        return []
