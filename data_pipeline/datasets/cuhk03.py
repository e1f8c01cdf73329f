"""CUHK03: by the protocol of 767 and 700 people (CUHK03-NP), and by the classic 20 divisions.

Two kinds of boxes, `labeled` by hand and `detected`, and two forms on disk:

    repackaged    {labeled,detected}/bounding_box_train/0001_c1_1.png, query, bounding_box_test
    release       cuhk-03.mat and cuhk03_new_protocol_config_{labeled,detected}.mat

The pictures of the release are written to `images_labeled` and `images_detected` beside it the
first time, with the names that the protocol files have. Ordinary files of ordinary pictures can be
read by any number of processes, packed and looked at; an HDF5 file with arrays of pixels cannot.
Folders of these names that torchreid made are taken as they are.

The camera is the view of a pair, 0 or 1, as everywhere in the field. The people of the classic
divisions have the number pair * 1000 + person.
"""

import functools
import os
import re

import numpy as np

from data_pipeline import whole_numbers
from data_pipeline.datasets import cmdm, cuhk03_archive, folders, listed, three_folders
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import listing, matlab
from data_pipeline.table.records import Splits, Table, table_of

KINDS = ("labeled", "detected")
NUM_SPLITS = 20
ARCHIVE, RELEASE = "cuhk-03.mat", "cuhk03_release"
IMAGES, CONFIG = "images_{}", "cuhk03_new_protocol_config_{}.mat"
COLUMNS = ("filelist", "labels", "camId", "train_idx", "query_idx", "gallery_idx")
PAIR = 1000
PLACES = ("cuhk03",)
LAYOUTS = {
    kind: three_folders.ThreeFolderLayout(
        title=f"CUHK03-NP ({kind})",
        name=re.compile(r"(-1|\d+)_c(\d+)_\d+\."),
        example="0001_c1_1.png",
        cameras=three_folders.counted(2),
        places=(kind, cmdm.FOLDERS[f"cuhk03_np_{kind}"], f"cuhk03-np/{kind}", f"CUHK03-NP/{kind}"),
    )
    for kind in KINDS
}


def load_np(root: str, kind: str) -> Splits:
    """The three tables of the protocol of 767 training and 700 test people.

    Args:
        root: folder in either form.
        kind: "labeled" or "detected".

    Raises:
        InputError: neither form is whole, the folder is of the other kind, or what
            `cuhk03_archive.extract` raises.
    """
    root = folders.checked_root(root)
    _refuse_other_kind(root, kind)
    if three_folders.find(root, LAYOUTS[kind]) is not None:
        return three_folders.load(root, LAYOUTS[kind])
    home = _release(root, kind)
    if home is None:
        raise InputError(
            f"{three_folders.lost(root, LAYOUTS[kind])}; or the release: {ARCHIVE} and "
            f"{CONFIG.format(kind)} in it or in {', '.join(PLACES)} below it"
        )
    config = _config(home, kind)
    pictures = _pictures(home, kind)
    names = [str(name) for name in config["filelist"]]
    listed.check_present(pictures, names, CONFIG.format(kind))
    media = [os.path.join(pictures, name) for name in names]

    def part(rows: np.ndarray) -> Table:
        return table_of(
            [media[row] for row in rows],
            config["labels"][rows],
            config["camId"][rows] - 1,
            np.full(len(rows), -1),
        )

    return Splits(*(part(config[name] - 1) for name in ("train_idx", "query_idx", "gallery_idx")))


def load_classic(root: str, split: int = 0, kind: str = KINDS[0]) -> Splits:
    """The tables of one of the 20 divisions: 100 people to test on, all others to train on.

    Query and gallery are both all pictures of the test people. The customary measure draws one
    gallery picture of each person, many times over.

    Args:
        root: folder of the release.
        split: which division, from 0.
        kind: "labeled" or "detected".

    Raises:
        InputError: as `load_np`; the repackaged form does not tell these divisions.
    """
    root = folders.checked_root(root)
    home = _release(root, kind)
    archive = home and _archive(home)
    if not home or not archive:
        raise InputError(
            f"{root} has no {ARCHIVE} and no {RELEASE}/{ARCHIVE}, which alone tells the classic "
            f"divisions of CUHK03; give its folder, or use cuhk03_np_{kind}"
        )
    sets = cuhk03_archive.test_sets(archive)
    if not split < len(sets):
        raise InputError(f"split {split} of {archive}; it has {len(sets)}, counted from 0")
    pictures = _pictures(home, kind)
    names = three_folders.pictures(pictures, "1_001_1_01.png")
    matches = [cuhk03_archive.NAME.fullmatch(name) for name in names]
    foreign = [name for name, match in zip(names, matches, strict=True) if match is None]
    if foreign:
        raise InputError(
            f"{pictures} holds {len(foreign)} foreign pictures: {folders.some(foreign)}; expected "
            "names like 1_001_1_01.png; remove them, or the folder, which is then made again"
        )
    fields = [[int(match[i]) for i in (1, 2, 3)] for match in matches if match]
    pid = [pair * PAIR + person for pair, person, _ in fields]
    tested = np.array([(pair, person) in sets[split] for pair, person, _ in fields])

    def part(chosen: np.ndarray) -> Table:
        rows = np.flatnonzero(chosen)
        return table_of(
            [os.path.join(pictures, names[row]) for row in rows],
            [pid[row] for row in rows],
            [fields[row][2] - 1 for row in rows],
            np.full(len(rows), -1),
        )

    return Splits(part(~tested), part(tested), part(tested))


def _refuse_other_kind(root: str, kind: str) -> None:
    other = next(other for other in KINDS if other != kind)
    if os.path.basename(os.path.abspath(root)) == other:
        raise InputError(
            f"{root} is the folder of the {other} boxes; give that of the {kind} ones, or use "
            f"cuhk03_np_{other}"
        )


def _release(root: str, kind: str) -> str | None:
    """The folder with the archive or its pictures: the root or one of the places below it."""
    for place in (root, *(os.path.join(root, place) for place in PLACES)):
        if _archive(place) or listing.is_folder(os.path.join(place, IMAGES.format(kind))):
            return place
    return None


def _archive(home: str) -> str | None:
    paths = (os.path.join(home, ARCHIVE), os.path.join(home, RELEASE, ARCHIVE))
    return next((path for path in paths if listing.is_file(path)), None)


def _pictures(home: str, kind: str) -> str:
    """The folder of the pictures; it is made where it is missing."""
    folder = os.path.join(home, IMAGES.format(kind))
    archive = _archive(home)
    if not listing.is_folder(folder) and archive:
        cuhk03_archive.extract(archive, kind, folder)
    return folder


def _config(home: str, kind: str) -> dict[str, np.ndarray]:
    """Columns of the protocol file; `filelist` as strings, the others as int64, rows from 1."""
    name = CONFIG.format(kind)
    paths = (os.path.join(home, name), os.path.join(home, RELEASE, name))
    path = next((path for path in paths if listing.is_file(path)), None)
    if path is None:
        raise InputError(
            f"{home} lacks {name}, the protocol of 767 and 700 people; copy it there from "
            "evaluation/data/CUHK03 of github.com/zhunzhong07/person-re-ranking"
        )
    held = matlab.read(path)
    lacking = [column for column in COLUMNS if column not in held]
    if lacking:
        raise InputError(f"{path} lacks {', '.join(lacking)}; download it again")
    config = {
        column: whole_numbers.column(
            held[column].ravel(),
            "number",
            lambda at, name=column: f"{name} of {path}, row {at + 1},",
        )
        for column in COLUMNS[1:]
    }
    config["filelist"] = np.array(
        [listed.slashes(str(cell.item())) for cell in held["filelist"].ravel()]
    )
    count = len(config["filelist"])
    rows = np.concatenate([config[column] for column in COLUMNS[3:]])
    fits = len(config["labels"]) == len(config["camId"]) == count
    if not fits or rows.min() < 1 or rows.max() > count:
        raise InputError(f"{path} names {count} pictures and others by number; download it again")
    return config


def _anywhere(*paths: str) -> str:
    places = ("", *(f"{place}/" for place in PLACES))
    return "|".join(f"{place}{path}" for place in places for path in paths)


def _np(kind: str, train: int, gallery: int) -> DataSet:
    layout = LAYOUTS[kind]
    inside = layout.markers("*_c[12]_*.png")
    config = _anywhere(CONFIG.format(kind), f"{RELEASE}/{CONFIG.format(kind)}")
    archive = _anywhere(ARCHIVE, f"{RELEASE}/{ARCHIVE}", IMAGES.format(kind))
    return DataSet(
        name=f"cuhk03_np_{kind}",
        title=f"CUHK03-NP ({kind})",
        load=functools.partial(load_np, kind=kind),
        kind="image",
        aside=ASIDE,
        counts={
            "train": Count(train, 767, 2),
            "query": Count(1400, 700, 2),
            "gallery": Count(gallery, 700, 2),
        },
        markers=(f"{inside[0]}|{config}", f"{inside[1]}|{archive}", f"{inside[2]}|{config}"),
        tree=f"""
            ROOT, ROOT/{kind} or ROOT/{cmdm.FOLDERS[f"cuhk03_np_{kind}"]}
              bounding_box_train/0001_c1_1.png      identity 1, camera 1
              query/
              bounding_box_test/
            or the release: ROOT or ROOT/cuhk03
              {ARCHIVE} or {RELEASE}/{ARCHIVE}
              {CONFIG.format(kind)}
        """,
        citation=f"{PAPER} Zhong, Zheng, Cao, Li: Re-ranking Person Re-identification with "
        "k-reciprocal Encoding. CVPR 2017",
        url="https://github.com/zhunzhong07/person-re-ranking",
        license="research only",
        access="on request from the authors; the protocol files are public",
        note=f"The first use of a release writes its pictures to {IMAGES.format(kind)} beside it. "
        "Numbers are those of the protocol files.",
    )


def _classic(kind: str) -> DataSet:
    return DataSet(
        name=f"cuhk03_classic_{kind}",
        title=f"CUHK03, classic divisions ({kind})",
        load=functools.partial(load_classic, kind=kind),
        kind="image",
        aside=ASIDE,
        counts={
            "train": Count(None, 1367, 2),
            "query": Count(None, 100, 2),
            "gallery": Count(None, 100, 2),
        },
        markers=(_anywhere(ARCHIVE, f"{RELEASE}/{ARCHIVE}"),),
        tree=f"""
            ROOT or ROOT/cuhk03
              {ARCHIVE} or {RELEASE}/{ARCHIVE}
        """,
        citation=PAPER,
        url="http://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html",
        license="research only",
        access="on request from the authors",
        num_splits=NUM_SPLITS,
        note="Mean over 20 divisions; the published measure is CMC with one gallery picture of "
        "each person. Most papers since 2017 use CUHK03-NP instead. The first use writes the "
        f"pictures to {IMAGES.format(kind)} beside the archive. Numbers of people are recalled.",
    )


PAPER = (
    "Li, Zhao, Xiao, Wang: DeepReID: Deep Filter Pairing Neural Network for Person "
    "Re-identification. CVPR 2014."
)
ASIDE = (("*images_*", "pictures of the release outside this protocol"),)

DATASETS = (
    _np("labeled", train=7368, gallery=5328),
    _np("detected", train=7365, gallery=5332),
    *map(_classic, KINDS),
)
