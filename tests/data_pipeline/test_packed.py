"""Opening what was packed."""

import json
import os
import shutil

import numpy as np
import pytest

from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.packing import pack
from data_pipeline.read import shard_layout
from data_pipeline.synthetic import layouts
from data_pipeline.table import records
from data_pipeline.table.paths import Paths

SHARD_IMAGES = 9
SECOND_TRAIN_SHARD = "luperson_market1501-train.array_record-00001-of-00003"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """24 pictures for training, 12 queries, 40 in the gallery."""
    root = tmp_path_factory.mktemp("source") / "market"
    size = {"height": 32, "width": 16}
    layouts.make("market1501", root, identities=12, cameras=2, images_per_camera=2, **size)
    return root


@pytest.fixture(scope="module")
def packed(source, tmp_path_factory):
    """The same, packed. Not to be changed."""
    out = tmp_path_factory.mktemp("packed") / "out"
    pack.pack("market1501", str(source), str(out), shard_images=SHARD_IMAGES)
    return out


@pytest.fixture
def damaged(packed, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(packed, tmp_path / "damaged")


def test_tables_are_those_of_the_folder(source, packed):
    folder, opened = datasets.load("market1501", str(source)), datasets.load("packed", str(packed))
    for part in shard_layout.PARTS:
        one, two = getattr(folder, part), getattr(opened, part)
        assert [f"{source}/{path}" for path in two.paths] == list(one.media)
        for column in ("pid", "camera", "track"):
            np.testing.assert_array_equal(getattr(one, column), getattr(two, column))
            assert getattr(two, column).dtype == np.int64
        some = np.array([3, 1])
        assert two.take(some).fingerprint() == one.take(some).fingerprint()
        assert records.concatenate([two, two.take(some)]).paths[-1] == two.paths[1]


def test_media_sort_as_names_do(packed):
    """What looks for the order of frames may go by either."""
    table = datasets.load("packed", str(packed)).gallery
    assert len(table) > 2 * SHARD_IMAGES
    by_media = sorted(range(len(table)), key=table.media.__getitem__)
    assert [table.paths[row] for row in by_media] == sorted(table.paths)


def test_opening_reads_no_record(packed, damaged):
    for path in damaged.glob("*.array_record-*"):
        path.write_bytes(bytes(path.stat().st_size))
    one, two = (datasets.load("packed", str(root)) for root in (packed, damaged))
    assert one.gallery.fingerprint() == two.gallery.fingerprint()


def test_the_description_says_what_was_packed(source, packed):
    description = json.loads((packed / shard_layout.DESCRIPTION).read_text())
    assert (description["name"], description["kind"]) == ("market1501", "image")
    assert description["published"]["train"] == {
        "images": 12936,
        "ids": 751,
        "cameras": 6,
        "tracklets": None,
    }
    train = datasets.load("market1501", str(source)).train
    expected = {"images": 24, "ids": 6, "cameras": 2, "fingerprint": train.fingerprint()}
    found = description["parts"]["train"]
    assert {name: found[name] for name in expected} == expected
    assert sum(found["shards"].values()) == 24
    assert str(source) not in (packed / shard_layout.DESCRIPTION).read_text()


def test_a_missing_or_short_file_is_named(damaged):
    shard = damaged / SECOND_TRAIN_SHARD
    size = shard.stat().st_size
    os.truncate(shard, 1000)
    with pytest.raises(InputError, match=f"{shard} has 1000 bytes; expected {size} bytes"):
        datasets.load("packed", str(damaged))
    shard.unlink()
    with pytest.raises(InputError, match=f"{shard} is missing; expected"):
        datasets.load("packed", str(damaged))


def test_a_damaged_index_or_description(damaged):
    index = damaged / shard_layout.INDEX
    index.write_bytes(bytes(index.stat().st_size))
    with pytest.raises(InputError, match=r"index\.npz cannot be read .* it is damaged"):
        datasets.load("packed", str(damaged))
    description = damaged / shard_layout.DESCRIPTION
    whole = description.read_text()
    for text in (whole[:100], "[]", "{}"):
        description.write_text(text)
        with pytest.raises(InputError, match=r"packed\.json cannot be read"):
            datasets.load("packed", str(damaged))
    description.write_text('{"format": 1}')
    with pytest.raises(InputError, match=r"packed\.json lacks 'bytes'"):
        datasets.load("packed", str(damaged))
    description.write_text('{"format": 99}')
    with pytest.raises(InputError, match="format 99; this version reads"):
        datasets.load("packed", str(damaged))


def test_a_folder_without_a_pack(packed, tmp_path):
    with pytest.raises(InputError, match=f"give {packed} as `root`"):
        datasets.load("packed", str(packed.parent))
    with pytest.raises(InputError, match="luperson data pack NAME DIR OUT"):
        datasets.load("packed", str(tmp_path))


@pytest.mark.parametrize(
    ("media", "prefix"),
    [
        (["/d/x/train/1.jpg", "/d/x/query/1.jpg"], "/d/x/"),
        (["/d/x/train/1.jpg", "/d/xy/train/1.jpg"], "/d/"),
        (["/d/x/1.jpg", "/d/x/2.jpg"], "/d/"),
        (["/d/x/a/b/1.jpg", "/d/x/2.jpg"], "/d/"),
        (["x/1.jpg", "/d/x/2.jpg"], ""),
        (["1.jpg"], ""),
        (["lmdb:/d/lup/lmdb#1", "lmdb:/d/lup/lmdb#2"], "lmdb:/d/"),
        (["lmdb:/d/lup/lmdb#1", "/d/lup/x/2.jpg"], ""),
    ],
)
def test_prefix_of_the_source(media, prefix):
    table = records.make_table([(path, 1, 0, -1) for path in media])
    assert shard_layout.source_prefix([table]) == prefix
    names = Paths.of(path[len(prefix) :] for path in table.media)
    short = records.Table(names, table.pid, table.camera, table.track)
    assert short.fingerprint() == table.fingerprint()
