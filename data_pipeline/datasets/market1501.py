"""Market-1501, and any data set in its layout of folders and file names.

The gallery folder holds 19732 files; 3819 of them are junk detections (identity -1) and left out.
Identity 0 stands for distractors, counts as one of the 751 and stays in the gallery.
"""

import os
import re

from data_pipeline.datasets import folders
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.records import Splits, Table, make_table

ARCHIVE_FOLDER = "Market-1501-v15.09.15"
SPLIT_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
JUNK = -1

# Matched against the file name alone: a folder called `x_c3` must not give the camera.
NAME = re.compile(r"(-1|\d+)_c([1-9]\d*)(?!\d)")


def load(root: str) -> Splits:
    """The three tables of a Market-1501 folder; cameras count from 0.

    Raises:
        InputError: the folder or one of its parts is missing, empty or holds foreign names.
    """
    home = _home(folders.checked_root(root))
    return Splits(**{name: _read(home, folder) for name, folder in SPLIT_FOLDERS.items()})


def _home(root: str) -> str:
    """The folder that holds the three parts: the root itself or the archive's own folder in it."""
    inner = os.path.join(root, ARCHIVE_FOLDER)
    home = inner if os.path.isdir(inner) and not _is_home(root) else root
    missing = [f for f in SPLIT_FOLDERS.values() if not os.path.isdir(os.path.join(home, f))]
    if not missing:
        return home
    below = [name for name in folders.subfolders(root) if _is_home(os.path.join(root, name))]
    hint = f"; give {os.path.join(root, below[0])} as data.root" if below else ""
    raise InputError(
        f"{home} is not in the layout of Market-1501: expected the folders "
        f"{', '.join(SPLIT_FOLDERS.values())} in it or in {ARCHIVE_FOLDER} below it; "
        f"it {folders.contents(home, missing[0])}{hint}"
    )


def _is_home(folder: str) -> bool:
    return all(os.path.isdir(os.path.join(folder, part)) for part in SPLIT_FOLDERS.values())


def _read(home: str, folder: str) -> Table:
    path = os.path.join(home, folder)
    files = sorted(os.listdir(path))
    pictures = [name for name in files if folders.is_picture(name)]
    if not pictures:
        found = f"only {folders.some(files)}" if files else "nothing"
        raise InputError(
            f"{path} holds {found}; expected pictures "
            f"({', '.join(folders.PICTURE_SUFFIXES)}) with names like 0002_c1s1_000451_03.jpg"
        )
    matches = [NAME.match(name) for name in pictures]
    foreign = [name for name, match in zip(pictures, matches, strict=True) if match is None]
    if foreign:
        raise InputError(
            f"{path} holds {len(foreign)} pictures whose names tell no identity and camera: "
            f"{folders.some(foreign)}; expected names like 0002_c1s1_000451_03.jpg "
            "(identity_cCAMERA..., cameras from 1); rename or remove them"
        )
    rows = [
        (os.path.join(path, name), int(match[1]), int(match[2]) - 1, -1)
        for name, match in zip(pictures, matches, strict=True)
        if match is not None and int(match[1]) != JUNK
    ]
    return make_table(rows)


DATASETS = (
    DataSet(
        name="market1501",
        title="Market-1501",
        load=load,
        kind="image",
        counts={
            "train": Count(12936, 751, 6),
            "query": Count(3368, 750, 6),
            "gallery": Count(15913, 751, 6),
        },
        markers=("bounding_box_train", "query", "bounding_box_test"),
        tree="""
            ROOT or ROOT/Market-1501-v15.09.15
              bounding_box_train/0002_c1s1_000451_03.jpg      identity 2, camera 1
              query/
              bounding_box_test/
        """,
        citation="Zheng, Shen, Tian, Wang, Wang, Tian: Scalable Person Re-identification: "
        "A Benchmark. ICCV 2015",
        url="https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html",
        license="research only",
        access="download from the authors' page",
    ),
)
