"""Video sets of two cameras in which everybody has one tracklet before each.

The query is the first camera, the gallery the second, of the people for testing.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipeline.datasets import folders, listed, video_lists
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import Splits, Table, table_of

FRAME_LISTS = (
    "Chen, Zhu, Gong: Deep Association Learning for Unsupervised Video Person Re-identification. "
    "BMVC 2018, arXiv:1808.07301"
)


@dataclasses.dataclass(frozen=True)
class TrackletLayout:
    """Where such a data set keeps what.

    Attributes:
        title: its name in papers.
        homes: folders below the root that may hold those of the cameras; "" is the root.
        cameras: names that the folder of the first and of the second camera may have.
        person: pattern of the folder of a person; its group is the number.
        frame_lists: word whose data set takes the lists of Deep Association Learning.
        other_lists: name of the file with the other published lists.
        other: word whose data set takes those.
    """

    title: str
    homes: tuple[str, ...]
    cameras: tuple[tuple[str, ...], tuple[str, ...]]
    person: re.Pattern[str]
    frame_lists: str
    other_lists: str
    other: str


@dataclasses.dataclass(frozen=True)
class Frames:
    """Frames of one part, apart from where the pictures lie.

    Attributes:
        source: what lists them, for messages.
        names: [N] path below the folder of the camera, `person_0147/0001.png`.
        pid, camera, track: [N] int64; tracklets count from 0 in the order of the list.
    """

    source: str
    names: list[str]
    pid: np.ndarray
    camera: np.ndarray
    track: np.ndarray


def load_frame_lists(layout: TrackletLayout, root: str, split: int) -> Splits:
    """The tables by the lists `splitN/traindata.txt` and `testdata.txt`.

    Raises:
        InputError: pictures or lists are missing, or do not fit each other.
    """
    cameras = camera_folders(layout, root)
    folder = _frame_list_folder(layout, root, split)
    train, test = (
        frames_of(layout, video_lists.read_frames(os.path.join(folder, f"{part}data.txt")))
        for part in ("train", "test")
    )
    return _splits(cameras, train, test)


def load_people(
    layout: TrackletLayout, root: str, train: Sequence[str], test: Sequence[str], source: str
) -> Splits:
    """The tables by names of people; all pictures in their folders count.

    Args:
        layout: the layout.
        root: folder of the data set.
        train, test: folders of people, `person_0001`.
        source: what names them, for messages.

    Raises:
        InputError: a person is in both parts, or a folder is missing or empty.
    """
    cameras = camera_folders(layout, root)
    parts = (_listed(layout, cameras, names, source) for names in (train, test))
    return _splits(cameras, *parts)


def other_list(layout: TrackletLayout, root: str) -> str:
    """The path of the file with the other published lists.

    Raises:
        InputError: it is nowhere below the root, or the root is no such data set.
    """
    camera_folders(layout, root)
    found = next(_find_other(layout, root), None)
    if found:
        return found
    frame_list = _fitting(layout, root, split=0)
    hint = _other_word(frame_list, layout.frame_lists) if frame_list else ""
    raise InputError(f"there is no {layout.other_lists} in {root} or below it; put it there{hint}")


def camera_folders(layout: TrackletLayout, root: str) -> tuple[str, str]:
    """The folders of both cameras.

    Raises:
        InputError: the root is missing or does not hold them.
    """
    top = folders.checked_root(root)
    for home in layout.homes:
        found = [
            next((path for path in paths if listing.is_folder(path)), "")
            for paths in ([os.path.join(top, home, n) for n in names] for names in layout.cameras)
        ]
        if all(found):
            return found[0], found[1]
    expected = " and ".join(" or ".join(names) for names in layout.cameras)
    places = ", ".join(home or "the folder itself" for home in layout.homes)
    first = layout.homes[0].split("/")[0]
    raise InputError(
        f"{root} is not in the layout of {layout.title}: expected the folders {expected} in one of "
        f"{places}; it {folders.contents(top, first)}"
    )


def frames_of(layout: TrackletLayout, given: video_lists.FrameList) -> Frames:
    """What a list of frames says, without a look at the pictures.

    Raises:
        InputError: a path is not `camN/PERSON/FRAME`, contradicts the camera of its line, or a
            tracklet has frames of two folders.
    """
    names, pid, tracks = [], [], []
    numbers: dict[tuple[int, str], int] = {}
    owner: dict[tuple[int, int], str] = {}
    lines = zip(given.paths, given.tracklet.tolist(), given.camera.tolist(), strict=True)
    for path, tracklet, camera in lines:
        first, _, name = path.partition("/")
        person, _, file = name.partition("/")
        match = layout.person.fullmatch(person)
        named = camera < 2 and first in (f"cam{camera + 1}", *layout.cameras[camera])
        if not match or not named or not file:
            raise InputError(
                f"{given.source} names {path!r} for camera {camera + 1}; expected paths as in the "
                f"lists of {layout.title}: cam1 or cam2, the folder of a person, the frame"
            )
        if owner.setdefault((camera, tracklet), person) != person:
            raise InputError(
                f"{given.source}: tracklet {tracklet + 1} of camera {camera + 1} has frames of "
                f"{owner[camera, tracklet]} and {person}; the list is damaged, fetch it again"
            )
        names.append(name)
        pid.append(int(match[1]))
        tracks.append(numbers.setdefault((camera, person), len(numbers)))
    return Frames(given.source, names, np.array(pid), given.camera, np.array(tracks))


def _listed(
    layout: TrackletLayout, cameras: tuple[str, str], people: Sequence[str], source: str
) -> Frames:
    names, columns = [], []
    for person in people:
        match = layout.person.fullmatch(person)
        if not match:
            raise InputError(
                f"{source} names {person!r}, which is no folder of a person of {layout.title}"
            )
        for camera, folder in enumerate(cameras):
            path = os.path.join(folder, person)
            files = listing.names(path) if listing.is_folder(path) else []
            pictures = [name for name in files if folders.is_picture(name)]
            if not pictures:
                raise InputError(
                    f"{source} names {person}, but {path} "
                    f"{'holds no picture' if listing.is_folder(path) else 'is missing'}; "
                    "unpack the whole data set"
                )
            track = len(columns) and columns[-1][2] + 1
            names += [f"{person}/{name}" for name in pictures]
            columns += [(int(match[1]), camera, track)] * len(pictures)
    return Frames(source, names, *np.array(columns, np.int64).reshape(-1, 3).T)


def _splits(cameras: tuple[str, str], train: Frames, test: Frames) -> Splits:
    shared = np.intersect1d(train.pid, test.pid).astype(str).tolist()
    if shared:
        raise InputError(
            f"{train.source} and {test.source} share {len(shared)} people: "
            f"{folders.some(shared)}; the lists do not belong together"
        )
    learned, tested = _table(cameras, train), _table(cameras, test)
    by_camera = (tested.take(np.flatnonzero(tested.camera == camera)) for camera in (0, 1))
    return Splits(learned, *by_camera)


def _table(cameras: tuple[str, str], frames: Frames) -> Table:
    media = [
        os.path.join(cameras[camera], name)
        for camera, name in zip(frames.camera, frames.names, strict=True)
    ]
    video_lists.check_present(media, frames.source)
    table = table_of(media, frames.pid, frames.camera, frames.track)
    # PRID2011 calls the frames of a person alike in both cameras: an order by name alone would put
    # them side by side and so tell who is who.
    places = [
        hashlib.blake2b(
            f"{camera}/{'/'.join(path.split('/')[-2:])}".encode("utf-8", "surrogateescape"),
            digest_size=8,
        )
        for camera, path in zip(table.camera, table.media, strict=True)
    ]
    return table.take(np.argsort([int.from_bytes(place.digest()) for place in places]))


def _frame_list_folder(layout: TrackletLayout, root: str, split: int) -> str:
    found = _fitting(layout, root, split)
    if found:
        return os.path.dirname(found)
    others = next(_find_other(layout, root), None)
    hint = _other_word(others, layout.other) if others else ""
    raise InputError(
        f"there is no split{split + 1}/traindata.txt of {layout.title} in {root} or below it; put "
        "the lists of Deep Association Learning there (yanbeic/Deep-Association-Learning on "
        f"GitHub, ten folders split1 to split10){hint}"
    )


def _fitting(layout: TrackletLayout, root: str, split: int) -> str:
    """The list for training that names people as this data set does; "" where there is none. A
    folder may hold the lists of several data sets."""
    for path in _find(layout, root, f"split{split + 1}/traindata.txt"):
        person = listed.slashes(video_lists.read_lines(path)[0]).split("/")[1:2]
        if person and layout.person.fullmatch(person[0]):
            return path
    return ""


def _find_other(layout: TrackletLayout, root: str) -> Iterator[str]:
    return _find(layout, root, layout.other_lists)


def _find(layout: TrackletLayout, root: str, name: str) -> Iterator[str]:
    closed = {"cam1", "cam2", *layout.cameras[0], *layout.cameras[1]}
    return video_lists.find(folders.checked_root(root), name, closed)


def _other_word(found: str, word: str) -> str:
    return (
        f". Or use {word}, which takes {found}: its partitions of the people are others, and "
        "results are not comparable"
    )
