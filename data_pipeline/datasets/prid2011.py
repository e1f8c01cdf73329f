"""PRID2011, the multi-shot part, over the 178 people that video methods use.

Two sets of ten random halves are in use, and none of one is in the other: the lists of Deep
Association Learning, which uPMnet took over, and `splits_prid2011.json`, which most programs in
PyTorch read. Results over the one are not comparable with results over the other.
"""

import dataclasses
import re

from data_pipeline.datasets import tracklets, video_lists
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.table.records import Splits

LAYOUT = tracklets.TrackletLayout(
    title="PRID2011",
    homes=("prid_2011/multi_shot", "multi_shot", ""),
    cameras=(("cam_a", "cam1"), ("cam_b", "cam2")),
    person=re.compile(r"person_(\d{4})"),
    frame_lists="prid2011",
    other_lists="splits_prid2011.json",
    other="prid2011_json",
)


def load(root: str, split: int = 0) -> Splits:
    """The tables by the lists of Deep Association Learning; cameras a and b are 0 and 1.

    Raises:
        InputError: pictures or lists are missing, or do not fit each other.
    """
    return tracklets.load_frame_lists(LAYOUT, root, split)


def load_json(root: str, split: int = 0) -> Splits:
    """The tables by `splits_prid2011.json`; cameras a and b are 0 and 1.

    Raises:
        InputError: pictures or the list are missing, or do not fit each other.
    """
    path = tracklets.other_list(LAYOUT, root)
    splits = video_lists.read_json(path)
    if not isinstance(splits, list) or not all(map(_is_split, splits)) or len(splits) <= split:
        raise InputError(
            f"{path} does not hold split {split}: expected a list of ten objects with the names "
            "of people under 'train' and 'test'; fetch it again"
        )
    return tracklets.load_people(LAYOUT, root, splits[split]["train"], splits[split]["test"], path)


def _is_split(split: object) -> bool:
    return isinstance(split, dict) and all(
        isinstance(split.get(part), list) and all(isinstance(name, str) for name in split[part])
        for part in ("train", "test")
    )


PICTURES = (
    "Hirzer, Beleznai, Roth, Bischof: Person Re-identification by Descriptive and Discriminative "
    "Classification. SCIA 2011"
)

_ABOUT = DataSet(
    name="prid2011",
    title="PRID2011",
    load=load,
    kind="video",
    counts={
        "train": Count(ids=89, cameras=2, tracklets=178),
        "query": Count(ids=89, cameras=1, tracklets=89),
        "gallery": Count(ids=89, cameras=1, tracklets=89),
    },
    markers=(
        "multi_shot/cam_a|prid_2011/multi_shot/cam_a|cam_a|cam1/person_*",
        "split1/traindata.txt|*/split1/traindata.txt|*/*/split1/traindata.txt",
    ),
    tree="""
        ROOT
          prid_2011/multi_shot/cam_a/person_0001/0001.png     or multi_shot/..., or cam_a/...
          prid_2011/multi_shot/cam_b/
          split1/traindata.txt, testdata.txt                   to split10, at any place below ROOT
    """,
    citation=f"{PICTURES}. Splits: {tracklets.FRAME_LISTS}",
    url="https://www.tugraz.at/index.php?id=17766",
    license="not stated; research customary",
    access="pictures from the authors' page; lists from yanbeic/Deep-Association-Learning (MIT)",
    num_splits=10,
    aside=(("*cam_[ab]/person_*", "frames of people outside the lists"),),
    note="All ten splits are to be averaged. Train and test have 38466 frames together in each "
    "split. Partitions differ from those of prid2011_json: results are not comparable.",
)

DATASETS = (
    _ABOUT,
    dataclasses.replace(
        _ABOUT,
        name="prid2011_json",
        title="PRID2011, partitions of splits_prid2011.json",
        load=load_json,
        markers=(_ABOUT.markers[0], "splits_prid2011.json|*/splits_prid2011.json"),
        tree="""
        ROOT
          prid_2011/multi_shot/cam_a/person_0001/0001.png     or multi_shot/..., or cam_a/...
          prid_2011/multi_shot/cam_b/
          splits_prid2011.json                                 at any place below ROOT
    """,
        citation=f"{PICTURES}. Splits: unknown, given out with other programs",
        access="pictures from the authors' page; the list from AsuradaYuci/CNN-RNN2016 and others",
        note="All ten splits are to be averaged; many papers give the first alone. "
        "Partitions differ from those of prid2011: results are not comparable.",
    ),
)
