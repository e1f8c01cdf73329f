"""Saved embeddings: what comes back, what may be missing, and what is said of damaged files."""

import dataclasses
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from data_pipeline.errors import InputError
from luperson_jax.measure import embeddings
from luperson_jax.structs import EmbeddingSet


def embedded(num=5, labelled=True, keys=True) -> EmbeddingSet:
    generator = np.random.default_rng(num)
    return EmbeddingSet(
        generator.standard_normal((num, 3)).astype(np.float32),
        generator.integers(-1, 4, num) if labelled else np.full(num, -1),
        generator.integers(0, 3, num) if labelled else np.full(num, -1),
        tuple(f"crops/ü {row}.jpg" if keys else "" for row in range(num)),
    )


def assert_same(left: EmbeddingSet, right: EmbeddingSet) -> None:
    for name in ("features", "pid", "camera"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    assert left.key == right.key


@pytest.mark.parametrize("name", ["set.npz", "set"])
@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
def test_what_was_saved_comes_back(tmp_path, name, labelled, keys):
    before = embedded(labelled=labelled, keys=keys)
    embeddings.write(tmp_path / name, before)
    assert_same(embeddings.read(tmp_path / name, labelled=labelled), before)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["set.npz", "set"])
def test_file_names_that_are_not_utf8_come_back(tmp_path, name):
    before = dataclasses.replace(embedded(2), key=("a", "b\udcc8"))
    embeddings.write(tmp_path / name, before)
    assert embeddings.read(tmp_path / name, labelled=False).key == before.key


@pytest.mark.parametrize("name", ["set.npz", "set"])
def test_the_frames_of_tracklets_come_back(tmp_path, name):
    frames = (("a/1.jpg", "a/2.jpg"), ("ü.jpg",))
    before = dataclasses.replace(embedded(2), frames=frames)
    embeddings.write(tmp_path / name, before)
    after = embeddings.read(tmp_path / name, labelled=False)
    assert after.frames == frames
    assert after.take(np.array([1])).shown(0) == ("ü.jpg",)
    both = embeddings.join([embedded(1), after])
    assert both.frames == (("crops/ü 0.jpg",), *frames)


def test_features_of_a_folder_stay_on_disk(tmp_path):
    embeddings.write(tmp_path / "set", embedded())
    assert isinstance(embeddings.read(tmp_path / "set", labelled=True).features, np.memmap)


def test_the_folder_is_plain_for_others(tmp_path):
    before = embedded()
    embeddings.write(tmp_path / "set", before)
    np.testing.assert_array_equal(np.load(tmp_path / "set" / "features.npy"), before.features)
    index = pyarrow.parquet.read_table(tmp_path / "set" / "index.parquet")
    assert index.column("key").to_pylist() == list(before.key)
    assert index.column("pid").to_pylist() == before.pid.tolist()


def test_other_integers_and_floats_are_welcome(tmp_path):
    before = embedded()
    np.savez(
        tmp_path / "a.npz",
        features=before.features.astype(np.float16),
        pid=(before.pid + 1).astype(np.uint8),
        camera=before.camera.astype(np.int32),
    )
    after = embeddings.read(tmp_path / "a.npz", labelled=True)
    assert (after.features.dtype, after.pid.dtype) == (np.float16, np.int64)
    np.testing.assert_array_equal(after.pid, before.pid + 1)


def test_unknown_identities_are_minus_one_and_refused_where_needed(tmp_path):
    for name in ("set.npz", "set"):
        embeddings.write(tmp_path / name, embedded(labelled=False))
        assert embeddings.read(tmp_path / name, labelled=False).pid.tolist() == [-1] * 5
        with pytest.raises(InputError, match=rf"{name} has no pid; identities and cameras are"):
            embeddings.read(tmp_path / name, labelled=True)
    before = embedded()
    np.savez(tmp_path / "b.npz", features=before.features, pid=np.full(5, -1), camera=before.camera)
    with pytest.raises(InputError, match=r"every pid of .*b\.npz is -1"):
        embeddings.read(tmp_path / "b.npz", labelled=True)


GOOD = {
    "features": np.zeros((4, 3), np.float32),
    "pid": np.arange(4),
    "camera": np.zeros(4, np.int64),
}
WRONG = {
    "no features": ({"features": None, "feat": np.zeros((4, 3))}, "no array 'features' .*feat"),
    "no pid": ({"pid": None}, "has no pid"),
    "no camera": ({"camera": None}, "has no camera"),
    "features of one dimension": ({"features": np.zeros(4, np.float32)}, r"shape \(4,\)"),
    "features of integers": ({"features": np.zeros((4, 3), np.int32)}, "type int32"),
    "too few pid": ({"pid": np.arange(3)}, r"pid of .*shape \(3,\).*expected 4"),
    "pid in a column": ({"pid": np.zeros((4, 1), np.int64)}, r"pid of .*shape \(4, 1\)"),
    "pid of text": ({"pid": np.array(list("abcd"))}, "pid of .*type <U1"),
    "camera of floats": ({"camera": np.zeros(4)}, "camera of .*type float64"),
    "objects": ({"pid": np.array([1, None, 2, 3])}, "pid.*cannot be read.*objects"),
    "features of no dimension": ({"features": np.zeros((4, 0), np.float32)}, r"shape \(4, 0\)"),
    "too few keys": ({"key": np.array(["a"])}, "key of .*expected 4 strings"),
    "keys of numbers": ({"key": np.arange(4)}, "key of .*type int64"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_named(tmp_path, case):
    changes, message = WRONG[case]
    arrays = {name: array for name, array in {**GOOD, **changes}.items() if array is not None}
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message) as caught:
        embeddings.read(path, labelled=True)
    assert str(path) in str(caught.value)


def test_damaged_and_foreign_files(tmp_path):
    with pytest.raises(InputError, match=r"absent\.npz does not exist; expected a \.npz with"):
        embeddings.read(tmp_path / "absent.npz", labelled=True)
    np.savez(tmp_path / "whole.npz", **GOOD)
    data = (tmp_path / "whole.npz").read_bytes()
    middle = len(data) // 5  # inside the features
    for name, wrong in {
        "cut": data[: len(data) // 2],
        "empty": b"",
        "words": b"not a file of NumPy",
        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
    }.items():
        (tmp_path / f"{name}.npz").write_bytes(wrong)
        with pytest.raises(InputError, match=rf"{name}\.npz cannot be read"):
            embeddings.read(tmp_path / f"{name}.npz", labelled=True)
    with (tmp_path / "one.npz").open("wb") as stream:
        np.save(stream, GOOD["features"])
    with pytest.raises(InputError, match=r"one\.npz cannot be read .*no zip"):
        embeddings.read(tmp_path / "one.npz", labelled=True)


def test_damaged_folders(tmp_path):
    folder = tmp_path / "set"
    embeddings.write(folder, embedded())
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    for path, data in whole.items():
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=rf"{path.name} cannot be read"):
            embeddings.read(folder, labelled=True)
        path.unlink()
        with pytest.raises(InputError, match=rf"has no {re.escape(path.name)}"):
            embeddings.read(folder, labelled=True)
        path.write_bytes(data)
    index = folder / "index.parquet"
    pyarrow.parquet.write_table(pa.table({"key": ["a"]}), index)
    with pytest.raises(InputError, match=r"key of .*shape \(1,\).*expected 5"):
        embeddings.read(folder, labelled=False)
    column = pa.array([1, 2, None, 4, 5])
    pyarrow.parquet.write_table(pa.table({"pid": column, "camera": column}), index)
    with pytest.raises(InputError, match=r"column pid .* has 1 empty places"):
        embeddings.read(folder, labelled=True)


def test_nothing_is_overwritten(tmp_path):
    for name in ("set.npz", "set"):
        embeddings.write(tmp_path / name, embedded())
        with pytest.raises(InputError, match="exists; delete it"):
            embeddings.write(tmp_path / name, embedded(6))
        assert len(embeddings.read(tmp_path / name, labelled=True).pid) == 5
        with pytest.raises(InputError, match=r"no folder .*none"):
            embeddings.write(tmp_path / "none" / name, embedded())
