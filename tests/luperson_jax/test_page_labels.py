"""Identities by hand: merge, split, name, undo; and the files that they leave in."""

import csv
import io
import json

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra `ui` is not installed")

from data_pipeline.errors import InputError
from luperson_jax.page import edits, label_files, views
from luperson_jax.page.gallery import Gallery
from luperson_jax.page.labelling import History, Labelling
from tests import page_worlds


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return page_worlds.make(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module", params=[False, True], ids=["pictures", "tracklets"])
def gallery(request, index):
    return Gallery.of(index, tracklets=request.param)


START = Labelling(np.array([0, 0, 1, 1, 2, -1]), {1: "Ada", 2: "Bo"})


def test_merging_and_splitting_keep_everybody():
    merged = START.merged(0, 1)
    assert merged.labels.tolist() == [0, 0, 0, 0, 2, -1]
    assert merged.names == {0: "Ada", 2: "Bo"}  # the name comes along
    assert START.merged(1, 2).names == {1: "Ada"}  # unless there is one
    split = merged.moved(np.array([2, 3]), None)
    assert split.labels.tolist() == [0, 0, 3, 3, 2, -1]
    assert START.moved(np.array([4]), -1).names == {1: "Ada"}  # an empty identity is none
    assert START.moved(np.array([5]), 1).members(1).tolist() == [2, 3, 5]
    assert START.labels.tolist() == [0, 0, 1, 1, 2, -1]
    assert [START.title(one) for one in (0, 1, -1)] == ["identity 0", "Ada", "nobody yet"]
    assert START.named(1, "").names == {2: "Bo"}
    assert START.numbers() == [0, 1, 2]
    for wrong in (
        lambda: START.merged(0, 0),
        lambda: START.merged(0, 9),
        lambda: START.named(7, "a"),
    ):
        with pytest.raises(InputError, match=r"itself|no identity"):
            wrong()


def test_changes_are_taken_back_one_by_one():
    history = History(START)
    history.change("one", lambda now: now.merged(0, 1))
    history.change("two", lambda now: now.moved(np.array([0]), None))
    with pytest.raises(InputError):
        history.change("wrong", lambda now: now.merged(5, 5))
    assert (history.num_changes, history.last) == (2, "two")
    assert [history.undo(), history.undo()] == ["two", "one"]
    assert history.now is START
    with pytest.raises(InputError, match="nothing to undo"):
        history.undo()


def test_a_tracklet_has_the_mean_of_its_frames(index):
    tracks = Gallery.of(index, tracklets=True)
    assert len(tracks) == page_worlds.PEOPLE * page_worlds.TRACKS
    means = index.parts[0].reshape(len(tracks), page_worlds.FRAMES, -1).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(tracks.index.features(), means, atol=1e-6)
    assert tracks.place(6) == 1  # any frame names its tracklet
    assert tracks.keys(1) == tuple(index.columns.key[4:8])
    item = tracks.describe(1)
    assert (item.number, item.name, item.camera, item.num_frames) == (4, "0/c2", 2, 4)
    assert str(item) == "0/c2, camera 2, 2026-11-29 04:00:00, 4 frames"
    with pytest.raises(InputError, match="no picture of this index has the number 24"):
        tracks.place(24)
    with pytest.raises(InputError, match="holds no picture"):
        Gallery.of(index.remove(index.columns.id))


def test_similar_items_are_grouped_at_the_start(gallery):
    found = views.start_labelling(gallery).labels
    person = np.repeat(np.arange(3), len(gallery) // 3)
    for label in np.unique(found):
        assert len(np.unique(person[found == label])) == 1


def test_labels_leave_and_come_back(gallery, tmp_path):
    labels = np.arange(len(gallery)) // 2
    labels[-1] = -1
    given = Labelling(labels, {1: '=Ada, or "Bo"'})
    for name, write in (("a.csv", label_files.as_csv), ("a.json", label_files.as_json)):
        (tmp_path / name).write_text(write(gallery, given))
        found = label_files.read(str(tmp_path / name), gallery)
        assert found.labels.tolist() == labels.tolist()
        assert found.names == given.names
    lines = list(csv.DictReader(io.StringIO(label_files.as_csv(gallery, given))))
    assert len(lines) == 24  # a tracklet's frames have a line each
    assert lines[0]["time"] == "2026-11-29 00:00:00"
    assert (lines[0]["identity"], lines[-1]["identity"]) == ("0", "")
    assert lines[0]["key"] == gallery.pictures.key[0]


def test_wrong_files_of_labels_are_told(gallery, tmp_path):
    key = str(gallery.pictures.key[0])
    for name, text, words in (
        ("a.csv", "key,identity\nother.png,3\n", "names no picture"),
        ("a.csv", f'key,identity\n"{key}",x\n', "cannot be read"),
        ("a.csv", f'key,identity\n"{key}",-7\n', "cannot be read"),
        ("a.csv", f'key,who\n"{key}",1\n', "expected a .csv with the columns"),
        ("a.json", json.dumps({"clusters": [{"cluster": 0}], "outliers": []}), "cannot be read"),
        ("a.json", "[]", "a.json"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=words):
            label_files.read(str(tmp_path / name), gallery)


def test_forms_change_identities(index):
    gallery = Gallery.of(index)
    history = History(Labelling(np.repeat([0, 1, 2], 8)))

    def send(*pairs):
        return edits.change(gallery, history, pairs)

    assert send(("action", "merge"), ("identity", "0"), ("to", "2")) == "/identities/0"
    assert history.now.numbers() == [0, 1]
    assert send(("action", "new"), ("identity", "0"), ("id", "3"), ("id", "4")) == "/identities/2"
    assert history.now.members(2).tolist() == [3, 4]
    assert send(("action", "move"), ("id", "3"), ("id", "4"), ("identity", "2"), ("to", "1")) == (
        "/identities"  # nothing is left there
    )
    assert send(("action", "nobody"), ("id", "3"), ("identity", "1")) == "/identities/1"
    assert send(("action", "join"), ("query", "3"), ("id", "4")) == "/identities/2"  # a new one
    assert send(("action", "join"), ("query", "0"), ("id", "4")) == "/identities/0"
    assert send(("action", "name"), ("identity", "0"), ("name", "  Ada \n L ")) == "/identities/0"
    assert history.now.title(0) == "Ada L"
    assert history.last == "naming 0"
    assert send(("action", "undo")) == "/labels"
    assert history.now.title(0) == "identity 0"
    for wrong in (
        [("action", "new")],
        [("action", "join"), ("query", "0")],
        [("action", "move"), ("id", "1"), ("to", "77")],
        [("action", "new"), ("id", "../1")],
        [("action", "delete")],
        [],
    ):
        before = history.now
        with pytest.raises(InputError):
            send(*wrong)
        assert history.now is before
