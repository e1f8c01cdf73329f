"""Folders of crops into LMDB and `keys.pkl`, with the keys of LUPerson and LUPerson-NL."""

import array
import dataclasses
import os
import pathlib
import pickle
from collections.abc import Iterator

import numpy as np

from data_pipeline import whole_numbers
from data_pipeline.crops.extract import IMAGES, SOURCES
from data_pipeline.datasets.folders import checked_root, some
from data_pipeline.errors import InputError, suggest
from data_pipeline.read import atomic, decode, listing, lmdb_store, storage
from data_pipeline.table.records import UNLABELLED

LMDB_FOLDER, UNFINISHED, KEYS_FILE = "lmdb", "lmdb.part", "keys.pkl"
PERSONS = {
    "global": "a pid means the same person in all videos",
    "per_video": "a pid means another person in each video",
}


@dataclasses.dataclass(frozen=True)
class GatheredCrop:
    """One picture to pack: its key, its file, the number of its video and its identity or -1."""

    key: str
    path: str
    video: int
    pid: int


@dataclasses.dataclass(frozen=True)
class Packed:
    """What was packed. `same_id` names the folders that were left out because their id stands
    under another city as well."""

    images: int
    videos: int
    ids: int
    same_id: tuple[str, ...]


def gather(images: str, out: str, source: str, persons: str = "") -> Packed:
    """Writes `<out>/lmdb` and `<out>/keys.pkl` from `<images>/<country>/<city>/<id>/*.jpg`.

    Values are the bytes of the files. Keys are LUPerson's: numbers of country, city in the country,
    video in the city and picture in the video, each from 0 in sorted order,
    `{country:02d}_{city:02d}_{video:04d}_{picture:08d}`; or LUPerson-NL's: a running number of the
    video, from 1, and the stem of the file, `{video:05d}_{pid:06d}_{frame:07d}_{object:02d}`.
    `keys.pkl` is a dict with `keys`, and for LUPerson-NL `pids`: identities renumbered 0..C-1,
    because LUPerson-NL's readers take the number of distinct ones for the number of classes.

    A packing that was cut off leaves `lmdb.part`, and the same call goes on with it.

    Args:
        images: the folder of the countries, or the one that `all_videos.extract_all` wrote.
        out: folder to write to; the LMDB must not exist in it.
        source: a key of `extract.SOURCES`.
        persons: a key of `PERSONS`. "" refuses a pid that stands in several videos, since only the
            maker of the detections knows what that means.

    Raises:
        InputError: a folder in another layout, files that do not fit, or an LMDB that is there
            already; the package lmdb is missing.
    """
    if source not in SOURCES:
        raise InputError(f"there is no source {source!r}{suggest(source, SOURCES)}")
    if persons and persons not in PERSONS:
        raise InputError(f"persons is {persons!r}{suggest(persons, PERSONS)}")
    target, part = pathlib.Path(out, LMDB_FOLDER), pathlib.Path(out, UNFINISHED)
    if listing.exists(target):
        raise InputError(f"{target} is there already; delete it, or give another folder")
    root = checked_root(images)
    root = os.path.join(root, IMAGES) if listing.is_folder(os.path.join(root, IMAGES)) else root
    # Twice through the folders, because a mistake in them should show before hours of writing.
    same_id: list[str] = []
    keys: list[str] = []
    video, pid = array.array("q"), array.array("q")
    for crop in list_crops(root, source, same_id):
        keys.append(crop.key)
        video.append(crop.video)
        pid.append(crop.pid)
    index: dict[str, list[str] | list[int]] = {"keys": keys}
    if SOURCES[source].with_ids:
        index["pids"] = _labels(np.array(video), np.array(pid), persons).tolist()
    items = ((crop.key, _read_jpeg(crop.path)) for crop in list_crops(root, source, []))
    lmdb_store.write_lmdb(part, items)
    _expect_size(part, len(keys), root)
    with atomic.replacing(pathlib.Path(out, KEYS_FILE)) as file:
        file.write_bytes(pickle.dumps(index, protocol=4))
    try:
        part.replace(target)
    except OSError as error:
        raise InputError(f"cannot rename {part} to {target}: {error}") from error
    num_ids = len(set(index.get("pids", ())))
    return Packed(len(keys), len(set(video)), num_ids, tuple(same_id))


def _expect_size(part: pathlib.Path, number: int, root: str) -> None:
    stored = lmdb_store.size(str(part))
    lmdb_store.ENVIRONMENTS.clear()
    if stored != number:
        raise InputError(
            f"{part}, which was begun earlier, has {stored} pictures, and {root} has {number}: "
            "the crops have changed meanwhile; delete it and run the same command again"
        )


def list_crops(root: str, source: str, same_id: list[str]) -> Iterator[GatheredCrop]:
    """The pictures in the order in which LUPerson's scripts walk; adds to `same_id`.

    Raises:
        InputError: as for `gather`.
    """
    found = False
    videos: set[str] = set()
    for i, country in enumerate(listing.subfolders(root)):
        for j, city in enumerate(listing.subfolders(os.path.join(root, country))):
            folder = os.path.join(root, country, city)
            ids = listing.subfolders(folder)
            loose = _jpegs(folder)
            if loose:
                raise InputError(
                    f"{folder} holds pictures ({some(loose)}); expected a folder for each video. "
                    "LUPerson's script extract.py writes all videos of a city into one folder, "
                    "where they overwrite each other; take the crops again"
                )
            for k, name in enumerate(ids):
                if name in videos:
                    same_id.append(f"{country}/{city}/{name}")
                    continue
                videos.add(name)
                for m, file in enumerate(_jpegs(os.path.join(folder, name))):
                    found, path = True, os.path.join(folder, name, file)
                    if SOURCES[source].with_ids:
                        key = f"{len(videos):05d}_{os.path.splitext(file)[0]}"
                    else:
                        key = f"{i:02d}_{j:02d}_{k:04d}_{m:08d}"
                    yield GatheredCrop(key, path, len(videos), _pid(path, file, source))
    if not found:
        raise InputError(f"{root} has no crops; expected <country>/<city>/<id>/*.jpg in it")


def _jpegs(folder: str) -> list[str]:
    names = (n for n in listing.names(folder) if n.lower().endswith((".jpg", ".jpeg")))
    return [name for name in names if not name.startswith(".")]


def _pid(path: str, file: str, source: str) -> int:
    if not SOURCES[source].with_ids:
        return UNLABELLED
    number, found, _ = file.partition("_")
    if not found or not number.isdecimal() or not file.isascii():
        raise InputError(
            f"{path} should begin with an identity and `_`, as LUPerson-NL's crops do; for crops "
            "without identities give the source luperson"
        )
    return whole_numbers.parse(number, "identity", path)


def _read_jpeg(path: str) -> bytes:
    data = storage.read(path)
    if not data.startswith(decode.JPEG_MAGIC):
        raise InputError(f"{path} is no JPEG file ({len(data)} bytes); take the crops again")
    return data


def _labels(video: np.ndarray, pid: np.ndarray, persons: str) -> np.ndarray:
    """Identities renumbered 0..C-1 in the order of their numbers, [N]."""
    if persons == "per_video":
        return np.unique(np.stack([video, pid], axis=1), axis=0, return_inverse=True)[1].ravel()
    pairs = np.unique(np.stack([pid, video], axis=1), axis=0)
    shared = pairs[1:][np.diff(pairs[:, 0]) == 0]
    if len(shared) and not persons:
        examples = ", ".join(str(one) for one in np.unique(shared[:, 0])[:5])
        choices = "; ".join(f"--persons {name} if {what}" for name, what in PERSONS.items())
        raise InputError(
            f"{len(np.unique(shared[:, 0]))} pids stand in more than one video, for example "
            f"{examples}. Say what that means: {choices}"
        )
    return np.unique(pid, return_inverse=True)[1]
