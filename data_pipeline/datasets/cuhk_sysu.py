"""CUHK-SYSU, a set for person search, as crops of its marked people: for training only.

The crops are made by others from the scenes of the release; names like `p11422_s16929_1.jpg` give
person and scene. Cameras are not told.
"""

import os
import re

from data_pipeline.datasets import folders, three_folders
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import Splits, empty_table, make_table

FOLDER = "cropped_images"
PLACES = ("", "cuhk_sysu", "cuhksysu", "CUHK-SYSU")
NAME = re.compile(r"p(-1|\d+)_")
EXAMPLE = "p11422_s16929_1.jpg"


def load(root: str) -> Splits:
    """The training table; `camera` is -1. Query and gallery are empty.

    Raises:
        InputError: the folder of crops is missing, empty or holds foreign names.
    """
    folder = _folder(folders.checked_root(root))
    names = three_folders.pictures(folder, EXAMPLE)
    matches = [(name, NAME.match(name)) for name in names]
    foreign = [name for name, match in matches if match is None]
    if foreign:
        raise InputError(
            f"{folder} holds {len(foreign)} pictures whose names tell no person: "
            f"{folders.some(foreign)}; expected names like {EXAMPLE}; rename or remove them"
        )
    rows = [
        (os.path.join(folder, name), int(match[1]), -1, -1)
        for name, match in matches
        if match is not None and int(match[1]) != three_folders.JUNK
    ]
    return Splits(make_table(rows), empty_table(), empty_table())


def _folder(root: str) -> str:
    if os.path.basename(os.path.abspath(root)) == FOLDER:
        return root
    for place in PLACES:
        if listing.is_folder(os.path.join(root, place, FOLDER)):
            return os.path.join(root, place, FOLDER)
    raise InputError(
        f"{root} is not in the layout of CUHK-SYSU's crops: expected the folder {FOLDER} in it or "
        f"in {', '.join(PLACES[1:])} below it; it {folders.contents(root, FOLDER)}"
    )


DATASETS = (
    DataSet(
        name="cuhk_sysu",
        title="CUHK-SYSU (crops)",
        load=load,
        kind="image",
        counts={"train": Count(34574, 11934)},
        markers=("|".join(os.path.join(place, FOLDER, "p*_s*.jpg") for place in PLACES),),
        tree="""
            ROOT or ROOT/cuhk_sysu
              cropped_images/p11422_s16929_1.jpg      person 11422, scene 16929
        """,
        citation="Xiao, Li, Wang, Lin, Wang: Joint Detection and Identification Feature Learning "
        "for Person Search. CVPR 2017",
        url="http://www.ee.cuhk.edu.hk/~xgwang/PS/dataset.html",
        license="research only",
        access="on request from the authors; crops are made by others",
        note="Training only, no cameras. The release itself holds whole scenes; names and numbers "
        "of the crops are those that torchreid's reader states, and no copy was seen.",
    ),
)
