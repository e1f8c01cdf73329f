"""LUPerson and LUPerson-NL: folders of crops by country, city and video, or an LMDB of them.

There is a train part only. Names of files and keys tell the video and, in LUPerson-NL, the person:

    <country>/<city>/<video>/{frame:08d}_{object:04d}.jpg               LUPerson, folders
    {country:02d}_{city:02d}_{video:04d}_{image:08d}                    LUPerson, LMDB
    <country>/<city>/<video>/{person:06d}_{frame:07d}_{object:02d}.jpg  LUPerson-NL, folders
    {video:05d}_{person:06d}_{frame:07d}_{object:02d}                   LUPerson-NL, LMDB

The camera of a picture is its video, numbered from 0 in the order of their names: a video has one
place and light, which is what methods that know of cameras want to be independent of. Pictures in
folders whose names tell no video count by the folder that they lie in; what tells neither is
camera -1. A tracklet is a person within a video.
"""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_pipeline import whole_numbers
from data_pipeline.datasets import folders, image_folder, luperson_missing
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import listing, lmdb_store, safe_pickle
from data_pipeline.table.records import UNLABELLED, Splits, Table, empty_table, table_of

KEY_LIST = "keys.pkl"

# Below the folder of a name, without its suffix: video of LUPerson; video and person, or the
# person alone, of LUPerson-NL.
NAME = re.compile(
    r"(?:(\d{2,}_\d{2,}_\d{4,})_\d{8,}|(?:(\d{5,})_)?(\d{6,})_\d{7,}_\d{2,})(?:\.\w+)?"
)


class PicturePlace(NamedTuple):
    """Pictures of one place: what their media begin with, how they go on, and what a key list
    says of their persons and videos."""

    prefix: str
    names: Sequence[str]
    pids: np.ndarray | None = None
    videos: Sequence[Any] | None = None


def load(root: str) -> Splits:
    """LUPerson, or whatever lies in its layout, without identities.

    Args:
        root: the folder of the countries, or of the LMDB and its `keys.pkl`; an environment itself;
            a folder of several `*.lmdb`; a folder in which `lup/<name>/lmdb` or `<name>/lmdb` lies.
            Without a key list all keys count. Where there are both, the LMDB is read.

    Raises:
        InputError: nothing of it is there, several packings are, the key list is no plain data or
            does not belong to the LMDB.
    """
    return Splits(_table(parts_of(root), labelled=False), empty_table(), empty_table())


def load_nl(root: str) -> Splits:
    """LUPerson-NL, with its noisy identities, which are numbers of tracks in the whole set.

    Args:
        root: as for `load`. Identities are the `pids` of the key list, else those in names.

    Raises:
        InputError: as `load`; or nothing tells the identity of some pictures.
    """
    parts = parts_of(root)
    table = _table(parts, labelled=True)
    if any(part.pids is None for part in parts) and (table.pid < 0).any():
        unknown = table.media.take(np.flatnonzero(table.pid < 0))
        raise InputError(
            f"{len(unknown)} of {len(table)} pictures of {root} have no identity, such as "
            f"{', '.join(unknown[:3])}; expected it in names like 000007_0000020_01.jpg, in keys "
            f"like 00001_000007_0000020_01 or as the list 'pids' of {KEY_LIST}; without "
            "identities this is the data set luperson"
        )
    return Splits(table, empty_table(), empty_table())


def parts_of(root: str) -> list[PicturePlace]:
    """The pictures of a root, see `load`: the LMDB environments, or the folder.

    Raises:
        InputError: as `load`.
    """
    environments = find_environments(os.path.expanduser(root))
    if environments:
        return [_read_keys(one, sole=len(environments) == 1) for one in environments]
    home = folders.checked_root(root)
    start = os.path.join(home, "")
    names = [os.path.join(*found)[len(start) :] for found in image_folder.pictures(home)]
    if not names:
        raise InputError(
            f"{root} holds neither pictures nor an LMDB environment; expected "
            f"<country>/<city>/<video>/*.jpg in it, or lmdb/{lmdb_store.DATA_FILE} and {KEY_LIST}; "
            f"it {folders.contents(home, 'lmdb')}"
        )
    return [PicturePlace(start, names)]


def word_of(root: str) -> str:
    """Which of the two sets a root holds: `luperson_nl` where the first name tells a person.

    Raises:
        InputError: as `load`.
    """
    environments = find_environments(os.path.expanduser(root))
    if environments:
        first = lmdb_store.keys(environments[0], limit=1)
    else:
        pictures = image_folder.pictures(folders.checked_root(root))
        first = [name for _, name in itertools.islice(pictures, 1)]
    match = NAME.fullmatch(first[0].rpartition("/")[2]) if first else None
    return "luperson_nl" if match and match[3] else "luperson"


def find_environments(home: str) -> list[str]:
    """The LMDB environments that a root means; empty where there is none.

    Raises:
        InputError: there are several packings of the set, of which one has to be chosen.
    """
    if not listing.exists(home):
        return []
    for place in (home, os.path.join(home, "lmdb")):
        if lmdb_store.is_environment(place):
            return [place.removesuffix(os.sep + lmdb_store.DATA_FILE)]
    if not listing.is_folder(home):
        return []
    named = [name for name in listing.names(home) if name.endswith(lmdb_store.FILE_SUFFIXES)]
    beside = [os.path.join(home, name) for name in named]
    if several := [one for one in beside if lmdb_store.is_environment(one)]:
        return several
    places = [one for one in (home, os.path.join(home, "lup")) if listing.is_folder(one)]
    below = [os.path.join(one, name) for one in places for name in listing.subfolders(one)]
    packings = [one for one in below if lmdb_store.is_environment(os.path.join(one, "lmdb"))]
    if len(packings) > 1:
        raise InputError(
            f"{home} holds {len(packings)} packings; give one of them as the root: "
            f"{', '.join(packings)}"
        )
    return [os.path.join(one, "lmdb") for one in packings]


def _read_keys(environment: str, sole: bool) -> PicturePlace:
    """The keys of an environment: those that its key list names, or all."""
    data = os.path.join(environment, lmdb_store.DATA_FILE)
    # Media name the file within the folder, so that fingerprints do not depend on what lies above.
    place = data if listing.is_folder(environment) else environment
    prefix = f"lmdb:{place}#"
    path = _key_list(environment, sole)
    if path is None:
        keys: Sequence[str] = lmdb_store.keys(environment)
        if not keys:
            raise InputError(f"{environment} has no keys; copy or write it again")
        return PicturePlace(prefix, keys)
    content = safe_pickle.load(path)
    if not isinstance(content, dict):
        content = {"keys": content}
    if "keys" not in content:
        found = folders.some([str(name)[:40] for name in content]) or "nothing"
        raise InputError(
            f"{path} is a dict of {found}; expected a list of keys, or a dict with the list 'keys' "
            "and perhaps 'pids' or 'vids'"
        )
    keys = _strings(content["keys"], path)
    _check_keys(keys, environment, path)
    pids = _column(content, "pids", len(keys), path)
    videos = _column(content, "vids", len(keys), path)
    if pids is not None and pids.dtype.kind not in "iu":
        raise InputError(f"{path}: 'pids' holds something else than whole numbers")
    if pids is not None:
        pids = whole_numbers.column(pids, "identity", lambda row: f"key {keys[row]} of {path}")
    return PicturePlace(prefix, keys, pids, None if videos is None else videos.tolist())


def _key_list(environment: str, sole: bool) -> str | None:
    """The key list of an environment: in it, beside it under its name, or beside it."""
    folder, name = os.path.split(os.path.abspath(environment))
    stem = os.path.splitext(name)[0]
    places = [os.path.join(environment, KEY_LIST)] if listing.is_folder(environment) else []
    places += [os.path.join(folder, f"{stem}_{KEY_LIST}"), os.path.join(folder, f"{stem}.pkl")]
    # Beside several environments, a list of that name cannot tell which of them it means.
    places += [os.path.join(folder, KEY_LIST)] if sole else []
    return next((place for place in places if listing.is_file(place)), None)


def _strings(keys: Any, path: str) -> list[str]:
    if isinstance(keys, np.ndarray):
        keys = keys.tolist()
    if isinstance(keys, (list, tuple)) and keys:
        if any(type(key) is bytes for key in keys):
            keys = [k.decode("utf-8", "surrogateescape") if type(k) is bytes else k for k in keys]
        if all(isinstance(key, str) for key in keys):
            return list(keys)
    what = "an empty one" if isinstance(keys, (list, tuple)) and not keys else "something else"
    raise InputError(f"{path}: expected a list of keys, which are strings, but found {what}")


def _check_keys(keys: list[str], environment: str, path: str) -> None:
    """That a key list and an environment belong together, as far as a few looks can tell."""
    if len(keys) > lmdb_store.size(environment):
        raise InputError(
            f"{path} names {len(keys)} keys, but {environment} has "
            f"{lmdb_store.size(environment)}; they do not belong together, or one is incomplete"
        )
    if any("#" in key for key in keys):
        raise InputError(f"{path} has keys with a '#' in them, which media cannot name")
    for row in {0, len(keys) // 2, len(keys) - 1}:
        lmdb_store.read(environment, keys[row])


def _column(content: dict, name: str, size: int, path: str) -> np.ndarray | None:
    """One of the lists beside the keys; None where there is none."""
    if content.get(name) is None:
        return None
    try:
        column = np.array(content[name])
    except (ValueError, OverflowError):
        column = np.zeros(0)
    if column.shape != (size,) or column.dtype.kind not in "iuUS":
        raise InputError(
            f"{path}: expected as many '{name}' as 'keys', {size}, each a whole number"
            f"{' or a string' if name == 'vids' else ''}"
        )
    return column


def _table(parts: Sequence[PicturePlace], labelled: bool) -> Table:
    count = sum(len(part.names) for part in parts)
    video, pid = np.full(count, -1), np.full(count, UNLABELLED)
    # The part counts too: running numbers of videos begin anew in each environment.
    numbers: dict[tuple[int, Any], int] = {}
    facts = (fact for i, part in enumerate(parts) for fact in _facts(i, part))
    for row, (place, person) in enumerate(facts):
        if place is not None:
            video[row] = numbers.setdefault(place, len(numbers))
        pid[row] = person
    start = 0
    for part in parts:
        if part.pids is not None:
            pid[start : start + len(part.names)] = part.pids
        start += len(part.names)
    # Numbers in the order of names; the last one stands for an unknown video.
    order = np.full(len(numbers) + 1, -1)
    order[[numbers[place] for place in sorted(numbers)]] = np.arange(len(numbers))
    camera = order[video]
    media = (part.prefix + name for part in parts for name in part.names)
    shown = pid if labelled else np.full(count, UNLABELLED)
    return table_of(media, shown, camera, _tracks(camera, pid))


def _facts(number: int, part: PicturePlace) -> Iterator[tuple[tuple[int, Any] | None, int]]:
    """Video, or None, and person, or -1, of each name."""
    given = part.videos
    for row, name in enumerate(part.names):
        folder, _, file = name.rpartition("/")
        match = NAME.fullmatch(file)
        known, counted, person = match.groups() if match else (None, None, None)
        place = known or counted or folder or None
        if given is not None:
            place = given[row]
        yield (
            None if place is None else (number, place),
            whole_numbers.parse(person, "identity", part.prefix + name) if person else UNLABELLED,
        )


def _tracks(camera: np.ndarray, pid: np.ndarray) -> np.ndarray:
    """A number for each pair of video and person; -1 where no person is known."""
    track = np.full(len(pid), -1)
    known = pid >= 0
    people, person = np.unique(pid[known], return_inverse=True)
    pairs = (camera[known] + 1) * len(people) + person
    track[known] = np.unique(pairs, return_inverse=True)[1]
    return track


TREE = """
    ROOT
      <country>/<city>/<video>/{}
    or ROOT, ROOT/lup/<name> or ROOT/<name>
      lmdb/data.mdb                  keys like {}
      keys.pkl                       {}
"""
PACKED = "lmdb/data.mdb|lup/*/lmdb/data.mdb|*/lmdb/data.mdb|*.lmdb|data.mdb"


def _missing(root: str) -> list[str]:
    return luperson_missing.find(root, parts_of).lines()


DATASETS = (
    DataSet(
        name="luperson",
        confirms=lambda root: word_of(root) == "luperson",
        remarks=_missing,
        title="LUPerson",
        load=load,
        kind="unlabelled",
        # Scenes are videos, which count as cameras here.
        counts={"train": Count(images=4_180_243, cameras=46_260)},
        markers=(f"{PACKED}|*/*/*/" + "[0-9]" * 8 + "_" + "[0-9]" * 4 + ".jpg",),
        tree=TREE.format(
            "00000120_0003.jpg             frame 120, third person in it",
            "30_00_0292_00000238",
            "a list of the keys, or a dict with the list 'keys'",
        ),
        citation="Fu, Chen, Bao, Yang, Yuan, Zhang, Li, Chen: Unsupervised Pre-training for "
        "Person Re-identification. CVPR 2021",
        url="https://github.com/DengpanFu/LUPerson",
        license="research only, no commercial use",
        access="the authors give names of videos and detections, from which the crops are cut",
        note="Boxes fit only the resolution at which they were detected.",
    ),
    DataSet(
        name="luperson_nl",
        confirms=lambda root: word_of(root) == "luperson_nl",
        remarks=_missing,
        title="LUPerson-NL",
        load=load_nl,
        kind="image",
        counts={"train": Count(images=10_683_716, ids=433_997, cameras=21_697)},
        markers=(f"{PACKED}|*/*/*/" + "_".join("[0-9]" * digits for digits in (6, 7, 2)) + ".jpg",),
        tree=TREE.format(
            "000007_0000020_01.jpg         track 7, frame 20",
            "00001_000007_0000020_01",
            "a dict with the lists 'keys' and 'pids'",
        ),
        citation="Fu, Chen, Yang, Bao, Yuan, Zhang, Li, Wen, Chen: Large-Scale Pre-training for "
        "Person Re-identification with Noisy Labels. CVPR 2022",
        url="https://github.com/DengpanFu/LUPerson-NL",
        license="not stated",
        access="the authors give names of videos and detections, from which the crops are cut",
        note="Identities are tracks: one person may have several, and a track may hold several.",
    ),
)
