"""MSMT17, in the two releases and repackaged in the layout of Market-1501.

    V1            train/0000/0000_000_01_0303morning_0008_0.jpg, test/..., list_*.txt
    V2            mask_train_v2/..., mask_test_v2/..., list_*.txt; faces are masked
    repackaged    bounding_box_train/0000_c12_0033.jpg, query/..., bounding_box_test/...

Both parts of a release count their identities from 0. So that a number stands for one person,
those of query and gallery are shifted past those of training. The camera is the third field of the
file name (1 to 15) and counts from 0. Results on V1 and V2 are not comparable.
"""

import dataclasses
import functools
import os
import re
from typing import Literal

import numpy as np

from data_pipeline import whole_numbers
from data_pipeline.datasets import cmdm, folders, listed, three_folders
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import Splits, Table, table_of

Version = Literal["V1", "V2", "repackaged"]

NUM_CAMERAS = 15
PICTURES: dict[Version, tuple[str, str]] = {
    "V1": ("train", "test"),
    "V2": ("mask_train_v2", "mask_test_v2"),
}
LISTS = {part: f"list_{part}.txt" for part in ("train", "val", "query", "gallery")}
EXAMPLE_LINE = "0000/0000_000_01_0303morning_0008_0.jpg 0"
NAME = re.compile(r"\d+_\d+_(\d+)_")
PLACES = ("MSMT17_V1", "MSMT17_V2", cmdm.FOLDERS["msmt17"], "msmt17/MSMT17_V1", "msmt17/MSMT17_V2")
REPACKAGED = three_folders.ThreeFolderLayout(
    title="MSMT17 (repackaged)",
    name=re.compile(r"(-1|\d+)_c(\d+)_\d+\."),
    example="0000_c12_0033.jpg",
    cameras=three_folders.counted(NUM_CAMERAS),
    places=PLACES,
)


def load(root: str, with_val: bool = True) -> Splits:
    """The three tables.

    Args:
        root: see `version`.
        with_val: whether the pictures of list_val.txt are for training too, as nearly all papers
            have it.

    Raises:
        InputError: see `version`; a list names a picture that is missing, or a foreign name; or
            `with_val` is False and the set is repackaged, which leaves no trace of the lists.
    """
    kind, home = _find(root)
    if kind == "repackaged":
        if not with_val:
            raise InputError(
                f"{home} is a repackaged MSMT17, where nothing tells which training pictures are "
                "for validation; use msmt17, or the release with its list_*.txt"
            )
        splits = three_folders.load(home, REPACKAGED)
        shared = np.isin(splits.train.pid, splits.query.pid).any()
        shared |= np.isin(splits.train.pid, splits.gallery.pid).any()
        return _apart(splits) if shared else splits
    train_folder, test_folder = PICTURES[kind]
    train = _read(home, train_folder, "train", "val")
    query, gallery = (_read(home, test_folder, part) for part in ("query", "gallery"))
    splits = _apart(Splits(train, query, gallery))
    if with_val:
        return splits
    return dataclasses.replace(splits, train=_read(home, train_folder, "train"))


def version(root: str) -> Version:
    """Which release a folder holds, told by the folders in it and not by its name.

    Where a release was repackaged in its own folder, the release counts.

    Args:
        root: a folder with the pictures, or one that has it as MSMT17_V1, MSMT17_V2 or msmt17.

    Raises:
        InputError: none, a part of one, or both.
    """
    kind, home = _find(root)
    if kind == "repackaged":
        # Market-1501 and others have the same folders; the names in the smallest of them decide.
        three_folders.read(os.path.join(home, REPACKAGED.folders[1]), REPACKAGED)
    return kind


def _find(root: str) -> tuple[Version, str]:
    """The version and its folder."""
    root = folders.checked_root(root)
    places = [root, *(os.path.join(root, place) for place in PLACES)]
    missing: dict[tuple[Version, str], list[str]] = {
        (kind, place): _missing(place, kind)
        for place in filter(listing.is_folder, places)
        for kind in PICTURES
    }
    found = [choice for choice, lacking in missing.items() if not lacking]
    if len(found) > 1:
        releases = " and ".join(f"{kind} in {place}" for kind, place in found)
        raise InputError(
            f"{root} holds more than one release of MSMT17: {releases}; their results are not "
            "comparable: give the folder of one, or move the other away"
        )
    if found:
        return found[0]
    repackaged = three_folders.find(root, REPACKAGED)
    if repackaged is not None:
        return "repackaged", repackaged
    begun = {c: lacking for c, lacking in missing.items() if len(lacking) < len(_parts(c[0]))}
    if begun:
        kind, place = min(begun, key=lambda choice: len(begun[choice]))
        lacking = begun[kind, place]
        raise InputError(
            f"{place} looks like MSMT17_{kind} but lacks {', '.join(lacking)}; expected "
            f"{', '.join(_parts(kind))}; it {folders.contents(place, lacking[0])}"
        )
    raise InputError(_lost(root))


def _parts(kind: Version) -> list[str]:
    return [*PICTURES[kind], *LISTS.values()]


def _missing(place: str, kind: Version) -> list[str]:
    return [name for name in _parts(kind) if not listing.exists(os.path.join(place, name))]


def _lost(root: str) -> str:
    near = [os.path.dirname(os.path.abspath(root))]
    near += [os.path.join(root, name) for name in listing.subfolders(root)]
    whole = (place for place in near for kind in PICTURES if not _missing(place, kind))
    hint = next((f"; give {place} as `root`" for place in whole), "")
    forms = "; or ".join(", ".join(_parts(kind)) for kind in PICTURES)
    return (
        f"{root} holds no MSMT17; expected, in it or in {', '.join(PLACES)} below it, {forms}; or "
        f"{', '.join(REPACKAGED.folders)}; it {folders.contents(root, PLACES[0])}{hint}"
    )


def _apart(splits: Splits) -> Splits:
    """Identities of query and gallery shifted past those of training."""
    shift = int(splits.train.pid.max()) + 1

    def shifted(table: Table) -> Table:
        pid = whole_numbers.shifted(table.pid, shift, "identity", table.media[0])
        return dataclasses.replace(table, pid=pid)

    return Splits(splits.train, shifted(splits.query), shifted(splits.gallery))


def _read(home: str, folder: str, *parts: str) -> Table:
    """The pictures of one or more lists."""
    base = os.path.join(home, folder)
    names, pid, camera = [], [], []
    for part in parts:
        path = os.path.join(home, LISTS[part])
        lines = listed.pairs(path, EXAMPLE_LINE)
        listed.check_present(base, [name for name, _ in lines], path)
        for name, number in lines:
            names.append(os.path.join(base, name))
            pid.append(number)
            camera.append(_camera(name, path))
    return table_of(names, pid, camera, np.full(len(names), -1))


def _camera(name: str, source: str) -> int:
    match = NAME.match(os.path.basename(name))
    if match is None or not 1 <= int(match[1]) <= NUM_CAMERAS:
        raise InputError(
            f"{source} names {name}, whose third field is no camera from 1 to {NUM_CAMERAS}; "
            f"expected lines like {EXAMPLE_LINE!r}"
        )
    return int(match[1]) - 1


def _anywhere(*paths: str) -> str:
    places = ("", *(f"{place}/" for place in PLACES))
    return "|".join(f"{place}{path}" for place in places for path in paths)


MSMT17 = DataSet(
    name="msmt17",
    title="MSMT17",
    load=load,
    kind="image",
    remarks=lambda root: [f"release {version(root)}"],
    counts={
        "train": Count(32621, 1041, NUM_CAMERAS),
        "query": Count(11659, 3060, NUM_CAMERAS),
        "gallery": Count(82161, 3060, NUM_CAMERAS),
    },
    markers=(
        _anywhere("list_train.txt", "bounding_box_train/*_c*_[0-9][0-9][0-9][0-9].jpg"),
        _anywhere("train", "mask_train_v2", "bounding_box_train"),
        _anywhere("list_query.txt", "query"),
        _anywhere("test", "mask_test_v2", "bounding_box_test"),
    ),
    tree="""
        ROOT, ROOT/MSMT17_V1 or ROOT/MSMT17_V2
          train/0000/0000_000_01_0303morning_0008_0.jpg      or mask_train_v2/; camera 1
          test/                                              or mask_test_v2/
          list_train.txt list_val.txt list_query.txt list_gallery.txt
        or repackaged: ROOT, ROOT/MSMT17_V1 or ROOT/msmt17
          bounding_box_train/0000_c12_0033.jpg               identity 0, camera 12
          query/
          bounding_box_test/
    """,
    citation="Wei, Zhang, Gao, Tian: Person Transfer GAN to Bridge Domain Gap for Person "
    "Re-identification. CVPR 2018",
    url="http://www.pkuvmc.com/publications/msmt17.html",
    license="research only, under an agreement",
    access="on request from the authors",
    note="Training takes train and val together, as the published results do. V1 shows faces, V2 "
    "masks them: compare results of one release only. Identities of query and gallery are "
    "recalled.",
)
DATASETS = (
    MSMT17,
    dataclasses.replace(
        MSMT17,
        name="msmt17_train",
        aside=(("*train*/*", "pictures of the validation list"),),
        title="MSMT17 (train without val)",
        load=functools.partial(load, with_val=False),
        counts={**MSMT17.counts, "train": Count(cameras=NUM_CAMERAS)},
        markers=(_anywhere("list_train.txt"), *MSMT17.markers[1:]),
        note="Training takes list_train.txt alone; FastReID's reader has it so.",
    ),
)
