"""Data sets of three folders, whose file names begin with identity and camera.

Market-1501 made the form common: one folder each for training, queries and gallery. Identity -1
marks junk, which is left out; identity 0 marks distractors, which stay in the gallery.
"""

import dataclasses
import os
import re
from collections.abc import Mapping

from data_pipeline.datasets import folders
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import Splits, Table, make_table

JUNK, DISTRACTOR = -1, 0


@dataclasses.dataclass(frozen=True)
class ThreeFolderLayout:
    """What distinguishes one such data set from another.

    Attributes:
        title: its name in messages.
        name: matched at the start of a file name, and never against its folder (one called `x_c3`
            must not give the camera); its groups are identity and camera.
        example: a file name, for messages.
        cameras: camera in file names -> camera from 0; None = any number from 1 on, less one.
        places: folders that may hold the three, below the root, which itself comes first.
        folders: the three, for training, queries and gallery.
    """

    title: str
    name: re.Pattern[str]
    example: str
    cameras: Mapping[int, int] | None = None
    places: tuple[str, ...] = ()
    folders: tuple[str, str, str] = ("bounding_box_train", "query", "bounding_box_test")

    def markers(self, file: str) -> tuple[str, ...]:
        """Patterns of paths that tell this layout.

        Args:
            file: pattern of the names of its training pictures.
        """
        paths = (f"{self.folders[0]}/{file}", *self.folders[1:])
        below = ["", *(f"{place}/" for place in self.places)]
        return tuple("|".join(place + path for place in below) for path in paths)


def counted(number: int) -> Mapping[int, int]:
    """Cameras that are called 1, 2, ... in file names."""
    return {camera + 1: camera for camera in range(number)}


def load(root: str, layout: ThreeFolderLayout) -> Splits:
    """The three tables; cameras count from 0.

    Raises:
        InputError: the root or one of the folders is missing, empty or holds foreign names.
    """
    place = home(root, layout)
    train, query, gallery = (read(os.path.join(place, part), layout) for part in layout.folders)
    return Splits(train, query, gallery)


def home(root: str, layout: ThreeFolderLayout) -> str:
    """The folder that holds the three: the root or one of the layout's places below it.

    Raises:
        InputError: there is none; the message names what is there instead.
    """
    root = folders.checked_root(root)
    place = find(root, layout)
    if place is None:
        raise InputError(lost(root, layout))
    return place


def find(root: str, layout: ThreeFolderLayout) -> str | None:
    """As `home`, but None where there is none."""
    return next((place for place in _places(root, layout) if _complete(place, layout)), None)


def lost(root: str, layout: ThreeFolderLayout) -> str:
    """What to say of a root that exists and does not lead to the three folders."""
    begun = [
        place
        for place in _places(root, layout)
        if any(listing.is_folder(os.path.join(place, part)) for part in layout.folders)
    ]
    place = begun[0] if begun else root
    missing = [part for part in layout.folders if not listing.is_folder(os.path.join(place, part))]
    places = f" or in {', '.join(layout.places)} below it" if layout.places else ""
    above = os.path.dirname(os.path.abspath(root))
    around = [above, *(os.path.join(root, name) for name in listing.subfolders(root))]
    hint = next((f"; give {near} as `root`" for near in around if _complete(near, layout)), "")
    if people := folders.people(root):
        hint += (
            f". It looks like a folder per person ({len(people)}): give the pictures names like "
            f"{layout.example} (identity and camera) and put them into these three folders"
        )
    return (
        f"{root} is not in the layout of {layout.title}: expected the folders "
        f"{', '.join(layout.folders)} in it{places}; "
        f"{'it' if place == root else place} {folders.contents(place, missing[0])}{hint}"
    )


def read(folder: str, layout: ThreeFolderLayout) -> Table:
    """The table of one folder, without junk.

    Raises:
        InputError: it holds no picture, or one whose name tells no identity and camera.
    """
    rows, foreign = [], []
    for name in pictures(folder, layout.example):
        match = layout.name.match(name)
        camera = _camera(int(match[2]), layout) if match else None
        if match is None or camera is None:
            foreign.append(name)
        elif int(match[1]) != JUNK:
            rows.append((os.path.join(folder, name), int(match[1]), camera, -1))
    if foreign:
        raise InputError(
            f"{folder} holds {len(foreign)} pictures whose names tell no identity and camera of "
            f"{layout.title}: {folders.some(foreign)}; expected names like {layout.example} "
            f"(cameras {_numbers(layout)}); give the folder of {layout.title}, or rename or "
            "remove these pictures"
        )
    return make_table(rows)


def pictures(folder: str, example: str) -> list[str]:
    """Names of the pictures in a folder, sorted.

    Raises:
        InputError: there is none.
    """
    files = listing.names(folder)
    found = [name for name in files if folders.is_picture(name)]
    if not found:
        other = f"only {folders.some(files)}" if files else "nothing"
        raise InputError(
            f"{folder} holds {other}; expected pictures "
            f"({', '.join(folders.PICTURE_SUFFIXES)}) with names like {example}"
        )
    return found


def _camera(number: int, layout: ThreeFolderLayout) -> int | None:
    if layout.cameras is None:
        return number - 1 if number >= 1 else None
    return layout.cameras.get(number)


def _numbers(layout: ThreeFolderLayout) -> str:
    if layout.cameras is None:
        return "from 1"
    numbers = sorted(layout.cameras)
    if numbers == list(range(1, len(numbers) + 1)):
        return f"1 to {len(numbers)}"
    return ", ".join(str(number) for number in numbers)


def _places(root: str, layout: ThreeFolderLayout) -> list[str]:
    return [root, *(os.path.join(root, place) for place in layout.places)]


def _complete(folder: str, layout: ThreeFolderLayout) -> bool:
    return all(listing.is_folder(os.path.join(folder, part)) for part in layout.folders)
