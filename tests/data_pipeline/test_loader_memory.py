"""Shared memory between worker processes and the loader."""

import numpy as np
import pytest
from grain.multiprocessing import SharedMemoryArray
from PIL import Image

from data_pipeline.read import loader
from data_pipeline.read.loader import Loader, LoaderOptions
from data_pipeline.table import records

if not loader.SHARED_MEMORY.is_dir():
    pytest.skip("blocks are shared by name on Linux only", allow_module_level=True)

SHAPE = (1, 160, 140, 3)


def shown(metadata):
    """What the parent finds under a name."""
    return np.array(SharedMemoryArray.from_metadata(metadata))


def test_a_block_is_used_again_when_the_parent_is_done_with_it_and_not_before():
    read = loader._SharingReader(
        lambda step: {"batch": {"images": np.full(SHAPE, step, np.uint8)}, "skipped": {}}
    )
    first, second = (read(step)["batch"]["images"] for step in (1, 2))
    np.testing.assert_array_equal(shown(first), np.full(SHAPE, 1))
    first.close_and_unlink_shm()
    third, fourth = (read(step)["batch"]["images"] for step in (3, 4))
    names = [one.name for one in (first, second, third, fourth)]
    assert len(set(names)) == 4
    blocks = [name.rpartition("_")[0] for name in names]
    assert blocks[2] == blocks[0]
    assert len(set(blocks)) == 3
    for step, metadata in ((2, second), (3, third), (4, fourth)):
        np.testing.assert_array_equal(shown(metadata), np.full(SHAPE, step))
        metadata.close_and_unlink_shm()


def test_an_error_is_handed_over_without_a_block():
    error = {"error": ValueError("no picture")}
    assert loader._SharingReader(lambda step: error)(0) is error


def test_small_pictures_take_no_block():
    images = np.zeros((2, 1, 8, 4, 3), np.uint8)
    read = loader._SharingReader(lambda step: {"batch": {"images": images}, "skipped": {}})
    assert read(0)["batch"]["images"] is images


@pytest.fixture
def table(tmp_path):
    rows = []
    for i in range(6):
        path = tmp_path / f"{i}.png"
        Image.fromarray(np.full((8, 4, 3), 40 * i, np.uint8)).save(path)
        rows.append((str(path), 0, 0, -1))
    return records.make_table(rows)


@pytest.mark.parametrize("taken", [40, 5])
def test_worker_processes_share_few_blocks_and_leave_none_behind(table, monkeypatch, taken):
    names = []

    def recorded(element, copied=loader._out_of_shared_memory):
        names.append(element["batch"]["images"].shm.name)
        return copied(element)

    monkeypatch.setattr(loader, "_out_of_shared_memory", recorded)
    indices = np.arange(40)[:, None] % 6
    expected = Loader(table, indices, LoaderOptions(SHAPE[1:3]))
    options = LoaderOptions(SHAPE[1:3], num_workers=2, worker_kind="processes")
    with Loader(table, indices, options) as batches:
        for _, batch, same in zip(range(taken), batches, expected, strict=False):
            np.testing.assert_array_equal(batch["images"], same["images"])
    blocks = {name.rpartition("_")[0] for name in names}
    assert len(blocks) < 20
    assert not [name for name in blocks if (loader.SHARED_MEMORY / name).exists()]
