"""MARS: tracklets of six cameras, found by a detector and a tracker.

Two protocols are in use. The official one ranks all test tracklets, the queries among them. Most
programs in PyTorch take the queries out of the gallery, and 140 of the 1980 queries have no match
then. Both drop tracklets of nobody (-1) and keep distractors (0). Results differ.

The tracklets of one person before one camera are many: unlike in PRID2011 and iLIDS-VID, a tracklet
is not an identity within its camera.
"""

import dataclasses
import os

import numpy as np

from data_pipeline.datasets import folders, video_lists
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import Splits, Table, table_of

JUNK = -1
PICTURE_FOLDERS = {"train": "bbox_train", "test": "bbox_test"}


@dataclasses.dataclass(frozen=True)
class ListedPart:
    """The list files of the train or the test part.

    Attributes:
        source: path of the list of names.
        names: [N] names of frames, `0001C1T0001F001.jpg`: person, camera, tracklet, frame.
        start, end: [T] rows of `names` of each tracklet, `end` not included.
        pid: [T] person; 0 is a distractor, -1 nobody.
        camera: [T] from 0.
    """

    source: str
    names: list[str]
    start: np.ndarray
    end: np.ndarray
    pid: np.ndarray
    camera: np.ndarray


def load(root: str) -> Splits:
    """The tables by the official protocol: the queries are in the gallery too. Cameras count from
    0; query and gallery number their tracklets by the rows of `tracks_test_info.mat`, from 0.

    Raises:
        InputError: pictures or lists are missing, or do not fit each other.
    """
    return _load(root, queries_in_gallery=True)


def load_pytorch(root: str) -> Splits:
    """The same without the queries in the gallery.

    Raises:
        InputError: as `load`.
    """
    return _load(root, queries_in_gallery=False)


def _load(root: str, queries_in_gallery: bool) -> Splits:
    home = folders.checked_root(root)
    missing = [f for f in PICTURE_FOLDERS.values() if not listing.is_folder(os.path.join(home, f))]
    if missing:
        raise InputError(
            f"{root} is not in the layout of MARS: expected the folders "
            f"{' and '.join(PICTURE_FOLDERS.values())} in it; "
            f"it {folders.contents(home, missing[0])}"
        )
    info = _info_folder(home)
    train, test = read_part(info, "train"), read_part(info, "test")
    query, gallery = protocol(test, read_query(info, test), queries_in_gallery)
    everybody = np.flatnonzero(train.pid != JUNK)
    return Splits(
        _table(train, everybody, os.path.join(home, PICTURE_FOLDERS["train"])),
        _table(test, query, os.path.join(home, PICTURE_FOLDERS["test"])),
        _table(test, gallery, os.path.join(home, PICTURE_FOLDERS["test"])),
    )


def read_tracks(info: str, part: str) -> np.ndarray:
    """The tracklets of a part, [T, 4]: first and last frame, both counted from 1 and included,
    person, camera from 1.

    Args:
        info: folder of the list files.
        part: "train" or "test".

    Raises:
        InputError: the file is missing, damaged or another one.
    """
    path = os.path.join(info, f"tracks_{part}_info.mat")
    tracks = video_lists.read_matrix(path, f"track_{part}_info")
    start, end, pid, camera = tracks.T if tracks.shape[1] == 4 else np.zeros((4, 1))
    if (start < 1).any() or (end < start).any() or (pid < JUNK).any() or (camera < 1).any():
        raise InputError(
            f"{path} does not tell first frame, last frame, person and camera of tracklets; "
            "fetch it again"
        )
    return tracks


def read_part(info: str, part: str) -> ListedPart:
    """The lists of one part, checked against each other but not against the pictures.

    Args:
        info: folder of the list files.
        part: "train" or "test".

    Raises:
        InputError: a file is missing or damaged, or they do not fit each other.
    """
    tracks = read_tracks(info, part)
    path = os.path.join(info, f"{part}_name.txt")
    names = video_lists.read_lines(path)
    start, end, pid, camera = tracks.T
    if end.max() > len(names):
        raise InputError(
            f"{path} has {len(names)} names, tracks_{part}_info.mat wants {end.max()}; take both "
            "from the same release"
        )
    for row, (first, last) in enumerate(zip(start - 1, end, strict=True)):
        # Person and camera are the first four characters of a name and the sixth.
        if len({(name[:4], name[5:6]) for name in names[first:last]}) > 1:
            raise InputError(
                f"{path}: the frames {first + 1} to {last} are one tracklet (row {row + 1} of "
                f"tracks_{part}_info.mat) but of several people or cameras; take both from the "
                "same release"
            )
    return ListedPart(path, names, start - 1, end, pid, camera - 1)


def read_query(info: str, test: ListedPart) -> np.ndarray:
    """The rows of `test` that are queries, [Q] from 0.

    Raises:
        InputError: the file is missing or damaged, or names what is no query.
    """
    path = os.path.join(info, "query_IDX.mat")
    query = video_lists.read_matrix(path, "query_IDX").ravel() - 1
    inside = (query >= 0) & (query < len(test.pid))
    if not inside.all() or (test.pid[query] <= 0).any() or len(np.unique(query)) < len(query):
        raise InputError(
            f"{path} does not fit tracks_test_info.mat: it names tracklets that are not there, "
            "twice, or of nobody; take both from the same release"
        )
    return query


def protocol(
    test: ListedPart, query: np.ndarray, queries_in_gallery: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The test tracklets of query and gallery, as rows of `test`.

    Args:
        test: the test part.
        query: [Q] rows that are queries.
        queries_in_gallery: whether the queries are ranked too, as the official protocol wants.
    """
    gallery = np.flatnonzero(test.pid != JUNK)
    return query, gallery if queries_in_gallery else np.setdiff1d(gallery, query)


def _info_folder(home: str) -> str:
    name = "tracks_train_info.mat"
    found = next(video_lists.find(home, name, set(PICTURE_FOLDERS.values())), None)
    if found is None:
        raise InputError(
            f"there is no {name} in {home} or below it; put the folder info of "
            "liangzheng06/MARS-evaluation on GitHub there"
        )
    return os.path.dirname(found)


def _table(part: ListedPart, tracklets: np.ndarray, folder: str) -> Table:
    length = (part.end - part.start)[tracklets]
    track = np.repeat(tracklets, length)
    within = np.arange(len(track)) - np.repeat(np.cumsum(length) - length, length)
    names = (part.names[row] for row in part.start[track] + within)
    media = [os.path.join(folder, name[:4], name) for name in names]
    video_lists.check_present(media, part.source)
    return table_of(media, part.pid[track], part.camera[track], track)


_ABOUT = DataSet(
    name="mars",
    title="MARS",
    load=load,
    kind="video",
    counts={
        "train": Count(509914, 625, 6, 8298),
        "query": Count(114493, 626, 6, 1980),
        "gallery": Count(657709, 635, 6, 11310),
    },
    markers=(
        "bbox_train",
        "bbox_test",
        "tracks_train_info.mat|*/tracks_train_info.mat|*/info/tracks_train_info.mat",
    ),
    tree="""
        ROOT
          bbox_train/0001/0001C1T0001F001.jpg      person, camera, tracklet, frame
          bbox_test/0000/, 00-1/, 0002/
          info/train_name.txt, test_name.txt, tracks_train_info.mat, tracks_test_info.mat,
               query_IDX.mat                        at any place below ROOT
    """,
    citation="Zheng, Bie, Sun, Wang, Su, Wang, Tian: MARS: A Video Benchmark for Large-Scale "
    "Person Re-identification. ECCV 2016",
    url="https://github.com/liangzheng06/MARS-evaluation",
    license="research only",
    access="pictures from the authors' page; folder info from liangzheng06/MARS-evaluation",
    aside=(("*bbox_test/00-1/*", "frames of nobody (00-1)"),),
    note="Official protocol: the gallery is every test tracklet but those of nobody, queries "
    "among them. All 1980 queries have a match. Results differ from mars_pytorch.",
)

DATASETS = (
    _ABOUT,
    dataclasses.replace(
        _ABOUT,
        name="mars_pytorch",
        title="MARS, queries not in the gallery",
        load=load_pytorch,
        counts=dict(_ABOUT.counts) | {"gallery": Count(543216, 621, 6, 9330)},
        note="The protocol of most programs in PyTorch: 140 of the 1980 queries have no match and "
        "do not count. Results differ from mars.",
    ),
)
