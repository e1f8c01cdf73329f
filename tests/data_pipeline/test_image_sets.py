"""The sets of single pictures: what their readers make of names, lists and folders."""

import pathlib
import shutil

import numpy as np
import pytest
import scipy.io

from data_pipeline import datasets
from data_pipeline.datasets import cuhk03, market1501, three_folders
from data_pipeline.errors import InputError
from tests.image_sets import DISTRACTORS, JUNK, THREE, draw, parts, rows, touch


def three(root: pathlib.Path, name: str) -> str:
    """A set of three folders with a picture each."""
    touch(root, [f"{part}/{name}" for part in THREE])
    return str(root)


def by_splitting(folder: pathlib.Path, camera: dict[str, int]) -> list[tuple[str, int, int]]:
    """What a folder tells, read without patterns: fields between underscores."""
    found = []
    for path in folder.iterdir():
        pid, where = path.name.split("_")[:2]
        if pid != "-1":
            found.append((path.name, int(pid), camera[where.split("s")[0]]))
    return sorted(found)


def numbered(form: str, *numbers: int) -> dict[str, int]:
    return {form.format(number): place for place, number in enumerate(numbers)}


@pytest.mark.parametrize(
    ("layout", "word", "below", "folders", "camera"),
    [
        ("market1501", "market1501", "", THREE, numbered("c{}", 1, 2, 3)),
        ("dukemtmc", "dukemtmc", "", THREE, numbered("c{}", 1, 2, 3)),
        ("cuhk03_np", "cuhk03_np_labeled", "labeled", THREE, numbered("c{}", 1, 2)),
        ("personx", "personx", "", THREE, numbered("c{}", 3, 4, 8, 10, 11, 12)),
        (
            "veri776",
            "veri776",
            "",
            ("image_train", "image_query", "image_test"),
            numbered("c{:03d}", 1, 2, 3),
        ),
    ],
)
def test_three_folders_say_what_their_names_say(tmp_path, layout, word, below, folders, camera):
    root = draw(layout, tmp_path / "set")
    splits = datasets.load(word, str(root))
    for table, folder in zip(parts(splits), folders, strict=True):
        home = root / below / folder
        assert rows(table) == by_splitting(home, camera)
        assert all(path.startswith(f"{home}/") for path in table.media)
        assert (table.track == -1).all()
    assert not np.isin(splits.train.pid, splits.gallery.pid).any()
    assert np.isin(splits.query.pid, splits.gallery.pid).all()


def test_market_drops_junk_and_keeps_strangers(tmp_path):
    root = draw("market1501", tmp_path)
    gallery = datasets.load("market1501", str(root)).gallery
    assert (gallery.pid == 0).sum() == DISTRACTORS
    assert len(gallery) == len(list((root / THREE[2]).iterdir())) - JUNK


def test_market_500k_adds_strangers_whatever_they_are_called(tmp_path):
    root = draw("market1501_500k", tmp_path / "set")
    plain = datasets.load("market1501", str(root))
    touch(root / "distractors", ["-1_c2s1_000001_00.jpg", "0007_c6.jpg", "stranger.jpg", "a.txt"])
    more = datasets.load("market1501_500k", str(root))
    assert rows(more.train) == rows(plain.train)
    assert rows(more.query) == rows(plain.query)
    added = sorted(set(rows(more.gallery)) - set(rows(plain.gallery)))
    assert set(rows(plain.gallery)) < set(rows(more.gallery))
    assert len(added) == DISTRACTORS + 3
    assert {pid for _, pid, _ in added} == {0}
    assert ("-1_c2s1_000001_00.jpg", 0, 1) in added
    assert ("stranger.jpg", 0, -1) in added


def test_market_500k_in_the_folder_that_torchreid_has(tmp_path):
    root = draw("market1501_500k", tmp_path / "set")
    inner = root / market1501.ARCHIVE_FOLDER
    inner.mkdir()
    for part in THREE:
        (root / part).rename(inner / part)
    (root / "distractors").rename(inner / "images")
    assert (datasets.load("market1501_500k", str(root)).gallery.pid == 0).sum() == 8
    (inner / "images").rename(inner / "others")
    with pytest.raises(InputError, match="no folder distractors or images"):
        datasets.load("market1501_500k", str(root))


@pytest.mark.parametrize(
    ("word", "name", "refused"),
    [
        ("dukemtmc", "0001_c8_f0000001.jpg", "0001_c9_f0000001.jpg"),
        ("dukemtmc", "0001_c8_f0000001.jpg", "0001_c1s1_000001_00.jpg"),
        ("msmt17", "0001_c15_0001.jpg", "0001_c16_0001.jpg"),
        ("msmt17", "0001_c15_0001.jpg", "0001_c1_f0000001.jpg"),
        ("cuhk03_np_labeled", "0001_c2_1.png", "0001_c3_1.png"),
        ("personx", "0001_c12_1.jpg", "0001_c5_1.jpg"),
        ("market1501", "0001_c27.jpg", "person.jpg"),
    ],
)
def test_a_name_of_another_set_is_refused_and_named(tmp_path, word, name, refused):
    root = three(tmp_path, name)
    assert len(datasets.load(word, root).query) == 1
    touch(tmp_path, [f"query/{refused}"])
    with pytest.raises(InputError, match=f"query holds 1 pictures .*{refused}; expected"):
        datasets.load(word, root)


@pytest.mark.parametrize(
    ("word", "folder", "name"),
    [
        ("market1501", "Market-1501-v15.09.15", "0001_c1s1_000001_00.jpg"),
        ("market1501", "market1501/Market-1501-v15.09.15", "0001_c1s1_000001_00.jpg"),
        ("dukemtmc", "DukeMTMC-reID", "0001_c1_f0000001.jpg"),
        ("dukemtmc", "dukemtmcreid/DukeMTMC-reID", "0001_c1_f0000001.jpg"),
        ("msmt17", "MSMT17_V1", "0001_c1_0001.jpg"),
        ("cuhk03_np_detected", "detected", "0001_c1_1.png"),
        ("personx", "personx/PersonX", "0001_c3_1.jpg"),
        ("market1501", "market1501", "0001_c1s1_000001_00.jpg"),
        ("dukemtmc", "duke", "0001_c1_f0000001.jpg"),
        ("msmt17", "msmt17", "0001_c1_0001.jpg"),
        ("cuhk03_np_labeled", "cuhk03_np/labeled", "0001_c1_1.png"),
        ("cuhk03_np_detected", "cuhk03_np/detected", "0001_c1_1.png"),
    ],
)
def test_the_folders_in_which_others_keep_them(tmp_path, word, folder, name):
    three(tmp_path / folder, name)
    below = datasets.load(word, str(tmp_path))
    itself = datasets.load(word, str(tmp_path / folder))
    assert [list(table.media) for table in parts(below)] == [
        list(table.media) for table in parts(itself)
    ]
    assert len(below.train) == 1


@pytest.mark.parametrize(
    ("word", "layout", "inside"),
    [
        ("dukemtmc", "dukemtmc", "query"),
        ("veri776", "veri776", "image_test"),
        ("msmt17", "msmt17", "train"),
        ("msmt17", "msmt17_v2", "mask_test_v2"),
        ("vehicleid", "vehicleid", "image"),
    ],
)
def test_a_path_wrong_by_one_level(tmp_path, word, layout, inside):
    root = draw(layout, tmp_path / "set")
    with pytest.raises(InputError, match=f"give {root} as `root`"):
        datasets.load(word, str(root / inside))
    with pytest.raises(InputError, match="set"):
        datasets.load(word, str(root.parent))


@pytest.mark.parametrize(
    ("word", "layout", "missing"),
    [
        ("dukemtmc", "dukemtmc", "bounding_box_test"),
        ("personx", "personx", "query"),
        ("veri776", "veri776", "image_query"),
        ("msmt17", "msmt17", "list_val.txt"),
        ("msmt17", "msmt17", "test"),
        ("msmt17", "msmt17_v2", "mask_train_v2"),
        ("vehicleid_1600", "vehicleid", "train_test_split/test_list_1600.txt"),
        ("vehicleid", "vehicleid", "image"),
        ("cuhk_sysu", "cuhk_sysu", "cropped_images"),
    ],
)
def test_a_missing_part_is_named(tmp_path, word, layout, missing):
    root = draw(layout, tmp_path / "set")
    shutil.move(root / missing, root.parent / "elsewhere")
    with pytest.raises(InputError, match=missing):
        datasets.load(word, str(root))


def test_numbers_of_the_published_tables():
    """Sums that the papers state otherwise: CUHK03 has 14096 and 14097 boxes, PersonX 36 pictures
    of everybody, DukeMTMC-reID 702 + 408 people in the gallery."""
    known = {name: one.counts for name, one in datasets.DATASETS.items()}
    for kind, total in (("labeled", 14096), ("detected", 14097)):
        assert sum(count.images for count in known[f"cuhk03_np_{kind}"].values()) == total
    assert known["personx"]["gallery"].images == 36 * known["personx"]["gallery"].ids
    assert known["dukemtmc"]["gallery"].ids == 702 + 408
    assert known["msmt17"]["train"].images == 30248 + 2373
    assert datasets.DATASETS["dukemtmc"].withdrawn


def names_of(path: pathlib.Path) -> list[list[str]]:
    return [line.split("; ") for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("word", "folder", "part"),
    [
        ("market1501", "market1501", market1501.LAYOUT),
        ("cuhk03_np_labeled", "cuhk03_np/labeled", cuhk03.LAYOUTS["labeled"]),
    ],
)
def test_real_names_and_labels_of_luperson(real_data, tmp_path, word, folder, part):
    """LUPerson's list of all training images: name, rank of the identity, camera from 0."""
    path = real_data / "protocols/luperson" / folder / "few_ims/used_ims_1.00.txt"
    listed = [(name, int(rank), int(camera)) for name, rank, camera in names_of(path)]
    table = three_folders.read(str(touch(tmp_path, [name for name, _, _ in listed])), part)
    assert rows(table.relabelled()) == sorted(listed)
    published = datasets.DATASETS[word].counts["train"]
    assert (len(table), table.num_ids, table.num_cameras) == (
        published.images,
        published.ids,
        published.cameras,
    )


def test_real_market_protocol(real_data, tmp_path):
    """Names made from the identities and cameras that the original evaluation uses."""
    home = real_data / "protocols/person_re_ranking/Market-1501"

    def column(name: str) -> list[int]:
        held = scipy.io.loadmat(home / f"{name}.mat")
        return held[name.replace("Cam", "CAM")].ravel().astype(int).tolist()

    for part, folder in (("query", "query"), ("test", "bounding_box_test")):
        labels = zip(column(f"{part}ID"), column(f"{part}Cam"), strict=True)
        names = [f"{pid:04d}_c{camera}s1_{i:06d}_00.jpg" for i, (pid, camera) in enumerate(labels)]
        touch(tmp_path / folder, [name.replace("-001", "-1") for name in names])
    touch(tmp_path, ["bounding_box_train/0002_c1s1_000451_03.jpg"])
    splits = datasets.load("market1501", str(tmp_path))
    for part in ("query", "gallery"):
        table, published = getattr(splits, part), datasets.DATASETS["market1501"].counts[part]
        assert (len(table), table.num_ids, table.num_cameras) == (
            published.images,
            published.ids,
            published.cameras,
        )


def test_real_market_samples(real_data):
    table = three_folders.read(str(real_data / "market1501_samples"), market1501.LAYOUT)
    assert len(table) == 20
    assert rows(table)[0] == ("0001_c1s1_001051_00.jpg", 1, 0)
    with pytest.raises(InputError, match="no folder 'bounding_box_train' and no other"):
        datasets.load("market1501", str(real_data / "market1501_samples"))


@pytest.mark.parametrize("word", ["dukemtmc", "msmt17", "personx", "cuhk03_np_labeled"])
def test_real_set_under_a_wrong_name(real_data, word):
    with pytest.raises(InputError, match="holds 800 pictures whose names tell no"):
        datasets.load(word, str(real_data / "pku_reid"))
