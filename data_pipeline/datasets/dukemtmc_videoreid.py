"""DukeMTMC-VideoReID: tracklets of eight cameras, one frame in twelve of the video.

Two galleries are in use: the folder `gallery` alone, and with the tracklets of `query` put in, as
uPMnet evaluates. The matches of a query are the same; the other queries make the second harder.
"""

import dataclasses
import os
import re
from collections.abc import Iterator

from data_pipeline.datasets import folders
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import Splits, make_table

ARCHIVE_FOLDER = "DukeMTMC-VideoReID"
PARTS = ("train", "query", "gallery")

# Both generations: 0001C6F0099X30823.jpg and 0001_C6_F0099_X30823.jpg; D for X in distractors.
NAME = re.compile(r"(\d{4})_?C(\d)_?F\d+_?[XD]\d+\.\w+", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, order=True)
class Tracklet:
    """One folder of frames; sorted by person and camera."""

    pid: int
    camera: int
    folder: str
    names: tuple[str, ...]


def load(root: str) -> Splits:
    """The tables of the three folders; cameras count from 0.

    Every picture of a folder is a frame, whatever its number: some tracklets begin at F0002, some
    have gaps. Query and gallery number their tracklets together.

    Raises:
        InputError: the folder or one of its parts is missing, empty or holds foreign names.
    """
    home = _home(folders.checked_root(root))
    train, query, gallery = (list(_tracklets(os.path.join(home, part))) for part in PARTS)
    numbers = {one.folder: i for i, one in enumerate(sorted([*query, *gallery]))}
    train_numbers = {one.folder: i for i, one in enumerate(sorted(train))}
    return Splits(
        make_table(_rows(train, train_numbers)),
        make_table(_rows(query, numbers)),
        make_table(_rows(gallery, numbers)),
    )


def load_merged(root: str) -> Splits:
    """The same with the tracklets of the queries in the gallery too.

    Raises:
        InputError: as `load`.
    """
    splits = load(root)
    parts = (splits.query, splits.gallery)
    rows = [
        row
        for part in parts
        for row in zip(part.media, part.pid, part.camera, part.track, strict=True)
    ]
    return dataclasses.replace(splits, gallery=make_table(rows))


def _home(root: str) -> str:
    """The folder that holds the three parts: the root itself or the archive's own folder in it."""
    inner = os.path.join(root, ARCHIVE_FOLDER)
    home = inner if listing.is_folder(inner) else root
    missing = [part for part in PARTS if not listing.is_folder(os.path.join(home, part))]
    if missing:
        raise InputError(
            f"{home} is not in the layout of {ARCHIVE_FOLDER}: expected the folders "
            f"{', '.join(PARTS)} in it or in {ARCHIVE_FOLDER} below it; "
            f"it {folders.contents(home, missing[0])}"
        )
    return home


def _tracklets(part: str) -> Iterator[Tracklet]:
    people = listing.subfolders(part)
    if not people:
        raise InputError(f"{part} holds no folder of a person; expected 0001/0001/*.jpg in it")
    for person in people:
        for number in listing.subfolders(os.path.join(part, person)):
            yield _tracklet(os.path.join(part, person, number), person)


def _tracklet(folder: str, person: str) -> Tracklet:
    names = tuple(filter(folders.is_picture, listing.names(folder)))
    if not names:
        raise InputError(f"{folder} holds no picture; unpack the whole data set")
    matches = [NAME.fullmatch(name) for name in names]
    foreign = [
        name
        for name, match in zip(names, matches, strict=True)
        if match is None or match[1] != person
    ]
    if foreign:
        raise InputError(
            f"{folder} holds {len(foreign)} pictures whose names do not tell person {person} and "
            f"a camera: {folders.some(foreign, 3)}; expected names like "
            f"{person}_C6_F0099_X30823.jpg; rename or remove them"
        )
    cameras = sorted({match[2] for match in matches if match is not None})
    if len(cameras) > 1 or cameras[0] == "0":
        raise InputError(
            f"{folder} has frames of the cameras {', '.join(cameras)}; expected one camera, from 1"
        )
    return Tracklet(int(person), int(cameras[0]) - 1, folder, names)


def _rows(tracklets: list[Tracklet], numbers: dict[str, int]) -> list[tuple[str, int, int, int]]:
    return [
        (os.path.join(one.folder, name), one.pid, one.camera, numbers[one.folder])
        for one in tracklets
        for name in one.names
    ]


_ABOUT = DataSet(
    name="dukemtmc_videoreid",
    title="DukeMTMC-VideoReID",
    load=load,
    kind="video",
    counts={
        "train": Count(369656, 702, 8, 2196),
        "query": Count(None, 702, 8, 702),
        "gallery": Count(None, 1110, 8, 1934),
    },
    markers=("train/*/*/*C*F*.jpg", "query/*/*/*C*F*.jpg", "gallery/*/*/*C*F*.jpg"),
    tree="""
        ROOT or ROOT/DukeMTMC-VideoReID
          train/0001/0003/0001_C6_F0099_X30823.jpg     person, tracklet; camera 6, frame 99
          query/                                        or 0001C6F0099X30823.jpg
          gallery/
    """,
    citation="Wu, Lin, Dong, Yan, Ouyang, Yang: Exploit the Unknown Gradually: One-Shot "
    "Video-Based Person Re-Identification by Stepwise Learning. CVPR 2018; Ristani, Solera, Zou, "
    "Cucchiara, Tomasi: Performance Measures and a Data Set for Multi-Target, Multi-Camera "
    "Tracking. ECCV Workshops 2016",
    url="https://github.com/Yu-Wu/DukeMTMC-VideoReID",
    license="research only",
    access="withdrawn; start no new work on it",
    note="Test has 445764 frames in 2636 tracklets of 1110 people, 408 of whom are no query. "
    "uPMnet's results are over dukemtmc_videoreid_merged.",
    withdrawn=True,
)

DATASETS = (
    _ABOUT,
    dataclasses.replace(
        _ABOUT,
        name="dukemtmc_videoreid_merged",
        title="DukeMTMC-VideoReID, queries in the gallery",
        load=load_merged,
        counts=dict(_ABOUT.counts) | {"gallery": Count(445764, 1110, 8, 2636)},
        note="The gallery is all of the test part; a query itself never counts, being of its own "
        "person and camera. uPMnet is evaluated so. Slightly harder than dukemtmc_videoreid.",
    ),
)
