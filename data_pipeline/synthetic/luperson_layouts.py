"""The drawn world in the layouts of LUPerson and LUPerson-NL, where one camera is one video.

Nobody here is in a labelled layout, and a person who passes two cameras is two tracklets; nothing
on disk tells that they are one.
"""

import itertools
import pathlib
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from data_pipeline.read import lmdb_store
from data_pipeline.read.atomic import replacing
from data_pipeline.synthetic import streams
from data_pipeline.synthetic.extent import KEEP_EVERY, UNLABELLED_PEOPLE, Extent, Shot, save


class DrawnCrop(NamedTuple):
    """One picture: whose pass it is of, at which frame of the video, and when in the pass."""

    camera: int
    track: int
    frame: int
    moment: int
    shot: Shot


def _crops(extent: Extent) -> Iterator[DrawnCrop]:
    rng = streams.stream(extent.seed, streams.LAYOUT, 0)
    passes = np.repeat(np.arange(extent.identities), extent.tracklets)
    tracks = rng.permutation(len(passes))
    starts = rng.integers(0, 90_000, size=len(passes))
    switches = rng.random(len(passes)) < extent.switch_rate
    num_cameras = extent.cameras + extent.extra_cameras
    first = rng.integers(num_cameras, size=extent.identities)
    for i, identity in enumerate(passes):
        camera = int(first[identity] + i % extent.tracklets) % num_cameras
        instance = i % extent.tracklets // num_cameras
        for frame in range(extent.frames):
            stranger = switches[i] and 2 * frame >= extent.frames
            identity_shown = (identity + stranger) % extent.identities
            shot = Shot(0, camera + 1, 1, UNLABELLED_PEOPLE + int(identity_shown), instance)
            moment = KEEP_EVERY * frame
            yield DrawnCrop(camera, int(tracks[i]), int(starts[i]) + moment, moment, shot)


def _folder(crop: DrawnCrop) -> str:
    return f"country{crop.camera // 4}/city{crop.camera // 2}/video{crop.camera:04d}"


def _name(crop: DrawnCrop) -> str:
    return f"{crop.frame:08d}_{crop.track:04d}"


def _name_nl(crop: DrawnCrop) -> str:
    return f"{crop.track:06d}_{crop.frame:07d}_00"


def _write(root: pathlib.Path, extent: Extent, name: Callable[[DrawnCrop], str]) -> dict[str, int]:
    count = 0
    for crop in _crops(extent):
        save(extent.world, crop.shot, root / _folder(crop) / f"{name(crop)}.jpg", crop.moment)
        count += 1
    return {"images": count}


def write_luperson(root: pathlib.Path, extent: Extent) -> dict[str, int]:
    """LUPerson (Fu et al., Unsupervised Pre-training for Person Re-identification, 2021):
    `<country>/<city>/<video>/{frame:08d}_{object:04d}.jpg`, where nothing tells who passes."""
    return _write(root, extent, _name)


def write_luperson_nl(root: pathlib.Path, extent: Extent) -> dict[str, int]:
    """LUPerson-NL (Fu et al., Large-Scale Pre-training for Person Re-identification with Noisy
    Labels, 2022): `<country>/<city>/<video>/{track:06d}_{frame:07d}_{object:02d}.jpg`."""
    return _write(root, extent, _name_nl)


def write_luperson_lmdb(root: pathlib.Path, extent: Extent) -> dict[str, int]:
    """LUPerson as its authors pack it: `lmdb`, with keys of the numbers of country, city, video
    and picture, and `keys.pkl`, a plain list of them."""
    ordered = sorted(_crops(extent), key=lambda crop: (_folder(crop), _name(crop)))
    keyed = [
        (f"{country:02d}_{city:02d}_{video:04d}_{image:08d}", crop)
        for country, in_country in _grouped(ordered, depth=1)
        for city, in_city in _grouped(in_country, depth=2)
        for video, in_video in _grouped(in_city, depth=3)
        for image, crop in enumerate(in_video)
    ]
    _pack(root, extent, keyed)
    _write_keys(root / "keys.pkl", [key for key, _ in keyed])
    return {"images": len(keyed)}


def write_luperson_nl_lmdb(root: pathlib.Path, extent: Extent) -> dict[str, int]:
    """LUPerson-NL as its authors pack it: `lup/lmdb_200_20/lmdb`, with keys of a running number
    of the video and the name of the file, and `keys.pkl`, a dict with `keys` and `pids`."""
    home = root / "lup" / "lmdb_200_20"
    ordered = sorted(_crops(extent), key=lambda crop: (_folder(crop), _name_nl(crop)))
    keyed = [
        (f"{video + 1:05d}_{_name_nl(crop)}", crop)
        for video, in_video in _grouped(ordered, depth=3)
        for crop in in_video
    ]
    _pack(home, extent, keyed)
    index = {"keys": [key for key, _ in keyed], "pids": [crop.track for _, crop in keyed]}
    _write_keys(home / "keys.pkl", index)
    return {"images": len(keyed)}


def _grouped(crops: Iterable[DrawnCrop], depth: int) -> Iterator[tuple[int, Iterator[DrawnCrop]]]:
    """Neighbors that share the first folders, with a running number of each group."""
    groups = itertools.groupby(crops, lambda crop: _folder(crop).split("/")[:depth])
    return ((number, group) for number, (_, group) in enumerate(groups))


def _pack(home: pathlib.Path, extent: Extent, keyed: list[tuple[str, DrawnCrop]]) -> None:
    world = extent.world
    pictures = (
        (key, world.render_jpeg(shot.person, shot.camera - 1, shot.instance, crop.moment))
        for key, crop in keyed
        for shot in (crop.shot,)
    )
    lmdb_store.write_lmdb(home / "lmdb", pictures)


def _write_keys(path: pathlib.Path, keys: list[str] | dict[str, list]) -> None:
    with replacing(path) as part:
        part.write_bytes(pickle.dumps(keys))


LAYOUTS: dict[str, Callable[[pathlib.Path, Extent], dict[str, int]]] = {
    "folder": write_luperson_nl,
    "luperson": write_luperson,
    "luperson_nl": write_luperson_nl,
    "luperson_lmdb": write_luperson_lmdb,
    "luperson_nl_lmdb": write_luperson_nl_lmdb,
}
