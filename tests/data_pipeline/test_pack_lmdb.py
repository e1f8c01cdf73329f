"""The export to LMDB in the form of LUPerson."""

import itertools
import pathlib
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

from data_pipeline import datasets
from data_pipeline.datasets import luperson
from data_pipeline.errors import InputError
from data_pipeline.packing import lmdb_form, pack
from data_pipeline.read import shard_layout, storage
from data_pipeline.synthetic import layouts

lmdb = pytest.importorskip("lmdb")

ROOT = pathlib.Path(__file__).resolve().parents[2]

KILLED = """
import os, signal, sys
from data_pipeline.read import storage
from data_pipeline.packing import lmdb_form

read, left = storage.read, int(sys.argv[1])

def dying(media):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(media)

storage.read = dying
lmdb_form.export("market1501", sys.argv[2], sys.argv[3])
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """24 pictures for training, 12 queries, 40 in the gallery."""
    root = tmp_path_factory.mktemp("source") / "market"
    size = {"height": 32, "width": 16}
    layouts.make("market1501", root, identities=12, cameras=2, images_per_camera=2, **size)
    return root


def content(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def stored(folder):
    """What a reader of LUPerson's form finds: key -> number and bytes."""
    listed = pickle.loads((folder / "keys.pkl").read_bytes())
    numbers = listed.get("pids", [None] * len(listed["keys"]))
    with (
        lmdb.open(str(folder / "lmdb"), readonly=True, lock=False, readahead=False) as opened,
        opened.begin() as transaction,
    ):
        assert opened.stat()["entries"] == len(listed["keys"])
        return {
            key: (number, transaction.get(key.encode("ascii")))
            for key, number in zip(listed["keys"], numbers, strict=True)
        }


def test_pictures_and_identities_are_those_of_the_folder(source, tmp_path):
    counts = lmdb_form.export("market1501", str(source), str(tmp_path / "out"))
    assert counts == {"train": 24, "query": 12, "gallery": 40}
    splits = datasets.load("market1501", str(source))
    for part, below in (("train", ""), ("query", "query"), ("gallery", "gallery")):
        table = getattr(splits, part)
        expected = {
            f"00001_{pathlib.Path(media).stem}": (pid, pathlib.Path(media).read_bytes())
            for media, pid in zip(table.media, table.pid.tolist(), strict=True)
        }
        assert stored(tmp_path / "out" / below) == expected
    assert not (tmp_path / "out" / shard_layout.UNFINISHED).exists()


def test_tracklets_take_the_place_of_unknown_identities(tmp_path):
    layouts.make("folder", tmp_path / "root", identities=4, height=32, width=16)
    lmdb_form.export("image_folder", str(tmp_path / "root"), str(tmp_path / "out"))
    table = datasets.load("image_folder", str(tmp_path / "root")).train
    track = {
        pathlib.Path(media).read_bytes(): int(number)
        for media, number in zip(table.media, table.track, strict=True)
    }
    found = stored(tmp_path / "out")
    assert len(found) == len(table) == len(track)
    assert all(track[picture] == number for number, picture in found.values())


def test_without_numbers_there_are_no_pids(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "somebody.jpg").write_bytes(b"\xff\xd8")
    lmdb_form.export("image_folder", str(tmp_path / "root"), str(tmp_path / "out"))
    listed = pickle.loads((tmp_path / "out" / "keys.pkl").read_bytes())
    assert listed == {"keys": ["00_00_0000_00000000"]}


def test_from_a_packed_set_it_is_the_same(source, tmp_path):
    pack.pack("market1501", str(source), str(tmp_path / "packed"), shard_images=9)
    lmdb_form.export("packed", str(tmp_path / "packed"), str(tmp_path / "second"))
    lmdb_form.export("market1501", str(source), str(tmp_path / "first"))
    first, second = content(tmp_path / "first"), content(tmp_path / "second")
    # Where it comes from it does say.
    assert first.pop(lmdb_form.DESCRIPTION) != second.pop(lmdb_form.DESCRIPTION)
    assert first == second


@pytest.mark.parametrize("number", [1, 20, 30, 76])
def test_killed_and_started_again_gives_the_same(source, tmp_path, number):
    lmdb_form.export("market1501", str(source), str(tmp_path / "whole"))
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(number), str(source), str(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert (out / "lmdb").exists() == (number > 24)
    lmdb_form.export("market1501", str(source), str(out))
    assert content(out) == content(tmp_path / "whole")


def test_given_again_it_is_there_and_whole(source, tmp_path):
    first = lmdb_form.export("market1501", str(source), str(tmp_path / "out"))
    before = content(tmp_path / "out")
    seen = []
    again = lmdb_form.export(
        "market1501", str(source), str(tmp_path / "out"), progress=lambda *n: seen.append(n)
    )
    assert again == first
    assert seen == [(76, 76)]
    assert content(tmp_path / "out") == before
    assert not (tmp_path / "out" / shard_layout.UNFINISHED).exists()


def test_killed_after_the_last_file_it_is_whole(source, tmp_path):
    lmdb_form.export("market1501", str(source), str(tmp_path / "out"))
    before = content(tmp_path / "out")
    description = (tmp_path / "out" / lmdb_form.DESCRIPTION).read_bytes()
    (tmp_path / "out" / shard_layout.UNFINISHED).write_bytes(description)
    lmdb_form.export("market1501", str(source), str(tmp_path / "out"))
    assert content(tmp_path / "out") == before


def test_what_lies_there_is_not_overwritten(source, tmp_path):
    out = tmp_path / "out"
    lmdb_form.export("market1501", str(source), str(out))
    before = content(out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "somebody.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(InputError, match=r"holds another pack: .*parts.* in .*lmdb\.json differ"):
        lmdb_form.export("image_folder", str(other), str(out))
    with pytest.raises(InputError, match="not empty: it holds"):
        pack.pack("market1501", str(source), str(out))
    assert content(out) == before
    keys = out / "query" / "keys.pkl"
    keys.write_bytes(before["query/keys.pkl"][:-1])
    with pytest.raises(InputError, match=r"query/keys\.pkl has .* bytes; expected .* pack again"):
        lmdb_form.export("market1501", str(source), str(out))
    keys.unlink()
    with pytest.raises(InputError, match=r"query/keys\.pkl is missing"):
        lmdb_form.export("market1501", str(source), str(out))


def test_a_missing_package_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(InputError, match=r"pip install 'luperson_jax\[lmdb\]'"):
        lmdb_form.export("market1501", str(source), str(tmp_path / "out"))
    assert not (tmp_path / "out" / "lmdb").exists()


def pictures(table):
    """Labels of each picture by its bytes."""
    columns = (table.pid.tolist(), table.camera.tolist(), table.track.tolist())
    return {
        storage.read(media): labels for media, *labels in zip(table.media, *columns, strict=True)
    }


def test_our_reader_of_luperson_nl_finds_the_identities(source, tmp_path):
    lmdb_form.export("market1501", str(source), str(tmp_path / "out"))
    found = pictures(luperson.load_nl(str(tmp_path / "out")).train)
    expected = pictures(datasets.load("market1501", str(source)).train)
    assert {one: labels[0] for one, labels in found.items()} == {
        one: labels[0] for one, labels in expected.items()
    }


def test_our_reader_of_luperson_finds_the_videos(tmp_path):
    folders = ("chad/abeche/a", "chad/abeche/b", "chad/moundou/c", "togo/lome/d")
    for i, (folder, frame) in enumerate(itertools.product(folders, range(3))):
        path = tmp_path / "root" / folder / f"{frame:08d}_0000.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8" + bytes([i]))
    expected = luperson.load(str(tmp_path / "root")).train
    lmdb_form.export("image_folder", str(tmp_path / "root"), str(tmp_path / "out"))
    found = luperson.load(str(tmp_path / "out")).train
    assert pictures(found) == pictures(expected)
    assert np.unique(found.camera).tolist() == [0, 1, 2, 3]


COUNTED = [f"00_00_0000_{number:08d}" for number in range(2)]


@pytest.mark.parametrize(
    ("paths", "keys"),
    [
        (["b/x.jpg", "a/y.png"], ["00002_x", "00001_y"]),
        (["a/x.png", "a/x.jpg"], COUNTED[::-1]),
        (["a/b.jpg", "a/ä.jpg"], COUNTED),
        (["a/" + 600 * "x" + ".jpg"], COUNTED[:1]),
    ],
)
def test_keys_in_the_form_of_luperson_nl(paths, keys):
    assert lmdb_form.keys_of(paths, numbered=True) == keys


def test_keys_in_the_form_of_luperson():
    paths = ["r/b/x/v/2.jpg", "r/b/x/v/1.jpg", "r/a/y/w/1.jpg", "r/a/y/v/1.jpg", "r/a/x/z/1.jpg"]
    assert lmdb_form.keys_of(paths, numbered=False) == [
        "01_00_0000_00000001",
        "01_00_0000_00000000",
        "00_01_0001_00000000",
        "00_01_0000_00000000",
        "00_00_0000_00000000",
    ]
    alike = ["q/a/b/c/1.jpg", "r/a/b/c/1.jpg"]
    assert sorted(lmdb_form.keys_of(alike, numbered=False)) == COUNTED
