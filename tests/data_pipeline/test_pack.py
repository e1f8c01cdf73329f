"""Packing into ArrayRecord: what comes out, and what a kill leaves."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from array_record.python import array_record_module
from tensorflow_datasets.proto import tf_example_pb2

from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.packing import pack, shards
from data_pipeline.read import shard_layout, storage
from data_pipeline.read.loader import Loader, LoaderOptions
from data_pipeline.synthetic import layouts
from data_pipeline.table import samplers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARD_IMAGES = 9
SIZE = {"height": 32, "width": 16}
SECOND_TRAIN_SHARD = "luperson_market1501-train.array_record-00001-of-00003"

# Words whose miniature has another name.
LAYOUT_OF = {
    "image_folder": "folder",
    "cuhk03_np_labeled": "cuhk03_np",
    "cuhk03_classic_labeled": "cuhk03",
}
NEEDS = {"cuhk03": "h5py"}
CASES = sorted(
    (word, made)
    for word in datasets.DATASETS
    if (made := LAYOUT_OF.get(word, word)) in layouts.LAYOUTS
)

# Packs, and dies of its own hand at the so-manieth call of something.
KILLED = """
import os, signal, sys
from data_pipeline.read import storage
from data_pipeline.read import shard_layout
from data_pipeline.packing import examples, pack

def dying(function):
    def call(*arguments):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call

where, number, source, out, workers = sys.argv[1:]
left, progress = int(number), lambda done, total: None
if where == "progress":
    progress = dying(progress)
elif where == "read":
    storage.read = dying(storage.read)
elif where == "index":
    shard_layout.write_index = dying(shard_layout.write_index)
elif where == "metadata":
    examples.write_metadata = dying(examples.write_metadata)
elif where == "end":
    shard_layout.open_packed = dying(shard_layout.open_packed)
pack.pack("market1501", source, out, shard_images=9, workers=int(workers), progress=progress)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """24 pictures for training, 12 queries, 40 in the gallery."""
    root = tmp_path_factory.mktemp("source") / "market"
    layouts.make("market1501", root, identities=12, cameras=2, images_per_camera=2, **SIZE)
    return root


@pytest.fixture(scope="module")
def packed(source, tmp_path_factory):
    """The same, packed. Not to be changed."""
    out = tmp_path_factory.mktemp("packed") / "out"
    pack_market(source, out)
    return out


@pytest.fixture
def damaged(packed, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(packed, tmp_path / "damaged")


def pack_market(source, out, **options):
    return pack.pack("market1501", str(source), str(out), **{"shard_images": 9} | options)


def pack_and_be_killed(where, number, source, out, workers=0):
    """Standard error ends when all processes have ended that write to it."""
    command = [sys.executable, "-c", KILLED, where, str(number), str(source), str(out)]
    ended = subprocess.run(
        [*command, str(workers)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def content(folder):
    """The bytes of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def records_of(path):
    reader = array_record_module.ArrayRecordReader(str(path))
    examples = [tf_example_pb2.Example.FromString(record) for record in reader.read_all()]
    reader.close()
    return [example.features.feature for example in examples]


def batches(table):
    indices = samplers.sequential(len(table), 8)
    with Loader(table, indices, LoaderOptions(canvas=(24, 12))) as loader:
        return list(loader)


@pytest.mark.parametrize(("word", "made"), CASES)
def test_a_packed_set_gives_the_batches_of_its_folder(tmp_path, word, made):
    if made in NEEDS:
        pytest.importorskip(NEEDS[made])
    root, out = tmp_path / "root", tmp_path / "out"
    layouts.make(made, root, identities=8, images_per_camera=2, frames=3, **SIZE)
    pack.pack(word, str(root), str(out), shard_images=SHARD_IMAGES)
    folder, opened = datasets.load(word, str(root)), datasets.load("packed", str(out))
    assert sum(len(table) for table in vars(folder).values()) > SHARD_IMAGES
    for part in shard_layout.PARTS:
        one, two = getattr(folder, part), getattr(opened, part)
        assert one.fingerprint() == two.fingerprint()
        for first, second in zip(batches(one), batches(two), strict=True):
            assert first.keys() == second.keys()
            for name, values in first.items():
                np.testing.assert_array_equal(values, second[name], err_msg=f"{part} {name}")


def test_records_hold_the_files_as_they_were(tmp_path):
    odd = {
        "a/1.jpg": b"\xff\xd8 ends in zeros \0\0\0",
        "a/Größe #2.png": b"",
        "\udcff.jpg": b"\n\n",
    }
    for name, data in odd.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    out = tmp_path / "out"
    pack.pack("image_folder", str(tmp_path / "root"), str(out))
    (file,) = out.glob("*.array_record-*")
    stored = {
        one["name"].bytes_list.value[0].decode("utf-8", "surrogateescape"): (
            one["image"].bytes_list.value[0],
            *(one[label].int64_list.value[0] for label in shard_layout.LABELS),
        )
        for one in records_of(file)
    }
    assert stored == {f"root/{name}": (data, -1, -1, -1) for name, data in odd.items()}
    table = datasets.load("packed", str(out)).train
    read = {path: storage.read(media) for path, media in zip(table.paths, table.media, strict=True)}
    assert read == {name: values[0] for name, values in stored.items()}


def test_shards_hold_names_in_order_and_the_labels_of_the_table(source, packed):
    table = datasets.load("market1501", str(source)).train
    labels = {
        media: (int(pid), int(camera))
        for media, pid, camera in zip(table.media, table.pid, table.camera, strict=True)
    }
    files = sorted(packed.glob("*-train.array_record-*"))
    stored = [one for file in files for one in records_of(file)]
    names = [one["name"].bytes_list.value[0].decode() for one in stored]
    assert [f"{source}/{name}" for name in names] == sorted(labels)
    assert [len(records_of(file)) for file in files] == [9, 9, 6]
    for name, one in zip(names, stored, strict=True):
        pid, camera = (one[label].int64_list.value[0] for label in ("pid", "camera"))
        assert (pid, camera) == labels[f"{source}/{name}"]


def test_bytes_depend_on_neither_place_nor_processes(source, packed, tmp_path):
    elsewhere = shutil.copytree(source, tmp_path / "deeper" / "elsewhere")
    pack_market(elsewhere, tmp_path / "out", workers=2)
    assert content(tmp_path / "out") == content(packed)


def test_several_folders_become_one(source, tmp_path):
    second = shutil.copytree(source, tmp_path / "second")
    roots = f"{source}, {second}"
    pack_market(roots, tmp_path / "out")
    joined = datasets.load("market1501", roots)
    opened = datasets.load("packed", str(tmp_path / "out"))
    assert joined.query.fingerprint() == opened.query.fingerprint()
    assert len(set(opened.query.paths)) == 24


@pytest.mark.parametrize(
    ("where", "number", "complete"),
    [
        ("index", 1, 0),
        ("read", 1, 0),
        ("read", 9, 0),
        ("read", 23, 2),
        ("read", 70, 8),
        ("metadata", 1, 10),
    ],
)
def test_killed_and_started_again_gives_the_same(source, packed, tmp_path, where, number, complete):
    out = tmp_path / "out"
    pack_and_be_killed(where, number, source, out)
    with pytest.raises(InputError, match="not packed to the end"):
        datasets.load("packed", str(out))
    finished = {path: path.stat().st_ino for path in out.glob("*.array_record-*-of-?????")}
    assert len(finished) == complete
    pack_market(source, out)
    assert {path: path.stat().st_ino for path in finished} == finished  # not written again
    assert content(out) == content(packed)


def test_killed_after_the_last_file_it_is_packed(source, packed, tmp_path):
    out = tmp_path / "out"
    pack_and_be_killed("end", 1, source, out)
    assert datasets.load("packed", str(out)).train.num_ids == 6
    pack_market(source, out)
    assert content(out) == content(packed)


def test_no_process_outlives_a_kill(source, packed, tmp_path):
    out = tmp_path / "out"
    pack_and_be_killed("progress", 2, source, out, workers=2)
    pack_market(source, out, workers=2)
    assert content(out) == content(packed)


def test_a_shard_that_is_cut_short_is_written_again(source, packed, tmp_path):
    out = tmp_path / "out"
    pack_and_be_killed("metadata", 1, source, out)
    os.truncate(out / SECOND_TRAIN_SHARD, 1000)
    pack_market(source, out)
    assert content(out) == content(packed)


def test_a_killed_worker_is_no_traceback(monkeypatch):
    monkeypatch.setattr(shards, "write", os._exit)
    with pytest.raises(InputError, match="same command again"):
        list(shards.run([3, 3], workers=2))


def test_beam_that_is_missing_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(InputError, match=r"pip install 'luperson_jax\[beam\]'"):
        pack_market(source, tmp_path / "out", beam=[])


def test_a_second_time_changes_nothing(source, damaged):
    before = {path: path.stat().st_mtime_ns for path in damaged.iterdir()}
    description = pack_market(source, damaged)
    assert description == json.loads((damaged / shard_layout.DESCRIPTION).read_text())
    assert {path: path.stat().st_mtime_ns for path in damaged.iterdir()} == before


def test_another_pack_is_not_overwritten(source, packed, damaged, tmp_path):
    with pytest.raises(InputError, match=r"another pack.*parts.*delete"):
        pack_market(source, damaged, shard_images=10)
    assert content(damaged) == content(packed)
    pack_and_be_killed("read", 23, source, tmp_path / "out")
    with pytest.raises(InputError, match="the beginning of another: name, title"):
        pack.pack("image_folder", str(source), str(tmp_path / "out"))


def test_a_folder_of_something_else_is_refused(source, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"not empty: it holds thesis\.tex"):
        pack_market(source, tmp_path)
    with pytest.raises(InputError, match="as a folder"):
        pack_market(source, tmp_path / "thesis.tex" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("option", "value"), [("shard_images", 0), ("workers", -1)], ids=["shards", "workers"]
)
def test_impossible_options(source, tmp_path, option, value):
    with pytest.raises(InputError, match=f"{value}; expected"):
        pack_market(source, tmp_path / "out", **{option: value})


def test_a_packed_set_is_not_packed_again(packed, tmp_path):
    with pytest.raises(InputError, match="packed already"):
        pack.pack("packed", str(packed), str(tmp_path / "out"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_cannot_be_read(source, tmp_path, workers):
    root = shutil.copytree(source, tmp_path / "market")
    victim = max((root / "query").iterdir())
    victim.unlink()
    victim.symlink_to("nowhere.jpg")
    with pytest.raises(InputError, match=rf"cannot read .*{victim.name}"):
        pack_market(root, tmp_path / "out", workers=workers)
    victim.unlink()
    shutil.copy(source / "query" / victim.name, victim)
    pack_market(root, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.part"))


def test_names_do_not_depend_on_the_working_folder(source, tmp_path, monkeypatch):
    root = tmp_path / "pictures"
    shutil.copytree(source / "query", root)
    pack.pack("image_folder", str(root), str(tmp_path / "one"))
    monkeypatch.chdir(root)
    pack.pack("image_folder", ".", str(tmp_path / "two"))
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_full_disk_is_no_traceback(source, tmp_path, monkeypatch):
    def full(path, options):
        raise RuntimeError(f"No space left on device; writing {path}")

    monkeypatch.setattr(array_record_module, "ArrayRecordWriter", full)
    with pytest.raises(InputError, match=r"cannot write .*No space left on device"):
        pack_market(source, tmp_path / "out")


def test_killed_before_it_began(source, packed, tmp_path):
    (tmp_path / f"{shard_layout.UNFINISHED}.part").write_text("{")
    pack_market(source, tmp_path)
    assert content(tmp_path) == content(packed)
