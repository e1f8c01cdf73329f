"""What a folder of pictures really is: recognized, counted, decoded and compared with the paper."""

import concurrent.futures
import dataclasses
import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipeline import datasets, storage
from data_pipeline.datasets import folders
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.decode import decode
from data_pipeline.errors import InputError, shorten
from data_pipeline.records import Splits, Table

AUTO = "auto"
PARTS = ("train", "query", "gallery")
UNORDERED = "image_folder"
MAX_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Part:
    """One part as it was found and as it was published."""

    found: Count
    published: Count | None

    @property
    def differs(self) -> bool:
        """Whether a published number is another one than was found."""
        if self.published is None:
            return False
        pairs = zip(
            dataclasses.astuple(self.found), dataclasses.astuple(self.published), strict=True
        )
        return any(published is not None and found != published for found, published in pairs)


@dataclasses.dataclass(frozen=True)
class Findings:
    """What the doctor saw.

    Attributes:
        dataset: what the folder is.
        root: the folder that was read; perhaps one level from the one given.
        parts: by name, those that are not empty or should not be.
        fingerprint: of the training table (of the gallery where there is none), as every training
            log repeats it.
        damaged: (picture, reason) that cannot be decoded.
        unused: pictures on disk that are in no part and should not be there.
        aside: what the others in no part are, and how many.
        distractors: gallery pictures of identity 0.
        decoded: pictures that were decoded.
        notes: further remarks.
        unreadable: why the folder could not be read at all; the counts are then empty.
    """

    dataset: DataSet
    root: str
    parts: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    fingerprint: str = ""
    damaged: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()
    aside: Mapping[str, int] = dataclasses.field(default_factory=dict)
    distractors: int = 0
    decoded: int = 0
    notes: tuple[str, ...] = ()
    unreadable: str = ""

    @property
    def published(self) -> bool:
        """Whether every published number was found."""
        return not any(part.differs for part in self.parts.values())

    @property
    def healthy(self) -> bool:
        """Whether nothing is damaged, unused or unreadable."""
        return not (self.damaged or self.unused or self.unreadable)


def recognize(root: str) -> list[tuple[DataSet, str]]:
    """The data sets whose layout a folder has, the most particular first, with the right root.

    The folder itself is tried first, then those one level below, then the one above where the
    folder is a part of its layout: the usual mistakes.

    Raises:
        InputError: there is no such folder.
    """
    home = os.path.abspath(folders.checked_root(root))
    below = [os.path.join(home, name) for name in folders.subfolders(home)]
    found: list[tuple[DataSet, str]] = []
    parent, own_name = os.path.split(home)
    for place in (home, *below, parent):
        known = [one for one in datasets.DATASETS.values() if _is(place, one)]
        if place == parent:
            known = [one for one in known if _is_part(own_name, parent, one)]
        found += [(one, place) for one in sorted(known, key=lambda one: -len(one.markers))]
        if found:
            return found
    return []


def _exists(folder: str, pattern: str) -> bool:
    """Whether a path below a folder matches; each component is a pattern of its own."""
    first, _, rest = pattern.partition("/")
    try:
        names = fnmatch.filter(os.listdir(folder), first)
    except OSError:
        return False
    return any(not rest or _exists(os.path.join(folder, name), rest) for name in names)


def examine(
    name: str, root: str, *, split: int = 0, pictures: bool = True, workers: int = 4
) -> Findings:
    """Reads a data set as training does, and looks at every picture.

    Args:
        name: a word of a configuration, or "auto".
        root: its folder.
        split: which published division, of sets that have several.
        pictures: decode every picture; else only names are read.
        workers: threads that decode.

    Raises:
        InputError: no such folder or name, or, under "auto", a layout that nothing knows.
    """
    if name == AUTO:
        dataset, place = _best(recognize(root) or _nearest(root), split)
    else:
        dataset, place = datasets.find(name), folders.checked_root(root)
    if not 0 <= split < dataset.num_splits:
        raise InputError(
            f"--split {split} of {dataset.name}; it has {dataset.num_splits}, counted from 0"
        )
    try:
        splits = datasets.load(dataset.name, place, "DIR", split)
    except InputError as error:
        notes = _remarks(dataset, place)
        return Findings(dataset, place, notes=tuple(notes), unreadable=str(error))
    dataset = dataset.inside(place) if dataset.inside else dataset
    tables = {part: getattr(splits, part) for part in PARTS}
    unused, aside = _unused(dataset, place, tables)
    checked = _damaged(tables, workers) if pictures else []
    gallery = splits.gallery
    return Findings(
        dataset=dataset,
        root=place,
        parts={
            part: Part(_count(table), dataset.counts.get(part))
            for part, table in tables.items()
            if len(table) or part in dataset.counts
        },
        fingerprint=(splits.train if len(splits.train) else gallery).fingerprint(),
        damaged=tuple(checked),
        unused=unused,
        aside=aside,
        distractors=int(np.count_nonzero(gallery.pid == 0)),
        decoded=sum(map(len, tables.values())) - len(checked) if pictures else 0,
        notes=_notes(dataset, splits, name, root, place),
    )


def _best(known: Sequence[tuple[DataSet, str]], split: int) -> tuple[DataSet, str]:
    """Of the sets that share a layout the one whose published numbers are there; else the one
    whose reader accepts the folder; else the first."""

    def fitness(candidate: tuple[DataSet, str]) -> tuple[bool, float]:
        dataset, place = candidate
        try:
            splits = datasets.load(dataset.name, place, "DIR", min(split, dataset.num_splits - 1))
        except InputError:
            return False, 0.0
        parts = [
            Part(_count(getattr(splits, part)), dataset.counts.get(part)) for part in dataset.counts
        ]
        return True, sum(not part.differs for part in parts) / max(len(parts), 1)

    return known[0] if len(known) == 1 else max(known, key=fitness)


def _count(table: Table) -> Count:
    tracks = table.track[table.track >= 0]
    return Count(
        images=len(table),
        ids=table.num_ids,
        cameras=table.num_cameras,
        tracklets=len(np.unique(tracks)),
    )


def _damaged(tables: Mapping[str, Table], workers: int) -> list[tuple[str, str]]:
    def problem(media: str) -> tuple[str, str] | None:
        try:
            decode(storage.read(media), media)
        except InputError as error:
            return media, str(error)
        return None

    media = [path for table in tables.values() for path in table.media]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return [found for found in pool.map(problem, media, chunksize=64) if found]


def _unused(
    dataset: DataSet, root: str, tables: Mapping[str, Table]
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Pictures below the root that are in no part: those that nobody expects, and numbers of
    those that the set leaves aside."""
    used = {os.path.realpath(path) for table in tables.values() for path in table.media}
    if not any(os.path.isabs(path) and os.path.exists(path) for path in list(used)[:1]):
        return (), {}  # packed: the pictures are no files
    unexpected: list[str] = []
    aside: dict[str, int] = {}
    for path in _pictures(root):
        if os.path.realpath(path) in used:
            continue
        below = os.path.relpath(path, root)
        what = next((w for pattern, w in dataset.aside if fnmatch.fnmatch(below, pattern)), None)
        if what is None:
            unexpected.append(path)
        else:
            aside[what] = aside.get(what, 0) + 1
    return tuple(unexpected), aside


def _pictures(root: str) -> Iterator[str]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (
            os.path.join(folder, name) for name in sorted(names) if folders.is_picture(name)
        )


def _notes(dataset: DataSet, splits: Splits, name: str, root: str, place: str) -> tuple[str, ...]:
    notes = []
    if os.path.realpath(place) != os.path.realpath(os.path.expanduser(root)):
        notes.append(f"the folder to give is {place}, one level from {root}")
    if dataset.withdrawn:
        notes.append("its owners have withdrawn this set; do not pass it on")
    notes += _remarks(dataset, place)
    if dataset.note:
        notes.append(dataset.note)
    queries, gallery = (np.unique(table.pid) for table in (splits.query, splits.gallery))
    missing = np.setdiff1d(queries, gallery)
    if len(splits.gallery) and len(missing):
        notes.append(f"{len(missing)} identities of the queries are not in the gallery")
    shared = np.intersect1d(np.unique(splits.train.pid), queries)
    if len(splits.train) and dataset.kind != "unlabelled" and len(shared):
        notes.append(f"{len(shared)} identities are in train and among the queries")
    return tuple(notes)


def _remarks(dataset: DataSet, place: str) -> Sequence[str]:
    """What else the folder tells; nothing where it is too broken for that."""
    try:
        return dataset.remarks(place) if dataset.remarks else []
    except InputError:
        return []


def _nearest(root: str) -> list[tuple[DataSet, str]]:
    """Where no layout is there in full: the one with the largest part of its folders and lists,
    whose reader will say what is missing; pictures in no order at all are an `image_folder`.

    Raises:
        InputError: the folder holds neither.
    """
    home = os.path.abspath(folders.checked_root(root))
    shares = {one.name: _share(home, one) for one in datasets.DATASETS.values() if one.markers}
    nearest = max(shares, key=lambda name: shares[name])
    if shares[nearest]:
        return [(datasets.DATASETS[nearest], home)]
    if any(True for _ in _pictures(home)):
        return [(datasets.DATASETS[UNORDERED], home)]
    inside = shorten(sorted(os.listdir(home)), MAX_NAMED) or ["nothing"]
    raise InputError(
        f"{root} holds no pictures and has the layout of no data set, nor have the folders in it "
        f"or the one above; it holds {', '.join(inside)}; known are {', '.join(shares)}"
    )


def _is(folder: str, dataset: DataSet) -> bool:
    if not dataset.markers or _share(folder, dataset) < 1:
        return False
    return dataset.confirms is None or dataset.confirms(folder)


def _is_part(name: str, parent: str, dataset: DataSet) -> bool:
    """Whether a folder of that name is what some marker of its parent means."""
    patterns = (pattern for marker in dataset.markers for pattern in marker.split("|"))
    return any(
        first not in ("", "*") and fnmatch.fnmatch(name, first) and _exists(parent, pattern)
        for pattern in patterns
        for first in (pattern.partition("/")[0],)
    )


def _share(folder: str, dataset: DataSet) -> float:
    found = [
        any(_exists(folder, pattern) for pattern in marker.split("|")) for marker in dataset.markers
    ]
    return sum(found) / len(found)


def describe(findings: Findings) -> list[str]:
    """The findings for a reader, and a verdict as the last line."""
    dataset = findings.dataset
    lines = [f"{findings.root}: {dataset.title} ({dataset.name})"]
    if findings.unreadable:
        lines += [f"note         {note}" for note in findings.notes]
        return [*lines, f"cannot be read: {findings.unreadable}", f"verdict: {_verdict(findings)}"]
    lines += _table(findings.parts)
    lines += [f"left aside   {count} {what}" for what, count in findings.aside.items()]
    if findings.distractors:
        lines.append(f"distractors  {findings.distractors} gallery pictures of identity 0")
    if findings.decoded or findings.damaged:
        total = findings.decoded + len(findings.damaged)
        lines.append(f"decoded      {findings.decoded} of {total} pictures")
    lines += [f"damaged      {reason}" for reason in shorten([r for _, r in findings.damaged])]
    lines += [f"in no part   {path}" for path in shorten(list(findings.unused))]
    lines += [f"note         {note}" for note in findings.notes]
    lines.append(f"fingerprint  {findings.fingerprint}")
    return [*lines, f"verdict: {_verdict(findings)}"]


def to_dict(findings: Findings) -> dict[str, Any]:
    """The findings as JSON holds them."""
    values = dataclasses.asdict(dataclasses.replace(findings, dataset=None))  # type: ignore[arg-type]
    return {**values, "dataset": findings.dataset.name, "verdict": _verdict(findings)}


def _verdict(findings: Findings) -> str:
    if findings.unreadable:
        return "broken"
    problems = []
    if findings.damaged:
        problems.append(f"{len(findings.damaged)} damaged pictures")
    if findings.unused:
        problems.append(f"{len(findings.unused)} pictures of unexpected names or places")
    if not findings.published:
        differing = [name for name, part in findings.parts.items() if part.differs]
        problems.append(
            f"other numbers than published in {', '.join(differing)}: incomplete, another version, "
            "or pictures of your own in this layout"
        )
    if problems:
        return "; ".join(problems)
    numbers = any(part.published for part in findings.parts.values())
    return "whole, with the published numbers" if numbers else "whole; no numbers are published"


def _table(parts: Mapping[str, Part]) -> list[str]:
    """Found and (published) numbers, in columns."""
    titles = [field.name for field in dataclasses.fields(Count)]
    shown = [
        title
        for title in titles
        if any(getattr(part.found, title) or _number(part, title) for part in parts.values())
    ]
    rows = [["", *shown, ""]]
    for name, part in parts.items():
        cells = [f"{getattr(part.found, title)}{_number(part, title)}" for title in shown]
        rows.append([name, *cells, "differs" if part.differs else ""])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [_line(row, widths) for row in rows]


def _number(part: Part, title: str) -> str:
    value = part.published and getattr(part.published, title)
    return "" if value is None else f" ({value})"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
