import functools
import json
import os
import re
import shutil

import numpy as np
import pytest
import scipy.io

from data_pipeline import datasets
from data_pipeline.datasets import ilids_vid, prid2011, tracklets, video_lists
from data_pipeline.errors import InputError
from data_pipeline.table import frames, records
from tests.video_sets import (
    NUM_TEST,
    NUM_TRAIN,
    SIZE,
    Worlds,
    change,
    num_tracks,
    rows,
    write_matrix,
)

FOLDERS = {
    "prid2011": ("multi_shot/cam_a", "multi_shot/cam_b"),
    "ilids_vid": ("i-LIDS-VID/sequences/cam1", "i-LIDS-VID/sequences/cam2"),
}
TWO_CAMERAS = sorted(FOLDERS)
LISTS = {"PRID2011": prid2011.LAYOUT, "iLIDS-VID": ilids_vid.LAYOUT}
PUBLISHED = {
    ("PRID2011", 1): (19455, 19011),
    ("PRID2011", 2): (19610, 18856),
    ("iLIDS-VID", 1): (21806, 20653),
    ("iLIDS-VID", 2): (21625, 20834),
}
PUBLISHED_LENGTHS = {"PRID2011": (28, 675), "iLIDS-VID": (22, 192)}
NUM_PEOPLE = {"PRID2011": 89, "iLIDS-VID": 150}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    return Worlds(tmp_path_factory.mktemp("video"))


@pytest.fixture
def copy(worlds, tmp_path):
    return functools.partial(worlds.copy, folder=tmp_path)


def of_people(root, layout, names, camera):
    """The slow twin of both readers: every picture of these people before a camera."""
    return sorted(
        (f"{FOLDERS[layout][camera]}/{name}/{path.name}", int(re.sub(r"\D", "", name)), camera)
        for name in names
        for path in (root / FOLDERS[layout][camera] / name).iterdir()
    )


def people_of_list(path):
    return sorted({line.split("/")[1] for line in path.read_text().splitlines()})


def assert_parts(splits, root, layout, train, test):
    both = of_people(root, layout, train, 0) + of_people(root, layout, train, 1)
    assert rows(splits.train, root) == sorted(both)
    assert rows(splits.query, root) == of_people(root, layout, test, 0)
    assert rows(splits.gallery, root) == of_people(root, layout, test, 1)
    counts = [num_tracks(table) for table in (splits.train, splits.query, splits.gallery)]
    assert counts == [2 * len(train), len(test), len(test)]


@pytest.mark.parametrize("layout", TWO_CAMERAS)
def test_frame_lists_give_the_ten_partitions(worlds, layout):
    root = worlds(layout)
    partitions = set()
    for split in range(10):
        folder = root / f"split{split + 1}"
        train, test = (people_of_list(folder / f"{part}data.txt") for part in ("train", "test"))
        assert_parts(datasets.load(layout, str(root), split=split), root, layout, train, test)
        partitions.add(tuple(train))
    assert len(partitions) > 3, "the drawn partitions differ"
    with pytest.raises(InputError, match="split 10"):
        datasets.load(layout, str(root), split=10)


def test_json_gives_the_ten_other_partitions_of_prid2011(worlds):
    root = worlds("prid2011")
    splits = json.loads((root / "splits_prid2011.json").read_text())
    for split, people in enumerate(splits):
        loaded = datasets.load("prid2011_json", str(root), split=split)
        assert_parts(loaded, root, "prid2011", people["train"], people["test"])
    mine = datasets.load("prid2011", str(root)).train.pid
    assert set(mine) != set(datasets.load("prid2011_json", str(root)).train.pid)


def test_positions_of_ilids_vid_are_not_numbers(worlds):
    """Row of the Matlab file: the first half tests, positions among sorted folders from 1."""
    root = worlds("ilids_vid")
    folders = sorted(path.name for path in (root / FOLDERS["ilids_vid"][0]).iterdir())
    assert int(folders[-1][-3:]) > len(folders), "numbers have gaps"
    path = root / "train-test people splits" / "train_test_splits_ilidsvid.mat"
    matrix = scipy.io.loadmat(path)["ls_set"]
    assert matrix.shape == (10, SIZE["identities"])
    half = SIZE["identities"] // 2
    for split in (0, 9):
        people = [folders[position - 1] for position in matrix[split]]
        loaded = datasets.load("ilids_vid_mat", str(root), split=split)
        assert_parts(loaded, root, "ilids_vid", people[half:], people[:half])


@pytest.mark.parametrize("layout", TWO_CAMERAS)
def test_tracks_are_the_sequences_of_the_list(worlds, layout):
    root = worlds(layout)
    table = datasets.load(layout, str(root)).train
    tracks = {os.path.relpath(p, root): t for p, t in zip(table.media, table.track, strict=True)}
    for line in (root / "split1/traindata.txt").read_text().splitlines():
        path, _, camera, sequence = line.split(" ")
        real = f"{FOLDERS[layout][int(camera) - 1]}/{path.partition('/')[2]}"
        assert tracks[real] == int(sequence) - 1


@pytest.mark.parametrize("word", ["prid2011", "prid2011_json"])
def test_rows_of_prid2011_do_not_pair_the_cameras(worlds, word):
    """Frames of a person are called alike in both cameras."""
    table = datasets.load(word, str(worlds("prid2011"))).train
    names = ["/".join(path.split("/")[-2:]) for path in table.media]
    assert len(set(names)) == len(names) / 2
    pairs = sum(one == other for one, other in zip(names[1:], names[:-1], strict=True))
    assert pairs < len(names) / 8


@pytest.mark.parametrize("layout", TWO_CAMERAS)
def test_labels_without_identities_count_within_cameras(worlds, layout):
    table = datasets.load(layout, str(worlds(layout))).train
    _, counts = frames.numbers_in_camera(table)
    np.testing.assert_array_equal(counts, [NUM_TRAIN] * 2)


@pytest.mark.parametrize("layout", TWO_CAMERAS)
def test_lists_survive_windows_and_lie_anywhere(copy, layout):
    root = copy(layout)
    expected = datasets.load(layout, str(root))
    for path in root.glob("split*/*.txt"):
        text = path.read_text().replace("\n", "\r\n") + "\r\n\r\n"
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    other = {"prid2011": "ilids_vid", "ilids_vid": "prid2011"}[layout]
    shelf = root / "evaluation" / "datasplits"
    foreign = shelf / "A" / "split1"
    foreign.mkdir(parents=True)
    line = {"prid2011": "person_0147/0001.png", "ilids_vid": "person164/cam1_person164_00873.png"}
    (foreign / "traindata.txt").write_text(f"cam1/{line[other]} 1 1 1\n")
    for path in list(root.glob("split*")):
        if path.is_dir():
            shutil.move(path, shelf / "Z" / path.name)
    found = datasets.load(layout, str(root))
    assert found.train.fingerprint() == expected.train.fingerprint()
    np.testing.assert_array_equal(found.gallery.track, expected.gallery.track)


def test_folders_of_cameras_may_have_the_names_of_the_lists(copy):
    root = copy("prid2011")
    for letter, number in (("a", 1), ("b", 2)):
        (root / "multi_shot" / f"cam_{letter}").rename(root / f"cam{number}")
    splits = datasets.load("prid2011", str(root))
    assert {path.split("/")[-3] for path in splits.query.media} == {"cam1"}
    assert {path.split("/")[-3] for path in splits.gallery.media} == {"cam2"}


@pytest.mark.parametrize("word", ["prid2011", "prid2011_json"])
def test_prid2011_as_its_archive_unpacks(copy, word):
    root = copy("prid2011")
    expected = datasets.load(word, str(root))
    (root / "prid_2011").mkdir()
    (root / "multi_shot").rename(root / "prid_2011" / "multi_shot")
    (root / "prid_2011" / "single_shot" / "cam_a").mkdir(parents=True)
    assert datasets.load(word, str(root)).query.fingerprint() == expected.query.fingerprint()


def test_one_frame_is_a_tracklet(copy):
    root = copy("prid2011")
    name = people_of_list(root / "split1/testdata.txt")[0]
    folder = root / "multi_shot" / "cam_a" / name
    for path in sorted(folder.iterdir())[:-1]:
        path.unlink()
    (root / "split1/testdata.txt").write_text(
        "".join(
            line + "\n"
            for line in (root / "split1/testdata.txt").read_text().splitlines()
            if f"cam1/{name}" not in line or "0003.png" in line
        )
    )
    query = datasets.load("prid2011", str(root)).query
    listed = frames.Tracklets.of(query)
    assert sorted(listed.length) == [1, *[SIZE["frames"]] * (NUM_TEST - 1)]
    lone = int(np.argmin(listed.length))
    assert listed.frames(lone).tolist() == [listed.rows[listed.start[lone]]]


@pytest.mark.parametrize(
    ("layout", "file"), [("prid2011", "0002.png"), ("ilids_vid", "cam1_{}_00101.png")]
)
def test_a_listed_frame_that_is_missing_is_named(copy, layout, file):
    root = copy(layout)
    folder = root / FOLDERS[layout][0] / sorted(os.listdir(root / FOLDERS[layout][0]))[0]
    if not (folder / file.format(folder.name)).exists():
        file = sorted(os.listdir(folder))[1]
    path = folder / file.format(folder.name)
    path.unlink()
    with pytest.raises(InputError, match=rf"names 1 frames .* not there: .*{path.name}"):
        datasets.load(layout, str(root))
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=rf"names {SIZE['frames']} frames .* not there"):
        datasets.load(layout, str(root))


@pytest.mark.parametrize("word", ["prid2011_json", "ilids_vid_mat"])
def test_a_person_without_pictures_is_named(copy, word):
    layout = word.rpartition("_")[0]
    root = copy(layout)
    folder = root / FOLDERS[layout][1] / sorted(os.listdir(root / FOLDERS[layout][1]))[0]
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(InputError, match=rf"{folder.name} holds no picture"):
        datasets.load(word, str(root))
    folder.rmdir()
    with pytest.raises(InputError, match=rf"{folder.name} is missing"):
        datasets.load(word, str(root))


@pytest.mark.parametrize(
    ("word", "lists", "other"),
    [
        ("prid2011", "split*", "Or use prid2011_json"),
        ("prid2011_json", "splits_prid2011.json", "Or use prid2011,"),
        ("ilids_vid", "split*", "Or use ilids_vid_mat"),
        ("ilids_vid_mat", "train-test*", "Or use ilids_vid,"),
    ],
)
def test_missing_lists_are_named_and_never_replaced_silently(copy, word, lists, other):
    root = copy(word.removesuffix("_json").removesuffix("_mat"))
    for path in root.glob(lists):
        if word != "prid2011" or path.is_dir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=f"there is no .*{other}.*not comparable"):
        datasets.load(word, str(root))
    for path in root.glob("*split*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError) as caught:
        datasets.load(word, str(root))
    assert "there is no" in str(caught.value)
    assert "Or use" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lists: (lists / "testdata.txt").unlink(), "cannot read .*testdata.txt"),
        (lambda lists: (lists / "testdata.txt").write_text("\n \n"), "testdata.txt is empty"),
        (lambda lists: (lists / "testdata.txt").write_bytes(b"\xff\xfe\x00"), "not a text file"),
        (lambda lists: change(lists / "traindata.txt", " 1 1 1\n", " 1 1\n"), "line 1 .*three num"),
        (lambda lists: change(lists / "traindata.txt", " 1 1 1\n", " 1 0 1\n"), "numbers from 1"),
        (lambda lists: change(lists / "traindata.txt", " 1 1 1\n", " 1 2 2\n"), "for camera 2"),
        (lambda lists: change(lists / "traindata.txt", " 1 1 1\n", " 1 3 3\n"), "for camera 3"),
        (lambda lists: change(lists / "traindata.txt", " 2 1 3\n", " 1 1 1\n"), "has frames of"),
        (lambda lists: change(lists / "traindata.txt", "cam2/pers", "cam2/x/pers"), "cam2/x/pers"),
        (
            lambda lists: shutil.copy(lists / "traindata.txt", lists / "testdata.txt"),
            f"share {SIZE['train_identities']} people",
        ),
        (
            lambda lists: (lists / "traindata.txt").write_text(
                2 * (lists / "traindata.txt").read_text()
            ),
            "0001.png twice, in the lines 1 and 19",
        ),
    ],
)
def test_damaged_frame_lists(copy, damage, message):
    root = copy("prid2011")
    damage(root / "split1")
    with pytest.raises(InputError, match=message):
        datasets.load("prid2011", str(root))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "does not hold split 0"),
        ('{"train": []}', "does not hold split 0"),
        ('[{"train": ["person_0001"]}]', "does not hold split 0"),
        ('[{"train": ["person_0001"], "test": [2]}]', "does not hold split 0"),
        ('[{"train": ["person_1"], "test": []}]', "'person_1', which is no folder"),
        ('[{"train": ["person_0001"], "test": ["person_0001"]}]', "share 1 people: 1"),
    ],
)
def test_damaged_json(copy, text, message):
    root = copy("prid2011")
    (root / "splits_prid2011.json").write_text(text)
    with pytest.raises(InputError, match=message):
        datasets.load("prid2011_json", str(root))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "no readable Matlab file"),
        (lambda path: path.write_bytes(b"not Matlab" * 99), "no readable Matlab file"),
        (lambda path: path.write_bytes(path.read_bytes()[:190]), "no readable Matlab file"),
        (lambda path: write_matrix(path, "sets", np.eye(7)), "no matrix 'ls_set' but sets"),
        (lambda path: write_matrix(path, "ls_set", "text"), "no matrix 'ls_set'"),
        (lambda path: write_matrix(path, "ls_set", np.ones((10, 300))), "300 people.* 7 folders"),
        (lambda path: write_matrix(path, "ls_set", np.ones((10, 7))), "everybody once"),
    ],
)
def test_damaged_partitions_of_ilids_vid(copy, damage, message):
    root = copy("ilids_vid")
    damage(root / "train-test people splits" / "train_test_splits_ilidsvid.mat")
    with pytest.raises(InputError, match=message):
        datasets.load("ilids_vid_mat", str(root))


def test_an_older_matlab_file_has_real_numbers(copy):
    root = copy("ilids_vid")
    expected = datasets.load("ilids_vid_mat", str(root), split=3)
    path = root / "train-test people splits" / "train_test_splits_ilidsvid.mat"
    write_matrix(path, "ls_set", scipy.io.loadmat(path)["ls_set"].astype(float))
    found = datasets.load("ilids_vid_mat", str(root), split=3)
    assert found.train.fingerprint() == expected.train.fingerprint()


@pytest.fixture
def published(real_data):
    folder = real_data / "protocols"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist")
    return folder


@pytest.mark.parametrize(("name", "split"), PUBLISHED)
def test_published_frame_lists(published, name, split):
    parts = [
        video_lists.read_frames(str(published / "dal" / name / f"split{split}" / f"{part}data.txt"))
        for part in ("train", "test")
    ]
    assert tuple(len(part.paths) for part in parts) == PUBLISHED[name, split]
    people, lengths = [], []
    for part in parts:
        found = tracklets.frames_of(LISTS[name], part)
        np.testing.assert_array_equal(part.sequence, 2 * part.tracklet + part.camera)
        np.testing.assert_array_equal(found.track, part.sequence)
        people.append(set(found.pid.tolist()))
        lengths.append(np.bincount(found.track))
        for camera in range(2):
            here = found.camera == camera
            assert len(np.unique(found.pid[here])) == NUM_PEOPLE[name]
            assert len(np.unique(found.track[here])) == NUM_PEOPLE[name]
        pairs = set(zip(part.tracklet.tolist(), found.pid.tolist(), strict=True))
        assert len(pairs) == NUM_PEOPLE[name], "a tracklet's number is an identity"
    assert not people[0] & people[1]
    both = np.concatenate(lengths)
    assert (both.min(), both.max()) == PUBLISHED_LENGTHS[name]


@pytest.mark.parametrize("name", LISTS)
def test_labels_by_published_lists_have_the_published_counts(published, name):
    path = published / "dal" / name / "split1" / "traindata.txt"
    found = tracklets.frames_of(LISTS[name], video_lists.read_frames(str(path)))
    media = [f"cam{c}/{n}" for c, n in zip(found.camera, found.names, strict=True)]
    table = records.table_of(media, found.pid, found.camera, found.track)
    number, counts = frames.numbers_in_camera(table)
    np.testing.assert_array_equal(counts, [NUM_PEOPLE[name]] * 2)
    of_person = {(p, c): n for p, c, n in zip(table.pid, table.camera, number, strict=True)}
    alike = sum(of_person[pid, 0] == of_person[pid, 1] for pid in np.unique(table.pid))
    assert alike < 8, "chance is one"
