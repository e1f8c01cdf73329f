import fnmatch
import functools
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
import scipy.io

from data_pipeline import datasets
from data_pipeline.datasets import mars
from data_pipeline.errors import InputError
from data_pipeline.synthetic import layouts
from data_pipeline.table import frames
from tests.video_sets import NUM_TEST, NUMBERS, SIZE, Worlds, change, num_tracks, rows, write_matrix

WORDS = {
    "prid2011": ("prid2011", "prid2011_json"),
    "ilids_vid": ("ilids_vid", "ilids_vid_mat"),
    "mars": ("mars", "mars_pytorch"),
    "video": ("mars", "mars_pytorch"),
    "dukemtmc_videoreid": ("dukemtmc_videoreid", "dukemtmc_videoreid_merged"),
}
ALL_WORDS = [(layout, word) for layout, words in WORDS.items() for word in words]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    return Worlds(tmp_path_factory.mktemp("video"))


@pytest.fixture
def copy(worlds, tmp_path):
    return functools.partial(worlds.copy, folder=tmp_path)


@pytest.mark.parametrize(("layout", "word"), ALL_WORDS)
def test_tables_of_every_word(worlds, layout, word):
    root = worlds(layout)
    last = datasets.find(word).num_splits - 1
    for split in {0, last}:
        splits = datasets.load(word, str(root), split=split)
        people = {}
        for part in ("train", "query", "gallery"):
            table = getattr(splits, part)
            people[part] = set(table.pid.tolist())
            assert all(pathlib.Path(path).is_file() for path in table.media)
            assert min(people[part]) >= 0, "nobody is left out"
            assert table.camera.min() >= 0
            listed = frames.Tracklets.of(table)
            assert listed.length.sum() == len(table)
            for number in range(len(listed)):
                of_it = table.take(listed.frames(number))
                assert len({*zip(of_it.pid, of_it.camera, of_it.track, strict=True)}) == 1
                files = [path.split("/")[-1] for path in of_it.media]
                assert files == sorted(files)
                assert len({os.path.dirname(path) for path in of_it.media}) == 1
        assert not people["train"] & (people["query"] | people["gallery"])
        assert people["query"] <= people["gallery"]
        assert 0 < len(people["query"]) < SIZE["identities"]


@pytest.mark.parametrize(("layout", "word"), ALL_WORDS)
def test_markers_are_in_every_layout(worlds, layout, word):
    root = worlds(layout)
    below = [str(path.relative_to(root)) for path in root.rglob("*")]
    for marker in datasets.find(word).markers:
        assert any(fnmatch.filter(below, pattern) for pattern in marker.split("|")), marker


@pytest.mark.parametrize(("layout", "word"), ALL_WORDS)
def test_order_of_files_on_disk_does_not_matter(worlds, layout, word, monkeypatch):
    root = str(worlds(layout))
    expected = datasets.load(word, root)
    real_listing, real_scan = os.listdir, os.scandir

    class Reversed(list):
        def __enter__(self):
            return iter(self)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "listdir", lambda path: sorted(real_listing(path), reverse=True))
    monkeypatch.setattr(
        os,
        "scandir",
        lambda path: Reversed(sorted(real_scan(path), key=lambda e: e.name, reverse=True)),
    )
    for one, other in zip(
        vars(datasets.load(word, root)).values(), vars(expected).values(), strict=True
    ):
        assert one.fingerprint() == other.fingerprint()
        np.testing.assert_array_equal(one.track, other.track)


@pytest.mark.parametrize(("layout", "word"), ALL_WORDS)
def test_a_folder_of_something_else_is_refused(tmp_path, layout, word):
    (tmp_path / "holiday").mkdir()
    with pytest.raises(InputError, match=r"not in the layout of .*holiday"):
        datasets.load(word, str(tmp_path))


DUKE_NAME = re.compile(r"(\w+)/(\d{4})/(\d{4})/\2_C(\d)_F(\d{4})_([XD])(\d+)\.jpg")


def duke_rows(root, *parts):
    """The slow twin: every file by its own name."""
    found = []
    for part in parts:
        for path in (root / part).rglob("*.jpg"):
            match = DUKE_NAME.fullmatch(str(path.relative_to(root)))
            found.append((match[0], int(match[2]), int(match[4]) - 1))
    return sorted(found)


def test_duke_tables(worlds):
    root = worlds("dukemtmc_videoreid")
    splits = datasets.load("dukemtmc_videoreid", str(root))
    for part in ("train", "query", "gallery"):
        assert rows(getattr(splits, part), root) == duke_rows(root, part)
    merged = datasets.load("dukemtmc_videoreid_merged", str(root))
    assert rows(merged.gallery, root) == duke_rows(root, "query", "gallery")
    assert rows(merged.query, root) == rows(splits.query, root)
    counts = [num_tracks(t) for t in (splits.train, splits.query, splits.gallery, merged.gallery)]
    assert counts == [3 * 3 * 2, NUM_TEST, 2 * NUM_TEST + 2, 3 * NUM_TEST + 2]
    strangers = np.setdiff1d(splits.gallery.pid, splits.query.pid)
    assert len(strangers) == 2


def test_duke_tracklets_of_query_and_gallery_are_numbered_together(worlds):
    splits = datasets.load("dukemtmc_videoreid_merged", str(worlds("dukemtmc_videoreid")))
    gallery = {p: t for p, t in zip(splits.gallery.media, splits.gallery.track, strict=True)}
    assert [gallery[path] for path in splits.query.media] == splits.query.track.tolist()
    assert set(splits.gallery.track) == set(range(num_tracks(splits.gallery)))
    heads = frames.Tracklets.of(splits.gallery).heads
    by_number = heads.take(np.argsort(heads.track))
    pairs = list(zip(by_number.pid, by_number.camera, strict=True))
    assert pairs == sorted(pairs), "in the order of the published list"


def test_duke_tracklets_may_begin_late_and_have_gaps(worlds):
    table = datasets.load("dukemtmc_videoreid", str(worlds("dukemtmc_videoreid"))).train
    listed = frames.Tracklets.of(table)
    seen = {
        tuple(int(re.search(r"_F(\d+)", table.media[row])[1]) for row in listed.frames(number))
        for number in range(len(listed))
    }
    assert seen == {(1, 2, 3), (2, 4, 5)}


def test_duke_names_of_the_first_generation(copy):
    root = copy("dukemtmc_videoreid")
    expected = datasets.load("dukemtmc_videoreid", str(root))
    for path in list(root.rglob("*.jpg")):
        path.rename(path.with_name(path.name.replace("_", "")))
    found = datasets.load("dukemtmc_videoreid", str(root))
    for part in ("train", "query", "gallery"):
        one, other = getattr(found, part), getattr(expected, part)
        old_names = [(path.replace("_", ""), *rest) for path, *rest in rows(other, root)]
        assert rows(one, root) == sorted(old_names)
        assert num_tracks(one) == num_tracks(other)


def test_duke_below_the_folder_of_its_archive(copy):
    root = copy("dukemtmc_videoreid")
    expected = datasets.load("dukemtmc_videoreid", str(root)).train.fingerprint()
    inner = root / "DukeMTMC-VideoReID"
    inner.mkdir()
    for part in ("train", "query", "gallery"):
        (root / part).rename(inner / part)
    assert datasets.load("dukemtmc_videoreid", str(root)).train.fingerprint() == expected
    shutil.rmtree(inner / "query")
    with pytest.raises(InputError, match="'query'; its folders are: gallery, train"):
        datasets.load("dukemtmc_videoreid", str(root))


def duke_tracklet(root):
    return sorted((root / "train").glob("*/*"))[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: [p.unlink() for p in folder.iterdir()], "holds no picture"),
        (lambda folder: (folder / "0001.jpg").touch(), "1 pictures whose names .*: 0001.jpg"),
        (lambda folder: (folder / "0009_C1_F0009_X9.jpg").touch(), "person 0001"),
        (lambda folder: (folder / "0001_C2_F0009_X9.jpg").touch(), "cameras 1, 2"),
        (lambda folder: shutil.rmtree(folder.parents[1]), "expected the folders train"),
        (
            lambda folder: [shutil.rmtree(p) for p in folder.parents[1].iterdir()],
            "train holds no folder of a person",
        ),
    ],
)
def test_damaged_duke(copy, damage, message):
    root = copy("dukemtmc_videoreid")
    (duke_tracklet(root) / "._0001_C1_F0001_X9990.jpg").touch()
    (duke_tracklet(root) / "Thumbs.db").touch()
    assert len(datasets.load("dukemtmc_videoreid", str(root)).train) == 3 * 3 * 2 * 3
    damage(duke_tracklet(root))
    with pytest.raises(InputError, match=message):
        datasets.load("dukemtmc_videoreid", str(root))


def mars_rows(root, part, wanted):
    """The slow twin: file names tell person and camera; `wanted` chooses by the pid."""
    found = []
    for path in (root / f"bbox_{part}").rglob("*.jpg"):
        match = re.fullmatch(r"(00-1|\d{4})C(\d)T(\d{4})F(\d{3})\.jpg", path.name)
        pid = -1 if match[1] == "00-1" else int(match[1])
        if wanted(pid, int(match[3])):
            found.append((str(path.relative_to(root)), pid, int(match[2]) - 1))
    return sorted(found)


def test_mars_tables_by_both_protocols(worlds):
    root = worlds("mars")
    official, pytorch = (datasets.load(word, str(root)) for word in WORDS["mars"])
    query = mars_rows(root, "test", lambda pid, pass_: pid > 0 and pass_ == 1)
    for splits in (official, pytorch):
        assert rows(splits.train, root) == mars_rows(root, "train", lambda pid, _: True)
        assert rows(splits.query, root) == query
    everything = mars_rows(root, "test", lambda pid, _: pid >= 0)
    assert rows(official.gallery, root) == everything
    assert rows(pytorch.gallery, root) == sorted(set(everything) - set(query))
    assert 0 in pytorch.gallery.pid
    assert num_tracks(official.train) == 3 * 3 * 2
    assert num_tracks(official.gallery) == 2 + NUM_TEST * 3 * 2


def test_mars_tracks_are_rows_of_the_info_file(worlds):
    root = worlds("mars")
    info = scipy.io.loadmat(root / "info" / "tracks_test_info.mat")["track_test_info"]
    names = (root / "info" / "test_name.txt").read_text().split()
    splits = datasets.load("mars", str(root))
    for table in (splits.query, splits.gallery):
        for path, pid, camera, track in zip(
            table.media, table.pid, table.camera, table.track, strict=True
        ):
            first, last, expected_pid, expected_camera = info[track]
            assert first <= names.index(path.split("/")[-1]) + 1 <= last
            assert (pid, camera) == (expected_pid, expected_camera - 1)


def test_mars_lists_survive_windows_and_lie_anywhere(copy):
    root = copy("mars")
    expected = datasets.load("mars", str(root))
    for path in (root / "info").glob("*.txt"):
        path.write_bytes(path.read_text().replace("\n", "\r\n").encode())
    (root / "MARS-evaluation-master").mkdir()
    (root / "info").rename(root / "MARS-evaluation-master" / "info")
    found = datasets.load("mars", str(root))
    assert found.gallery.fingerprint() == expected.gallery.fingerprint()


def without_line(path, number):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:number] + lines[number + 1 :]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda info: shutil.rmtree(info), "no tracks_train_info.mat"),
        (lambda info: (info / "test_name.txt").unlink(), "cannot read .*test_name.txt"),
        (lambda info: (info / "query_IDX.mat").unlink(), "query_IDX.mat is no readable Matlab"),
        (lambda info: without_line(info / "train_name.txt", 1), r"train_name.txt has \d+ names"),
        (
            lambda info: change(info / "test_name.txt", "0000C1T0001F001", "0005C1T0001F001"),
            "several people or cameras",
        ),
        (
            lambda info: change(info / "test_name.txt", "0000C1T0001F001", "0000C2T0001F001"),
            "several people or cameras",
        ),
        (
            lambda info: change(info / "test_name.txt", "F002.jpg", "F099.jpg"),
            rf"names {NUM_TEST * 3} frames .* not there: .*F099",
        ),
        (
            lambda info: write_matrix(
                info / "tracks_test_info.mat", "track_test_info", np.ones((3, 3))
            ),
            "does not tell first frame",
        ),
        (
            lambda info: write_matrix(
                info / "tracks_test_info.mat", "track_test_info", np.array([[0, 3, 1, 1]])
            ),
            "does not tell first frame",
        ),
        (
            lambda info: write_matrix(info / "query_IDX.mat", "query_IDX", np.array([[0]])),
            "does not fit tracks_test_info",
        ),
        (
            lambda info: write_matrix(info / "query_IDX.mat", "query_IDX", np.array([[1]])),
            "does not fit tracks_test_info",
        ),
        (
            lambda info: write_matrix(info / "query_IDX.mat", "query_IDX", np.array([[9, 9]])),
            "does not fit tracks_test_info",
        ),
    ],
)
def test_damaged_mars(copy, damage, message):
    root = copy("mars")
    damage(root / "info")
    with pytest.raises(InputError, match=message):
        datasets.load("mars", str(root))


@pytest.mark.parametrize("layout", ["mars", "ilids_vid"])
def test_drawn_lists_follow_from_the_seed(copy, worlds, tmp_path, layout):
    again = tmp_path / "again"
    layouts.make(layout, again, **NUMBERS)
    lists = [p.relative_to(again) for p in again.rglob("*") if p.suffix in (".mat", ".txt")]
    assert lists
    for path in lists:
        assert (again / path).read_bytes() == (worlds(layout) / path).read_bytes()
        assert b"Created" not in (again / path).read_bytes(), "no time of day"


def test_more_people_than_names_of_ilids_vid_hold(tmp_path):
    with pytest.raises(InputError, match="identities=801"):
        layouts.make("ilids_vid", tmp_path / "root", identities=801)


@pytest.fixture
def mars_info(real_data, tmp_path):
    """The published index files, with lists of names that fit them."""
    published = real_data / "protocols" / "mars"
    if not published.is_dir():
        pytest.skip(f"{published} does not exist")
    for path in published.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for part in ("train", "test"):
        lines = []
        for row, (first, last, pid, camera) in enumerate(mars.read_tracks(str(tmp_path), part)):
            person = "00-1" if pid < 0 else f"{pid:04d}"
            lines += [f"{person}C{camera}T{row:05d}F{i:04d}.jpg\n" for i in range(first, last + 1)]
        (tmp_path / f"{part}_name.txt").write_text("".join(lines))
    return str(tmp_path)


def test_published_index_files_of_mars(mars_info):
    train, test = (mars.read_part(mars_info, part) for part in ("train", "test"))
    assert (len(train.names), len(test.names)) == (509914, 681089)
    assert (len(train.pid), len(test.pid)) == (8298, 12180)
    assert np.bincount(train.camera).tolist() == [1816, 1957, 1321, 750, 1880, 574]
    np.testing.assert_array_equal(train.start[1:], train.end[:-1])

    query = mars.read_query(mars_info, test)
    assert len(query) == 1980
    about = {one.name: one.counts for one in mars.DATASETS}
    valid = []
    for word, queries_in_gallery in (("mars", True), ("mars_pytorch", False)):
        chosen = mars.protocol(test, query, queries_in_gallery)
        chosen = dict(zip(("query", "gallery"), chosen, strict=True))
        for part, rows_of_part in chosen.items():
            count = about[word][part]
            assert count.tracklets == len(rows_of_part)
            assert count.images == (test.end - test.start)[rows_of_part].sum()
            assert count.ids == len(np.unique(test.pid[rows_of_part]))
            assert count.cameras == len(np.unique(test.camera[rows_of_part]))
        match = test.pid[query][:, None] == test.pid[chosen["gallery"]]
        match &= test.camera[query][:, None] != test.camera[chosen["gallery"]]
        valid.append(match.any(axis=1).sum())
    assert valid == [1980, 1840]
    train_count = about["mars"]["train"]
    assert (train_count.images, train_count.tracklets) == (len(train.names), len(train.pid))
    assert train_count.ids == len(np.unique(train.pid))
