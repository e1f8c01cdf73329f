"""The drawn world in the layouts of the video sets, with their list files."""

import dataclasses
import io
import json
import pathlib
from collections.abc import Iterator

import numpy as np
import scipy.io

from data_pipeline.errors import InputError
from data_pipeline.synthetic import streams
from data_pipeline.synthetic.extent import DISTRACTOR_PEOPLE, Extent, Shot, save, shots

NUM_SPLITS = 10

# Addresses of the random streams that divide the people, beside 0, which `folder` uses.
LIST_SPLITS, OTHER_SPLITS = 1, 2

# Text in the first bytes of a Matlab file; SciPy would write the time of day there.
MATLAB_HEADER = b"MATLAB 5.0 MAT-file".ljust(116)


def write_mars(root: pathlib.Path, extent: Extent) -> dict[str, int]:
    """MARS (Zheng et al., MARS: A Video Benchmark for Large-Scale Person Re-identification, 2016):
    `bbox_train/0001/0001C1T0001F001.jpg`; in the test part strangers (0000) and tracklets of nobody
    (00-1) too; the lists of names and the index files of Matlab in `info`. The first pass of a
    person before each camera is a query."""
    _refuse_many_cameras(extent, "MARS")
    info = root / "info"
    info.mkdir()
    numbers = range(extent.tracklets)
    test = [*_nobody(extent), *_strangers(extent), *shots(extent, extent.test, numbers)]
    parts = {"train": list(shots(extent, extent.train, numbers)), "test": test}
    counts = {}
    for part, passes in parts.items():
        names, tracks = [], []
        for shot in passes:
            person = "00-1" if shot.pid < 0 else f"{shot.pid:04d}"
            tracks.append([len(names) + 1, len(names) + extent.frames, shot.pid, shot.camera])
            for frame in range(extent.frames):
                name = f"{person}C{shot.camera}T{shot.number:04d}F{frame + 1:03d}.jpg"
                _save_frame(extent, shot, frame, root / f"bbox_{part}" / person / name)
                names.append(name)
        (info / f"{part}_name.txt").write_text("\n".join(names) + "\n")
        columns = np.array(tracks, np.int32)
        _save_matrix(info / f"tracks_{part}_info.mat", f"track_{part}_info", columns)
        counts[f"bbox_{part}"] = len(names)
    query = [row + 1 for row, shot in enumerate(test) if shot.pid > 0 and shot.instance == 0]
    _save_matrix(info / "query_IDX.mat", "query_IDX", np.array([query], np.uint16))
    return counts


def write_video(root: pathlib.Path, extent: Extent) -> dict[str, int]:
    """MARS without strangers and tracklets of nobody."""
    return write_mars(root, dataclasses.replace(extent, distractors=0, junk=0))


def write_dukemtmc_videoreid(root: pathlib.Path, extent: Extent) -> dict[str, int]:
    """DukeMTMC-VideoReID (Wu et al., Exploit the Unknown Gradually, 2018):
    `train/0001/0001/0001_C1_F0001_X9990.jpg`. In the test part everybody passes each camera once;
    one of the passes is the query. Strangers have identities of their own and a D in place of the
    X. As in the original, some tracklets begin at F0002, and some lack a frame."""
    _refuse_many_cameras(extent, "DukeMTMC-VideoReID")
    passes = list(shots(extent, extent.test, range(1)))
    strangers = [
        dataclasses.replace(shot, pid=extent.identities + i + 1)
        for i, shot in enumerate(_strangers(extent))
    ]
    parts = {
        "train": list(shots(extent, extent.train, range(extent.tracklets))),
        "query": [shot for shot in passes if _is_query(extent, shot)],
        "gallery": [*(shot for shot in passes if not _is_query(extent, shot)), *strangers],
    }
    for part, listed in parts.items():
        for shot in listed:
            number = (shot.camera - 1) * extent.tracklets + shot.instance + 1
            folder = root / part / f"{shot.pid:04d}" / f"{number:04d}"
            letter = "D" if shot.person >= DISTRACTOR_PEOPLE else "X"
            for frame in range(extent.frames):
                shown = frame + 1 if number % 2 else frame + 2 + (frame > 0)
                moment = 9978 + 12 * shown
                name = f"{shot.pid:04d}_C{shot.camera}_F{shown:04d}_{letter}{moment}.jpg"
                save(extent.world, shot, folder / name, frame)
    return {part: len(listed) * extent.frames for part, listed in parts.items()}


def write_prid2011(root: pathlib.Path, extent: Extent) -> dict[str, int]:
    """PRID2011 (Hirzer et al., Person Re-identification by Descriptive and Discriminative
    Classification, 2011): one tracklet of everybody in each of two cameras,
    `multi_shot/cam_a/person_0001/0001.png`, then strangers, of whom those with the same number in
    both cameras are different people; the lists of ten splits in both published forms."""
    count = 0
    for camera, num_strangers in ((1, extent.distractors // 2), (2, extent.distractors)):
        passes = [Shot(person + 1, camera, 1, person, 0) for person in range(extent.identities)]
        for i in range(num_strangers):
            stranger = DISTRACTOR_PEOPLE + camera * 100_000 + i
            passes.append(Shot(extent.identities + i + 1, camera, 1, stranger, 0))
        for shot in passes:
            folder = root / "multi_shot" / f"cam_{'ab'[camera - 1]}" / f"person_{shot.pid:04d}"
            for frame in range(extent.frames):
                save(extent.world, shot, folder / f"{frame + 1:04d}.png", frame)
        count += len(passes) * extent.frames
    names = [f"person_{person + 1:04d}" for person in range(extent.identities)]
    frames = {name: [f"{frame + 1:04d}.png" for frame in range(extent.frames)] for name in names}
    _save_frame_lists(root, extent, names, {1: frames, 2: frames})
    splits = []
    for order in _orders(extent, OTHER_SPLITS):
        train, test = sorted(order[: extent.num_train]), sorted(order[extent.num_train :])
        splits.append({"test": [names[i] for i in test], "train": [names[i] for i in train]})
    (root / "splits_prid2011.json").write_text(json.dumps(splits, indent=4))
    return {"multi_shot": count}


def write_ilids_vid(root: pathlib.Path, extent: Extent) -> dict[str, int]:
    """iLIDS-VID (Wang et al., Person Re-identification by Video Ranking, 2014): one tracklet of
    everybody in each of two cameras,
    `i-LIDS-VID/sequences/cam1/person001/cam1_person001_00873.png`; numbers of people have gaps and
    frames do not begin at 1; the lists of ten splits in both published forms. The Matlab form knows
    halves only, whatever `train_identities` is.

    Raises:
        InputError: more people than its names can number.
    """
    numbers = [person + 1 + person // 4 for person in range(extent.identities)]
    if numbers[-1] > 999:
        raise InputError(f"identities={extent.identities}; names of iLIDS-VID hold 800, give fewer")
    names = [f"person{number:03d}" for number in numbers]
    frames = {}
    for camera in (1, 2):
        folder = root / "i-LIDS-VID" / "sequences" / f"cam{camera}"
        frames[camera] = {}
        for person, name in enumerate(names):
            shot = Shot(numbers[person], camera, 1, person, 0)
            start = 100 * camera + 7 * person
            files = [f"cam{camera}_{name}_{start + i:05d}.png" for i in range(extent.frames)]
            for frame, file in enumerate(files):
                save(extent.world, shot, folder / name / file, frame)
            frames[camera][name] = files
    _save_frame_lists(root, extent, names, frames)
    # Positions among the sorted folders, from 1: first the half for testing, then for training.
    positions = np.stack([order + 1 for order in _orders(extent, OTHER_SPLITS)]).astype(np.uint16)
    lists = root / "train-test people splits"
    lists.mkdir()
    _save_matrix(lists / "train_test_splits_ilidsvid.mat", "ls_set", positions)
    return {"sequences": 2 * extent.identities * extent.frames}


LAYOUTS = {
    "mars": write_mars,
    "video": write_video,
    "dukemtmc_videoreid": write_dukemtmc_videoreid,
    "prid2011": write_prid2011,
    "ilids_vid": write_ilids_vid,
}


def _refuse_many_cameras(extent: Extent, title: str) -> None:
    if extent.cameras > 9:
        raise InputError(
            f"cameras={extent.cameras}; the names of {title} have one digit, give at most 9"
        )


def _is_query(extent: Extent, shot: Shot) -> bool:
    return shot.camera - 1 == shot.person % extent.cameras


def _strangers(extent: Extent) -> Iterator[Shot]:
    for i in range(extent.distractors):
        yield Shot(0, i % extent.cameras + 1, i + 1, DISTRACTOR_PEOPLE + i, 0)


def _nobody(extent: Extent) -> Iterator[Shot]:
    for i in range(extent.junk):
        yield Shot(-1, i % extent.cameras + 1, i + 1, -1, i)


def _save_frame(extent: Extent, shot: Shot, frame: int, path: pathlib.Path) -> None:
    if shot.person < 0:
        # The world draws empty scenes one by one: each frame is one of them.
        shot = dataclasses.replace(shot, instance=shot.instance * extent.frames + frame)
    save(extent.world, shot, path, frame)


def _orders(extent: Extent, address: int) -> Iterator[np.ndarray]:
    """The people in random order, once for each split."""
    for split in range(NUM_SPLITS):
        rng = streams.stream(extent.seed, streams.LAYOUT, address, split)
        yield rng.permutation(extent.identities)


def _save_frame_lists(
    root: pathlib.Path, extent: Extent, names: list[str], frames: dict[int, dict[str, list[str]]]
) -> None:
    """`splitN/traindata.txt` and `testdata.txt`: path, tracklet in its camera, camera, sequence."""
    for split, order in enumerate(_orders(extent, LIST_SPLITS), 1):
        folder = root / f"split{split}"
        folder.mkdir()
        parts = {"train": order[: extent.num_train], "test": order[extent.num_train :]}
        for part, people in parts.items():
            lines = [
                f"cam{camera}/{names[person]}/{file} {i + 1} {camera} {2 * i + camera}\n"
                for i, person in enumerate(people)
                for camera in (1, 2)
                for file in frames[camera][names[person]]
            ]
            (folder / f"{part}data.txt").write_text("".join(lines))


def _save_matrix(path: pathlib.Path, variable: str, matrix: np.ndarray) -> None:
    file = io.BytesIO()
    scipy.io.savemat(file, {variable: matrix})
    path.write_bytes(MATLAB_HEADER + file.getvalue()[len(MATLAB_HEADER) :])
