"""Market-1501, and any data set in its layout of folders and file names.

The gallery folder holds 19732 files; 3819 of them are junk detections (identity -1) and left out.
Identity 0 stands for distractors, counts as one of the 751 and stays in the gallery.
"""

import dataclasses
import functools
import os
import re

import numpy as np

from data_pipeline import whole_numbers
from data_pipeline.datasets import cmdm, folders, three_folders
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import Splits, Table, table_of

ARCHIVE_FOLDER = "Market-1501-v15.09.15"
DISTRACTOR_FOLDERS = ("distractors", "images")
LAYOUT = three_folders.ThreeFolderLayout(
    title="Market-1501",
    name=re.compile(r"(-1|\d+)_c(\d+)"),
    example="0002_c1s1_000451_03.jpg",
    places=(ARCHIVE_FOLDER, cmdm.FOLDERS["market1501"], f"market1501/{ARCHIVE_FOLDER}"),
)

load = functools.partial(three_folders.load, layout=LAYOUT)


def load_500k(root: str) -> Splits:
    """As `load`, with the pictures of the folder of distractors in the gallery, all as identity 0.

    Their camera is that of the file name, or -1 where the name tells none: no query has identity
    0, so nothing depends on it.

    Raises:
        InputError: as `load`; or there is no folder of distractors.
    """
    splits = load(root)
    home = three_folders.home(root, LAYOUT)
    near = (home, folders.checked_root(root))
    paths = [os.path.join(place, name) for place in near for name in DISTRACTOR_FOLDERS]
    folder = next((path for path in paths if listing.is_folder(path)), None)
    if folder is None:
        raise InputError(
            f"{home} has no folder {' or '.join(DISTRACTOR_FOLDERS)}; unpack the 500k distractors "
            "there, or use market1501, which does without"
        )
    return dataclasses.replace(splits, gallery=_with_distractors(splits.gallery, folder))


def _with_distractors(gallery: Table, folder: str) -> Table:
    names = three_folders.pictures(folder, LAYOUT.example)
    matches = [LAYOUT.name.match(name) for name in names]
    paths = [os.path.join(folder, name) for name in names]
    read = [int(match[2]) - 1 if match else -1 for match in matches]
    cameras = whole_numbers.column(read, "camera", paths.__getitem__)
    nobody = np.full(len(names), three_folders.DISTRACTOR)
    return table_of(
        [*gallery.media, *paths],
        np.concatenate([gallery.pid, nobody]),
        np.concatenate([gallery.camera, cameras]),
        np.full(len(gallery) + len(names), -1),
    )


MARKET1501 = DataSet(
    name="market1501",
    title="Market-1501",
    load=load,
    kind="image",
    aside=(
        ("*-1_c*", "junk detections (identity -1)"),
        *(
            (f"*{folder}/*", "distractors of market1501_500k")
            for folder in ("distractors", "images")
        ),
    ),
    counts={
        "train": Count(12936, 751, 6),
        "query": Count(3368, 750, 6),
        "gallery": Count(15913, 751, 6),
    },
    markers=LAYOUT.markers("*_c?s?_*.jpg"),
    tree="""
        ROOT, ROOT/Market-1501-v15.09.15 or ROOT/market1501
          bounding_box_train/0002_c1s1_000451_03.jpg      identity 2, camera 1
          query/
          bounding_box_test/
    """,
    citation="Zheng, Shen, Tian, Wang, Wang, Tian: Scalable Person Re-identification: "
    "A Benchmark. ICCV 2015",
    url="https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html",
    license="research only",
    access="download from the authors' page",
)
DATASETS = (
    MARKET1501,
    dataclasses.replace(
        MARKET1501,
        name="market1501_500k",
        title="Market-1501 + 500k distractors",
        load=load_500k,
        counts={**MARKET1501.counts, "gallery": Count(None, 751, 6)},
        markers=(
            *MARKET1501.markers,
            "|".join(
                f"{place}{folder}"
                for place in ("", *(f"{place}/" for place in LAYOUT.places))
                for folder in DISTRACTOR_FOLDERS
            ),
        ),
        tree="""
            ROOT, ROOT/Market-1501-v15.09.15 or ROOT/market1501
              bounding_box_train/0002_c1s1_000451_03.jpg      identity 2, camera 1
              query/
              bounding_box_test/
              distractors/ or images/                         gallery, identity 0
        """,
        note="About 500,000 distractors, by the set's own description; their exact number and "
        "the names of their files could not be verified, so every picture counts.",
    ),
)
