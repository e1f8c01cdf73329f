"""Any folder of person crops, however deep, for training without labels.

There is a train part only, without identities and cameras. Names as LUPerson-NL has them,
`{person:06d}_{frame:07d}_{object:02d}.jpg`, give `track`.
"""

import os
import re
from collections.abc import Iterator

from data_pipeline.datasets import folders
from data_pipeline.datasets.about import DataSet
from data_pipeline.errors import InputError
from data_pipeline.records import UNLABELLED, Splits, empty_table, make_table

TRACKED_NAME = re.compile(r"(\d{6,})_\d{7,}_\d{2,}\.jpg", re.IGNORECASE)


def load(root: str) -> Splits:
    """Every picture below `root` as one unlabelled training table.

    A tracklet is a person number within one video folder: the trackers of two videos count
    independently. Hidden files and folders are left out, links to folders are followed once.

    Raises:
        InputError: the folder is missing or holds no picture.
    """
    home = folders.checked_root(root)
    tracks: dict[tuple[str, int], int] = {}
    rows = []
    for folder, name in pictures(home):
        match = TRACKED_NAME.fullmatch(name)
        track = tracks.setdefault((folder, int(match[1])), len(tracks)) if match else -1
        rows.append((os.path.join(folder, name), UNLABELLED, -1, track))
    if not rows:
        raise InputError(
            f"no picture in {home} or below it; expected files ending in "
            f"{', '.join(folders.PICTURE_SUFFIXES)}"
        )
    return Splits(make_table(rows), empty_table(), empty_table())


def pictures(root: str) -> Iterator[tuple[str, str]]:
    """Folder and name of each picture, in an order that the file system does not decide."""
    visited = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        # A link to a folder above would be walked for ever, one to a folder beside it twice.
        if (status.st_dev, status.st_ino) in visited:
            inner.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(filter(folders.is_picture, names)):
            yield folder, name


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
    ),
)
