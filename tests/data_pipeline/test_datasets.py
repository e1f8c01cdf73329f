import pathlib

import numpy as np
import pytest

from data_pipeline import datasets
from data_pipeline.errors import InputError

MARKET = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c6s1_000776_01.jpg"],
    "query": ["0001_c3s1_001051_00.JPG"],
    "bounding_box_test": [
        "0000_c2s1_000076_04.jpg",
        "-1_c1s1_000401_03.jpg",
        "0001_c5s1_000401_01.png",
    ],
}


def make_files(root: pathlib.Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def make_market(root: pathlib.Path, **changes: list[str]) -> str:
    for folder, names in (MARKET | changes).items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        make_files(root / folder, *names)
    return str(root)


def rows(table):
    names = [pathlib.Path(path).name for path in table.media]
    return sorted(zip(names, table.pid.tolist(), table.camera.tolist(), strict=True))


@pytest.mark.parametrize("below", ["", "Market-1501-v15.09.15"])
def test_market_rows(tmp_path, below):
    make_market(tmp_path / below)
    splits = datasets.load("market1501", str(tmp_path))
    assert rows(splits.train) == [
        ("0002_c1s1_000451_03.jpg", 2, 0),
        ("0002_c6s1_000776_01.jpg", 2, 5),
    ]
    assert rows(splits.query) == [("0001_c3s1_001051_00.JPG", 1, 2)]
    assert rows(splits.gallery) == [
        ("0000_c2s1_000076_04.jpg", 0, 1),
        ("0001_c5s1_000401_01.png", 1, 4),
    ]
    assert all(pathlib.Path(path).is_file() for path in splits.gallery.media)


def test_market_reads_the_file_name_and_never_the_path(tmp_path):
    root = make_market(tmp_path / "0777_c3")
    assert rows(datasets.load("market1501", root).query) == [("0001_c3s1_001051_00.JPG", 1, 2)]


def test_market_ignores_what_systems_leave_behind(tmp_path):
    root = make_market(tmp_path, query=["0001_c3.jpg", "Thumbs.db", "._0001_c3.jpg", ".DS_Store"])
    assert rows(datasets.load("market1501", root).query) == [("0001_c3.jpg", 1, 2)]


@pytest.mark.parametrize("name", ["person.jpg", "0001_c0.jpg", "a_0001_c1.jpg", "-2_c1.jpg"])
def test_market_foreign_name_is_an_error(tmp_path, name):
    root = make_market(tmp_path, query=["0001_c3.jpg", name])
    with pytest.raises(InputError, match=f"1 pictures.*{name}"):
        datasets.load("market1501", root)


def test_market_missing_root_names_the_nearest(tmp_path):
    make_market(tmp_path / "market_1501")
    with pytest.raises(InputError, match="has 'market_1501'"):
        datasets.load("market1501", str(tmp_path / "market1510"))
    with pytest.raises(InputError, match=f"{tmp_path}/market_1501 as `root`"):
        datasets.load("market1501", str(tmp_path))


def test_market_missing_part_names_the_nearest(tmp_path):
    make_market(tmp_path)
    (tmp_path / "bounding_box_test").rename(tmp_path / "bounding_boxes_test")
    with pytest.raises(InputError, match=r"no folder 'bounding_box_test' but has 'bounding_boxes"):
        datasets.load("market1501", str(tmp_path))


@pytest.mark.parametrize(("left", "found"), [([], "nothing"), (["readme.txt"], "readme.txt")])
def test_market_part_without_pictures(tmp_path, left, found):
    make_market(tmp_path)
    (tmp_path / "query" / MARKET["query"][0]).unlink()
    make_files(tmp_path / "query", *left)
    with pytest.raises(InputError, match=f"query holds.*{found}"):
        datasets.load("market1501", str(tmp_path))


def test_image_folder_takes_pictures_at_any_depth_without_labels(tmp_path):
    make_files(tmp_path, "a.jpg", "x/y/z/b.PNG", "x/c.txt", ".hidden/d.jpg", "x/.e.jpg")
    splits = datasets.load("image_folder", str(tmp_path))
    assert rows(splits.train) == [("a.jpg", -1, -1), ("b.PNG", -1, -1)]
    assert (splits.train.track == -1).all()
    assert len(splits.query) == len(splits.gallery) == 0


def test_image_folder_numbers_tracks_within_a_video(tmp_path):
    make_files(
        tmp_path,
        "fr/paris/v1/000007_0000020_01.jpg",
        "fr/paris/v1/000007_0000040_03.jpg",
        "fr/paris/v1/000008_0000020_02.jpg",
        "fr/paris/v2/000007_0000020_01.jpg",
        "fr/paris/v2/00000020_0001.jpg",
    )
    table = datasets.load("image_folder", str(tmp_path)).train
    track = {
        path[len(str(tmp_path)) + 1 :]: t for path, t in zip(table.media, table.track, strict=True)
    }
    first = track["fr/paris/v1/000007_0000020_01.jpg"]
    assert track["fr/paris/v1/000007_0000040_03.jpg"] == first
    others = {
        track["fr/paris/v1/000008_0000020_02.jpg"],
        track["fr/paris/v2/000007_0000020_01.jpg"],
    }
    assert len(others | {first}) == 3
    assert track["fr/paris/v2/00000020_0001.jpg"] == -1


def test_image_folder_survives_links_that_loop(tmp_path):
    make_files(tmp_path, "a/one.jpg", "b/two.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "beside").symlink_to(tmp_path / "a")
    assert len(datasets.load("image_folder", str(tmp_path)).train) == 2


def test_image_folder_follows_a_link_out_of_the_root(tmp_path):
    make_files(tmp_path, "disk/one.jpg", "root/two.jpg")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "disk")
    assert len(datasets.load("image_folder", str(tmp_path / "root")).train) == 2


def test_image_folder_without_pictures(tmp_path):
    make_files(tmp_path, "x/readme.txt")
    with pytest.raises(InputError, match="no picture"):
        datasets.load("image_folder", str(tmp_path))


def test_unknown_name_gives_the_nearest():
    with pytest.raises(InputError, match="did you mean 'market1501'"):
        datasets.load("market", "/anywhere")


def test_several_roots_keep_query_and_gallery_numbers_together(tmp_path):
    first = make_market(tmp_path / "first")
    second = make_market(
        tmp_path / "second",
        bounding_box_test=["0001_c5s1_000401_01.png", "0900_c1s1_000401_01.png"],
    )
    splits = datasets.load("market1501", f"{second}, {first}")
    assert [len(t) for t in (splits.train, splits.query, splits.gallery)] == [4, 2, 4]
    pid = {
        path: p
        for t in (splits.query, splits.gallery)
        for path, p in zip(t.media, t.pid, strict=True)
    }
    for root in (first, second):
        query = pid[f"{root}/query/0001_c3s1_001051_00.JPG"]
        assert pid[f"{root}/bounding_box_test/0001_c5s1_000401_01.png"] == query
    assert len(set(splits.query.pid)) == 2
    assert splits.train.num_cameras == 4
    assert not np.intersect1d(splits.query.pid, splits.train.pid).size


@pytest.mark.parametrize("root", ["", " , "])
def test_no_root(root):
    with pytest.raises(InputError, match="`root` is"):
        datasets.load("market1501", root)


def test_root_given_twice(tmp_path):
    make_files(tmp_path, "a.jpg")
    with pytest.raises(InputError, match="twice"):
        datasets.load("image_folder", f"{tmp_path},{tmp_path}/../{tmp_path.name}")


def test_real_market_layout(real_data):
    splits = datasets.load("market1501", str(real_data / "pku_reid"))
    counts = [
        (len(t), t.num_ids, t.num_cameras) for t in (splits.train, splits.query, splits.gallery)
    ]
    assert counts == [(800, 50, 2), (48, 12, 2), (144, 12, 2)]


def test_real_image_folder(real_data):
    assert len(datasets.load("image_folder", str(real_data / "unlabeled_pretrain")).train) == 2132
