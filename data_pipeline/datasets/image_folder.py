"""Any folder of person crops, however deep, for training without labels.

There is a train part only, without identities and cameras. Names as LUPerson-NL has them,
`{person:06d}_{frame:07d}_{object:02d}.jpg`, give `track`.
"""

import dataclasses
import os
import re
from collections.abc import Iterator

from data_pipeline.datasets import folders, market1501
from data_pipeline.datasets.about import DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import UNLABELLED, Splits, empty_table, make_table

TRACKED_NAME = re.compile(r"(\d{6,})_\d{7,}_\d{2,}\.jpg", re.IGNORECASE)


def load(root: str) -> Splits:
    """Every picture below `root` as one unlabelled training table.

    A tracklet is a person number within one video folder: the trackers of two videos count
    independently. Hidden files and folders are left out, links to folders are followed once.

    Raises:
        InputError: the folder is missing or holds no picture, or one in it cannot be read.
    """
    tracks: dict[tuple[str, int], int] = {}
    rows = []
    for path in paths(root):
        folder, name = os.path.split(path)
        match = TRACKED_NAME.fullmatch(name)
        track = tracks.setdefault((folder, int(match[1])), len(tracks)) if match else -1
        rows.append((path, UNLABELLED, -1, track))
    return Splits(make_table(rows), empty_table(), empty_table())


def paths(root: str, expected: str = "a folder of pictures") -> list[str]:
    """The paths of all pictures below a folder, in the order of `pictures`.

    Args:
        root: the folder.
        expected: what it is to be, for messages.

    Raises:
        InputError: the folder is missing or holds no picture, or one in it cannot be read.
    """
    home = folders.checked_root(root, expected)
    found = [os.path.join(folder, name) for folder, name in pictures(home)]
    if not found:
        raise InputError(
            f"no picture in {home} or below it; expected files ending in "
            f"{', '.join(folders.PICTURE_SUFFIXES)}"
        )
    return found


def pictures(root: str) -> Iterator[tuple[str, str]]:
    """Folder and name of each picture, in an order that the file system does not decide."""
    for folder, names in listing.walk(root, follow_links=True):
        for name in filter(folders.is_picture, names):
            yield folder, name


def remarks(root: str) -> list[str]:
    """That a folder seems to tell identities which are not read from it, and how to have them."""
    layout, example = market1501.LAYOUT, market1501.LAYOUT.example
    parts = ", ".join(layout.folders)
    names = [name for _, name in pictures(root)]
    if names and all(map(layout.name.match, names)):
        return [
            f"the names tell identity and camera as in {layout.title}, which image_folder does not "
            f"read; if this is one of the folders {parts}, give the folder above it"
        ]
    people = _people(root)
    if not people:
        return []
    return [
        f"looks like a folder per person ({len(people)}: {folders.some(people)}), whose identities "
        f"are not read. To train on them or to evaluate, lay the pictures out as {layout.title}: "
        f"names like {example}, which is identity 2, camera 1, in the folders {parts}; then "
        "`luperson data check market1501 DIR --own`"
    ]


def _people(root: str) -> list[str]:
    tracked = any(TRACKED_NAME.fullmatch(name) for _, name in pictures(root))
    return [] if tracked else folders.people(root)


def inside(root: str) -> DataSet:
    """What the doctor calls a folder: one per person is said to be that."""
    title = "a folder per person, read without identities" if _people(root) else DATASETS[0].title
    return dataclasses.replace(DATASETS[0], title=title)


DATASETS = (
    DataSet(
        name="image_folder",
        title="a folder of pictures",
        load=load,
        kind="unlabelled",
        counts={},
        markers=(),
        tree="ROOT/any/depth/*.jpg",
        citation="",
        url="",
        license="that of your pictures",
        access="your own pictures",
        remarks=remarks,
        inside=inside,
    ),
)
