"""iLIDS-VID: 300 people, a tracklet of each in each of two cameras.

Two sets of ten random halves are in use: the lists of Deep Association Learning, which uPMnet took
over, and the authors' `train_test_splits_ilidsvid.mat`, which most programs read. Whether some of
the partitions are the same is not known; results over the one are not comparable with results
over the other.
"""

import dataclasses
import os
import re

import numpy as np

from data_pipeline.datasets import tracklets, video_lists
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import Splits

LAYOUT = tracklets.TrackletLayout(
    title="iLIDS-VID",
    homes=("i-LIDS-VID/sequences", "sequences", ""),
    cameras=(("cam1",), ("cam2",)),
    person=re.compile(r"person(\d{3})"),
    frame_lists="ilids_vid",
    other_lists="train_test_splits_ilidsvid.mat",
    other="ilids_vid_mat",
)


def load(root: str, split: int = 0) -> Splits:
    """The tables by the lists of Deep Association Learning; cameras 1 and 2 are 0 and 1.

    Raises:
        InputError: pictures or lists are missing, or do not fit each other.
    """
    return tracklets.load_frame_lists(LAYOUT, root, split)


def load_mat(root: str, split: int = 0) -> Splits:
    """The tables by the authors' partitions; cameras 1 and 2 are 0 and 1.

    Raises:
        InputError: pictures or the list are missing, or do not fit each other.
    """
    path = tracklets.other_list(LAYOUT, root)
    positions = video_lists.read_matrix(path, "ls_set")
    first, _ = tracklets.camera_folders(LAYOUT, root)
    people = [name for name in listing.subfolders(first) if LAYOUT.person.fullmatch(name)]
    train, test = halves(positions, people, split, f"{path} ({os.path.basename(first)})")
    return tracklets.load_people(LAYOUT, root, train, test, path)


def halves(
    positions: np.ndarray, people: list[str], split: int, source: str
) -> tuple[list[str], list[str]]:
    """People for training and for testing.

    Args:
        positions: [10, 300] positions among the sorted folders of people, from 1; the first half
            of a row is for testing. They are not the numbers in the names, which have gaps.
        people: sorted folders of people.
        split: row.
        source: what names them, for messages.

    Raises:
        InputError: the matrix is for another number of people or has no such row.
    """
    num_splits, num_people = positions.shape
    if num_people != len(people) or split >= num_splits:
        raise InputError(
            f"{source} divides {num_people} people in {num_splits} ways, the data set has "
            f"{len(people)} folders of people, and split {split} is wanted; unpack the whole data "
            "set and take the list that belongs to it"
        )
    row = positions[split] - 1
    if not np.array_equal(np.sort(row), np.arange(num_people)):
        raise InputError(f"{source}: split {split} does not name everybody once; fetch it again")
    test, train = np.split(row, [num_people // 2])
    return [people[i] for i in train], [people[i] for i in test]


PICTURES = "Wang, Gong, Zhu, Wang: Person Re-identification by Video Ranking. ECCV 2014"

_ABOUT = DataSet(
    name="ilids_vid",
    title="iLIDS-VID",
    load=load,
    kind="video",
    counts={
        "train": Count(ids=150, cameras=2, tracklets=300),
        "query": Count(ids=150, cameras=1, tracklets=150),
        "gallery": Count(ids=150, cameras=1, tracklets=150),
    },
    markers=(
        "i-LIDS-VID/sequences/cam1|sequences/cam1|cam1/person[0-9]*",
        "split1/traindata.txt|*/split1/traindata.txt|*/*/split1/traindata.txt",
    ),
    tree="""
        ROOT
          i-LIDS-VID/sequences/cam1/person001/cam1_person001_00317.png   or sequences/cam1/...
          i-LIDS-VID/sequences/cam2/                                      or cam1/...
          split1/traindata.txt, testdata.txt           to split10, at any place below ROOT
    """,
    citation=f"{PICTURES}. Splits: {tracklets.FRAME_LISTS}",
    url="https://xiatian-zhu.github.io/downloads_qmul_iLIDS-VID_ReID_dataset.html",
    license="not stated; research customary",
    access="pictures from the authors' page; lists from yanbeic/Deep-Association-Learning (MIT)",
    num_splits=10,
    note="All ten splits are to be averaged; uPMnet averages both directions too (query and "
    "gallery exchanged). Train and test have 42459 frames together in each split. Partitions are "
    "not those of ilids_vid_mat: results are not comparable.",
)

DATASETS = (
    _ABOUT,
    dataclasses.replace(
        _ABOUT,
        name="ilids_vid_mat",
        title="iLIDS-VID, partitions of its authors",
        load=load_mat,
        markers=(
            _ABOUT.markers[0],
            "train_test_splits_ilidsvid.mat|*/train_test_splits_ilidsvid.mat",
        ),
        tree="""
        ROOT
          i-LIDS-VID/sequences/cam1/person001/cam1_person001_00317.png   or sequences/cam1/...
          i-LIDS-VID/sequences/cam2/                                      or cam1/...
          train-test people splits/train_test_splits_ilidsvid.mat        at any place below ROOT
    """,
        citation=PICTURES,
        access="from the authors' page",
        note="All ten splits are to be averaged; many papers give the first alone. Partitions are "
        "not those of ilids_vid: results are not comparable.",
    ),
)
