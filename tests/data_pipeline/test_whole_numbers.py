"""Numbers of more than 64 bits are named where they stand, whatever form they come in."""

import pickle
import re

import numpy as np
import pytest
import scipy.io

from data_pipeline import datasets, whole_numbers
from data_pipeline.crops import detections, gather
from data_pipeline.datasets import video_lists
from data_pipeline.errors import InputError
from data_pipeline.subsets import lists
from data_pipeline.synthetic import layouts
from data_pipeline.table import records
from luperson_jax.measure import embeddings

HUGE = 20210730114140123456  # a time with microseconds
SMALL = {"identities": 4, "cameras": 2, "height": 16, "width": 8, "images_per_camera": 1}


def rename(root, pattern, name):
    one = sorted(root.glob(pattern))[0]
    one.rename(one.with_name(name))
    return name


def line(path, text):
    path.write_text(path.read_text() + text)
    return path.name


CASES = {
    "identity of a name": (
        "market1501",
        "market1501",
        lambda root: rename(root, "query/*.jpg", f"{HUGE}_c1s1_000001_00.jpg"),
    ),
    "camera of a name": (
        "market1501",
        "market1501",
        lambda root: rename(root, "query/*.jpg", f"0001_c{HUGE}s1_000001_00.jpg"),
    ),
    "camera of a distractor": (
        "market1501_500k",
        "market1501_500k",
        lambda root: rename(root, "distractors/*.jpg", f"0000_c{HUGE}s1_000001_00.jpg"),
    ),
    "person of a crop": (
        "cuhk_sysu",
        "cuhk_sysu",
        lambda root: rename(root, "*/*.jpg", f"p{HUGE}_s1_1.jpg"),
    ),
    "line of a list": (
        "msmt17",
        "msmt17",
        lambda root: line(root / "list_train.txt", f"0000/x_000_01_0.jpg {HUGE}\n"),
    ),
    "line of thousands of digits": (
        "msmt17",
        "msmt17",
        lambda root: line(root / "list_train.txt", f"0000/x_000_01_0.jpg {'9' * 5000}\n"),
    ),
    "track of a name": (
        "luperson_nl",
        "luperson_nl",
        lambda root: rename(root, "*/*/*/*.jpg", f"{HUGE}_0000020_01.jpg"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_readers_name_the_file(case, tmp_path):
    layout, word, spoil = CASES[case]
    layouts.make(layout, tmp_path, **SMALL, frames=2)
    name = spoil(tmp_path)
    with pytest.raises(InputError, match=r"expected a whole number of 64 bits") as caught:
        datasets.load(word, str(tmp_path))
    assert name in str(caught.value)


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, HUGE, 10**30])
def test_a_column_of_large_numbers(number):
    where = "row {}".format
    with pytest.raises(InputError, match=rf"row 1 has the identity {number}; expected"):
        whole_numbers.column([5, number], "identity", where)
    as_text = str(number)
    with pytest.raises(InputError, match=f"there has the camera {number}"):
        whole_numbers.parse(as_text, "camera", "there")


def test_arrays_of_other_types():
    where = "row {}".format
    for values in ([1.0, 2.5], [1.0, np.nan], [1.0, np.inf], [1.0, 2.0**63]):
        with pytest.raises(InputError, match="row 1 has the camera"):
            whole_numbers.column(np.array(values), "camera", where)
    with pytest.raises(InputError, match=str(2**63)):
        whole_numbers.column(np.array([1, 2**63], np.uint64), "camera", where)
    limits = [-(2**63), 2**63 - 1, -1, 0]
    assert whole_numbers.column(limits, "camera", where).tolist() == limits
    assert [whole_numbers.parse(str(one), "camera", "") for one in limits] == limits
    assert whole_numbers.column(np.array([3.0, -1.0]), "camera", where).tolist() == [3, -1]
    with pytest.raises(ValueError, match="invalid literal"):
        whole_numbers.parse("seven", "camera", "")


def test_sources_whose_numbers_do_not_fit_together():
    tables = [records.make_table([(f"{name}.jpg", 2**62, 0, -1)]) for name in "abc"]
    with pytest.raises(InputError, match=r"b\.jpg, joined with others, has the identity"):
        records.concatenate(tables)
    assert records.concatenate(tables[:1]).pid.tolist() == [2**62]


def test_lists_of_frames_and_matrices(tmp_path):
    path = tmp_path / "traindata.txt"
    path.write_text(f"cam1/person_0001/0001.png 1 1 1\ncam1/person_0001/0002.png {HUGE} 1 1\n")
    with pytest.raises(InputError, match=f"line 2 has the tracklet {HUGE}"):
        video_lists.read_frames(str(path))
    scipy.io.savemat(tmp_path / "a.mat", {"track": np.array([[1.0, 2.0], [3.0, 1e20]])})
    with pytest.raises(InputError, match=r"track of .*a\.mat, row 2, column 2, has the number"):
        video_lists.read_matrix(str(tmp_path / "a.mat"), "track")


def test_lists_of_subsets(tmp_path):
    (tmp_path / "ids.txt").write_text(f"1\n{HUGE}\n")
    with pytest.raises(InputError, match=rf"ids\.txt, line 2.*identity {HUGE}"):
        lists.read_ids(tmp_path / "ids.txt")
    (tmp_path / "images.txt").write_text(f"a.jpg; {HUGE}; 0\n")
    with pytest.raises(InputError, match=rf"images\.txt, line 1.*label {HUGE}"):
        lists.read_images(tmp_path / "images.txt")


def test_key_lists_detections_and_crops(tmp_path):
    layouts.make("luperson_nl_lmdb", tmp_path / "packed", **SMALL, frames=1)
    (keys,) = (tmp_path / "packed").rglob("keys.pkl")
    content = pickle.loads(keys.read_bytes())
    content["pids"] = [2**63, *content["pids"][1:]]
    keys.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=re.escape(str(keys))):
        datasets.load("luperson_nl", str(tmp_path / "packed"))
    boxes = {1: [(0, {"bbox": (0, 0, 2, 2), "pid": HUGE})]}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(boxes))
    with pytest.raises(InputError, match=f"{HUGE} has more than 64 bits"):
        detections.read(str(tmp_path / "a.pkl"), with_ids=True)
    crop = tmp_path / "crops" / "country" / "city" / "id" / f"{HUGE}_0000001_01.jpg"
    crop.parent.mkdir(parents=True)
    crop.write_bytes(b"")
    with pytest.raises(InputError, match=f"jpg has the identity {HUGE}"):
        gather.gather(str(tmp_path / "crops"), str(tmp_path / "out"), "luperson_nl")


def test_saved_embeddings(tmp_path):
    pid = np.array([1, 2**63], np.uint64)
    columns = {"features": np.eye(2, dtype=np.float32), "pid": pid, "camera": np.zeros(2, np.int8)}
    np.savez(tmp_path / "a.npz", **columns)
    with pytest.raises(InputError, match=rf"row 1 of .*a\.npz has the pid {2**63}"):
        embeddings.read(tmp_path / "a.npz", labelled=True)
