"""Files of local labels: ours both ways, those of CALR's authors, and what is refused."""

import pathlib

import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.table.paths import Paths
from data_pipeline.table.records import Table
from luperson_jax.clustering import local_labels

NAMES = ["0002_c1s1_000451_03.jpg", "0002_c2s1_000301_01.jpg", "0007_c1s1_028546_01.jpg"]


def table_of(paths, camera):
    numbers = np.arange(len(paths))
    return Table(Paths.of(paths), numbers, np.array(camera), numbers)


def market(root="/here/Market", names=NAMES):
    return table_of([f"{root}/bounding_box_train/{name}" for name in names], [0, 1, 0])


def write_authors(folder, rows):
    """Their layout: a string array for each camera, paths of another disk."""
    for camera in {row[2] for row in rows}:
        place = folder / f"cam{int(camera) + 1}"
        place.mkdir(parents=True)
        np.save(place / "pseudo_label.npy", np.array([row for row in rows if row[2] == camera]))


def test_what_is_written_is_read_in_any_order_and_place(tmp_path):
    labels = np.array([4, -1, 0])
    local_labels.write(tmp_path / "labels.npz", market(), labels)
    order = np.array([2, 0, 1])
    moved = market("/there/m").take(order)
    np.testing.assert_array_equal(local_labels.read(tmp_path / "labels.npz", moved), labels[order])
    few = market().take(np.array([1, 1]))  # a part, repeated
    np.testing.assert_array_equal(local_labels.read(tmp_path / "labels.npz", few), [-1, -1])


def test_folders_tell_equal_names_apart(tmp_path):
    table = table_of(["/a/0001/1.jpg", "/a/0002/1.jpg"], [0, 0])
    local_labels.write(tmp_path / "labels.npz", table, np.array([3, 5]))
    with np.load(tmp_path / "labels.npz") as stored:
        assert stored["name"].tolist() == ["0001/1.jpg", "0002/1.jpg"]
    np.testing.assert_array_equal(local_labels.read(tmp_path / "labels.npz", table), [3, 5])


def test_files_of_the_authors_are_read(tmp_path):
    paths = [f"/data/lpn/Market/bounding_box_train/{name}" for name in NAMES]
    rows = [[paths[0], "82", "0"], [paths[1], "7", "1"], [paths[2], "0", "0"]]
    write_authors(tmp_path / "market", rows)
    np.testing.assert_array_equal(local_labels.read(tmp_path / "market", market()), [82, 7, 0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": np.array(["other.jpg"] * 2 + ["more.jpg"])}, "different"),
        ({"name": np.array([f"x{name}" for name in NAMES])}, "no label of 3 of 3 training images"),
        ({"camera": np.array([0, 0, 1])}, "made for other images"),
        ({"label": np.array([0, 1])}, "expected name, camera, label"),
        ({"label": np.array(["a", "b", "c"])}, "no number"),
        ({"label": np.array([0, 1, -2])}, "the label -2"),
        ({"name": np.arange(3)}, "no names"),
        ({"name": np.array(NAMES, object)}, "objects"),
        (None, "expected name, camera, label"),
    ],
)
def test_other_files_are_refused(tmp_path, change, words):
    columns = {"name": np.array(NAMES), "camera": np.array([0, 1, 0]), "label": np.arange(3)}
    np.savez(tmp_path / "labels.npz", **({} if change is None else columns | change))
    with pytest.raises(InputError, match=words):
        local_labels.read(tmp_path / "labels.npz", market())


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="without any pseudo_label"):
        local_labels.read(tmp_path, market())
    np.save(tmp_path / "pseudo_label.npy", np.arange(6).reshape(2, 3))
    with pytest.raises(InputError, match="rows of path, label and camera"):
        local_labels.read(tmp_path, market())
    np.save(tmp_path / "pseudo_label.npy", np.array([["a", 1, 2]], object))
    with pytest.raises(InputError, match="objects"):
        local_labels.read(tmp_path, market())
    with pytest.raises(InputError, match="missing"):
        local_labels.read(pathlib.Path("missing"), market())
