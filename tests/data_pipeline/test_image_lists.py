"""MSMT17 and the other sets whose lists or single folder tell who is who."""

import pathlib
import shutil

import pytest

from data_pipeline import datasets
from data_pipeline.datasets import msmt17
from data_pipeline.errors import InputError
from tests.image_sets import THREE, counts, draw, parts, rows, touch


def msmt_expected(root: pathlib.Path, lists: list[str], shift: int) -> list[tuple[str, int, int]]:
    found = []
    for name in lists:
        for line in (root / f"list_{name}.txt").read_text().split("\n")[:-1]:
            path, pid = line.split(" ")
            file = path.split("/")[1]
            found.append((file, int(pid) + shift, int(file.split("_")[2]) - 1))
    return sorted(found)


@pytest.mark.parametrize("layout", ["msmt17", "msmt17_v2"])
def test_msmt17_lists(tmp_path, layout):
    root = draw(layout, tmp_path / "set")
    whole = datasets.load("msmt17", str(root))
    alone = datasets.load("msmt17_train", str(root))
    assert rows(whole.train) == msmt_expected(root, ["train", "val"], 0)
    assert rows(alone.train) == msmt_expected(root, ["train"], 0)
    for splits in (whole, alone):
        assert rows(splits.query) == msmt_expected(root, ["query"], 3)
        assert rows(splits.gallery) == msmt_expected(root, ["gallery"], 3)
    assert all(pathlib.Path(path).is_file() for table in parts(whole) for path in table.media)


def test_msmt17_numbers_mean_one_person_also_when_repackaged(tmp_path):
    splits = datasets.load("msmt17", str(draw("msmt17_repackaged", tmp_path / "packed")))
    release = datasets.load("msmt17", str(draw("msmt17", tmp_path / "release")))
    assert counts(splits) == counts(release)
    assert sorted(set(splits.train.pid)) == [0, 1, 2]
    assert sorted(set(splits.query.pid)) == sorted(set(splits.gallery.pid)) == [3, 4, 5, 6]
    root = tmp_path / "numbered_on"
    touch(root, ["bounding_box_train/0002_c1_0001.jpg", "query/0009_c1_0001.jpg"])
    touch(root, ["bounding_box_test/0009_c2_0001.jpg"])
    assert datasets.load("msmt17", str(root)).query.pid.tolist() == [9]


def test_msmt17_lists_with_windows_line_ends_and_blank_lines(tmp_path):
    root = draw("msmt17", tmp_path / "set")
    before = datasets.load("msmt17", str(root))
    for path in root.glob("list_*.txt"):
        lines = path.read_text().replace("\n", " \r\n")
        path.write_bytes(b"\xef\xbb\xbf\r\n" + lines.encode() + b"\r\n \r\n")
    after = datasets.load("msmt17", str(root))
    assert [table.fingerprint() for table in parts(after)] == [
        table.fingerprint() for table in parts(before)
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0000/0000_000_16_0303morning_0008_0.jpg 0", "no camera from 1 to 15"),
        ("0000/0000_c1_0008.jpg 0", "no camera from 1 to 15"),
        ("0000/0000_000_01_0303morning_0008_0.jpg", "line 2 of .*list_query.txt is '0000/0000"),
        ("0000/0000_000_01_0303morning_0008_0.jpg x", "line 2 of"),
        ("0000/0000_000_02_0909night_0008_0.jpg 0", "lacks 1 of the 13 pictures .*0909night"),
    ],
)
def test_msmt17_line_that_does_not_fit(tmp_path, line, message):
    root = draw("msmt17", tmp_path / "set")
    path = root / "list_query.txt"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, f"{line}\n", *others]))
    if "lacks" not in message and "jpg 0" in line:
        touch(root / "test", [line.split()[0]])
    with pytest.raises(InputError, match=message):
        datasets.load("msmt17", str(root))


def test_msmt17_version(tmp_path):
    first, second = (
        draw("msmt17", tmp_path / "a/MSMT17_V1"),
        draw("msmt17_v2", tmp_path / "b/MSMT17_V2"),
    )
    packed = draw("msmt17_repackaged", tmp_path / "c/MSMT17_V1")
    for root, expected in ((first, "V1"), (second, "V2"), (packed, "repackaged")):
        assert msmt17.version(str(root)) == msmt17.version(str(root.parent)) == expected
    with pytest.raises(InputError, match=r"nothing tells which .*use msmt17"):
        datasets.load("msmt17_train", str(packed))
    with pytest.raises(InputError, match=r"names tell no .* of MSMT17"):
        msmt17.version(str(draw("market1501", tmp_path / "market")))
    first.rename(tmp_path / "b" / "MSMT17_V1")
    with pytest.raises(InputError, match=r"V1 in .*MSMT17_V1 and V2 in .*MSMT17_V2"):
        msmt17.version(str(tmp_path / "b"))
    assert msmt17.version(str(second)) == "V2"
    second.rename(tmp_path / "MSMT17_V1")
    assert msmt17.version(str(tmp_path)) == "V2", "told by the folders, not by the name"


def test_msmt17_mixed_folders(tmp_path):
    root = draw("msmt17", tmp_path / "set")
    packed = draw("msmt17_repackaged", tmp_path / "packed")
    for part in THREE:
        (packed / part).rename(root / part)
    assert msmt17.version(str(root)) == "V1"
    for old, new in (("train", "mask_train_v2"), ("test", "mask_test_v2")):
        shutil.copytree(root / old, root / new)
    with pytest.raises(InputError, match="more than one release"):
        msmt17.version(str(root))
    shutil.rmtree(root / "test")
    shutil.rmtree(root / "mask_train_v2")
    for part in THREE:
        shutil.rmtree(root / part)
    with pytest.raises(InputError, match="looks like MSMT17_V1 but lacks test; expected"):
        msmt17.version(str(root))
    with pytest.raises(InputError, match="holds no MSMT17"):
        msmt17.version(str(touch(tmp_path / "empty", ["a.txt"])))


def test_vehicleid_gallery_is_one_picture_of_each(tmp_path):
    root = draw("vehicleid", tmp_path / "set")
    splits = datasets.load("vehicleid_800", str(root))
    train, query, gallery = parts(splits)
    assert [len(table) for table in parts(splits)] == [18, 20, 4]
    assert sorted(gallery.pid) == [4, 5, 6, 7]
    assert not {*query.media} & {*gallery.media}
    assert set(query.camera) == {0}, "a query and its match must not have one camera"
    assert set(gallery.camera) == {1}
    assert set(train.camera) == {-1}
    lists = root / "train_test_split"
    pids = dict(line.split() for line in (lists / "test_list_800.txt").read_text().splitlines())
    for name, pid, _ in rows(query) + rows(gallery):
        assert int(pids[name[:-4]]) == pid
    lines = (lists / "test_list_800.txt").read_text().splitlines()
    (lists / "test_list_800.txt").write_text("\r\n".join(reversed(lines)))
    again = datasets.load("vehicleid", str(root))
    assert rows(again.gallery) == rows(gallery), "the draw depends on numbers alone"


def test_cuhk_sysu_is_for_training(tmp_path):
    root = draw("cuhk_sysu", tmp_path / "set")
    touch(root / "cropped_images", ["p-1_s00001_1.jpg"])
    splits = datasets.load("cuhk_sysu", str(root))
    assert counts(splits) == [(42, 7), (0, 0), (0, 0)]
    assert all(int(name.split("_")[0][1:]) == pid for name, pid, _ in rows(splits.train))
    assert set(splits.train.camera) == {-1}
    inside = datasets.load("cuhk_sysu", str(root / "cropped_images"))
    assert list(inside.train.media) == list(splits.train.media)
    touch(root / "cropped_images", ["s1.jpg"])
    with pytest.raises(InputError, match=r"1 pictures .*s1\.jpg"):
        datasets.load("cuhk_sysu", str(root))
