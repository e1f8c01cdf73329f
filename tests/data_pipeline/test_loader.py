import gc
import multiprocessing
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.read.decode import DecodeError, decode, to_canvas
from data_pipeline.read.loader import Loader, LoaderOptions
from data_pipeline.table import records, samplers

WORKERS = [(0, "threads"), (2, "threads"), (2, "processes")]
DTYPES = {
    "images": np.uint8,
    "size": np.int32,
    "label": np.int32,
    "camera": np.int32,
    "index": np.int32,
    "mask": np.bool_,
}


@pytest.fixture
def table(tmp_path):
    """24 pictures of 6 identities, each file another size and content."""
    rows = []
    for i in range(24):
        pixels = np.random.default_rng(i).integers(0, 256, (10 + i, 8, 3), dtype=np.uint8)
        path = tmp_path / f"{i:02d}.png"
        Image.fromarray(pixels).save(path)
        rows.append((str(path), i // 4, i % 3, -1))
    return records.make_table(rows)


@pytest.fixture
def tracked(table):
    """The same pictures, four of an identity as two tracklets of two."""
    number = {path: i // 2 for i, path in enumerate(sorted(table.media))}
    track = np.array([number[path] for path in table.media])
    return records.Table(table.media, table.pid, table.camera, track)


def options(num_workers=0, kind="threads", **others):
    return LoaderOptions(canvas=(8, 4), num_workers=num_workers, worker_kind=kind, **others)


def assert_same_batches(actual, expected):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def damage(table, rows):
    for row in rows:
        pathlib.Path(table.media[row]).write_bytes(b"no picture")


def test_batch_is_what_the_files_hold(table):
    indices = samplers.shuffled(table, 5, seed=0, epoch=0, num_steps=len(table) // 5)
    for batch, rows in zip(Loader(table, indices, options()), indices, strict=True):
        assert {name: column.dtype for name, column in batch.items()} == DTYPES
        assert batch["images"].shape == (5, 8, 4, 3)
        np.testing.assert_array_equal(batch["index"], rows)
        np.testing.assert_array_equal(batch["label"], table.pid[rows])
        np.testing.assert_array_equal(batch["camera"], table.camera[rows])
        assert batch["mask"].all()
        for place, row in enumerate(rows):
            picture = decode(pathlib.Path(table.media[row]).read_bytes())
            np.testing.assert_array_equal(batch["size"][place], picture.shape[:2])
            np.testing.assert_array_equal(batch["images"][place], to_canvas(picture, (8, 4)))


@pytest.mark.parametrize(("num_workers", "kind"), [*WORKERS, (1, "processes")])
def test_start_continues_exactly_and_workers_change_nothing(table, num_workers, kind):
    indices = np.concatenate(
        [samplers.pk(table, 4, 2, 0, epoch, len(table) // 4) for epoch in range(2)]
    )[:7]
    expected = list(Loader(table, indices, options()))
    for start in (0, 3):
        with Loader(table, indices, options(num_workers, kind), start=start) as loader:
            assert len(loader) == 7 - start
            assert_same_batches(list(loader), expected[start:])


def test_start_at_the_end_yields_nothing_and_beyond_is_an_error(table):
    indices = samplers.sequential(24, 8)
    assert list(Loader(table, indices, options(), start=3)) == []
    with pytest.raises(InputError, match="step 4 of an epoch of 3"):
        Loader(table, indices, options(), start=4)


def test_slices_of_processes_make_up_the_global_batch(table):
    indices = samplers.sequential(24, 9)[:, :8]
    shares = [
        list(Loader(table, indices, options(), process_index=i, process_count=4)) for i in range(4)
    ]
    joined = [
        {name: np.concatenate([share[name] for share in step]) for name in DTYPES}
        for step in zip(*shares, strict=True)
    ]
    assert_same_batches(joined, list(Loader(table, indices, options())))
    with pytest.raises(InputError, match="multiple"):
        Loader(table, indices, options(), process_count=3)


def test_padding(table):
    last = list(Loader(table, samplers.sequential(24, 10), options()))[-1]
    np.testing.assert_array_equal(last["mask"], np.arange(10) < 4)
    for name in ("label", "camera", "index"):
        np.testing.assert_array_equal(last[name][4:], -1)
    assert last["images"][:4].any(axis=(1, 2, 3)).all()
    assert not last["images"][4:].any()
    assert not last["size"][4:].any()


@pytest.mark.parametrize(("num_workers", "kind"), WORKERS)
def test_unreadable_picture_stops_at_its_step_with_its_name(table, num_workers, kind):
    damage(table, [5])
    batches = iter(Loader(table, samplers.sequential(24, 4), options(num_workers, kind)))
    assert next(batches)["index"][0] == 0
    with pytest.raises(DecodeError) as caught:
        next(batches)
    assert table.media[5] in str(caught.value)
    assert "not a picture" in str(caught.value)


def test_missing_file_is_an_unreadable_picture(table):
    pathlib.Path(table.media[2]).unlink()
    with pytest.raises(DecodeError, match="No such file"):
        list(Loader(table, samplers.sequential(24, 4), options()))


@pytest.mark.parametrize(("num_workers", "kind"), WORKERS)
def test_skip_takes_the_next_row_of_the_same_identity(table, num_workers, kind):
    same = np.flatnonzero(table.pid == 3)
    broken = same[[1, 2]]
    damage(table, broken)
    loader = Loader(
        table, samplers.sequential(24, 4), options(num_workers, kind, unreadable="skip")
    )
    index = np.concatenate([batch["index"] for batch in loader])
    expected = np.arange(24)
    expected[broken] = same[3]
    np.testing.assert_array_equal(index, expected)
    assert set(loader.skipped) == {table.media[row] for row in broken}
    assert all("not a picture" in reason for reason in loader.skipped.values())


def test_what_vanished_is_named_once(table):
    gone = pathlib.Path(table.media[5])
    gone.unlink()
    with pytest.raises(DecodeError) as caught:
        list(Loader(table, samplers.sequential(24, 4), options()))
    assert str(caught.value).startswith(f"cannot read the picture {gone}: No such file")
    assert str(caught.value).count(str(gone)) == 1
    loader = Loader(table, samplers.sequential(24, 4), options(unreadable="skip"))
    list(loader)
    assert str(gone) not in loader.skipped[str(gone)]


def test_skip_wraps_within_the_identity_and_carries_the_replacement(table):
    same = np.flatnonzero(table.pid == 3)
    damage(table, same[-1:])
    loader = Loader(table, same[None, -1:], options(unreadable="skip"))
    (batch,) = loader
    assert batch["index"] == same[0]
    assert batch["camera"] == table.camera[same[0]]


def test_skip_leaves_the_identity_only_when_none_of_it_can_be_read(table):
    same = np.flatnonzero(table.pid == 3)
    damage(table, same)
    (batch,) = Loader(table, same[None, :1], options(unreadable="skip"))
    readable = np.flatnonzero(table.pid != 3)
    after = readable[readable > same[0]]
    assert batch["index"] == (after[0] if len(after) else readable[0])
    assert batch["label"] == table.pid[batch["index"]]


def test_skip_without_labels_takes_the_next_row(table):
    unlabelled = records.Table(table.media, np.full(24, -1), table.camera, table.track)
    damage(table, [5, 6, 23])
    loader = Loader(unlabelled, np.array([[5, 23]]), options(unreadable="skip"))
    (batch,) = loader
    np.testing.assert_array_equal(batch["index"], [7, 0])
    assert len(loader.skipped) == 3


def test_skip_with_nothing_readable_is_an_error(table):
    damage(table, range(24))
    with pytest.raises(InputError, match="none of the 24"):
        next(iter(Loader(table, samplers.sequential(24, 4), options(unreadable="skip"))))


def shown_rows(table, batch):
    """Which rows the pictures of a batch are."""
    pictures = {}
    for row, path in enumerate(table.media):
        data = pathlib.Path(path).read_bytes()
        if data != b"no picture":
            pictures[to_canvas(decode(data), (8, 4)).tobytes()] = row
    return [pictures[frame.tobytes()] for frame in batch["images"]]


def test_skip_stays_in_the_tracklet(tracked):
    """Though the next row of the identity is of its other tracklet."""
    same = np.flatnonzero(tracked.pid == 3)
    broken = same[tracked.track[same] != tracked.track[np.roll(same, -1)]][0]
    (sound,) = np.setdiff1d(np.flatnonzero(tracked.track == tracked.track[broken]), broken)
    damage(tracked, [broken])
    indices = np.array([[sound, broken]])
    loader = Loader(tracked, indices, options(unreadable="skip"))
    (batch,) = loader
    assert shown_rows(tracked, batch) == [sound, sound]
    assert batch["index"].tolist() == [sound, sound]
    assert list(loader.skipped) == [tracked.media[broken]]


def test_worker_processes_end_with_the_iteration(table):
    indices = np.tile(samplers.sequential(24, 4), (20, 1))
    with Loader(table, indices, options(2, "processes")) as loader:
        iterator = iter(loader)
        next(iterator)
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []
    iterator = iter(loader)
    next(iterator)
    assert len(multiprocessing.active_children()) == 2
    del iterator
    gc.collect()
    assert multiprocessing.active_children() == []


SCRIPT = """
import sys
import numpy as np
from absl import app, flags
from data_pipeline.table import records, samplers
from data_pipeline.read.loader import Loader, LoaderOptions

class Spy(tuple):
    # Arrives in a worker by being rebuilt there, and tells what that worker has imported.
    def __reduce__(self):
        return eval, ("[open(%r, 'a').write(str(sys.modules.get('jax')) + chr(10)), %r][1]"
                      % (sys.argv[1], tuple(self)), {"sys": sys})

def main(argv):
    table = records.make_table([(sys.argv[2], 0, 0, -1)])
    options = LoaderOptions((8, 4), num_workers=1, worker_kind="processes")
    table = records.Table(Spy(table.media), table.pid, table.camera, table.track)
    print(len(list(Loader(table, np.zeros((3, 2), int), options))), "steps")

RUN
"""


@pytest.mark.parametrize("run", ["main(sys.argv)", "app.run(main)"])
def test_processes_from_an_unguarded_script_do_not_run_it_again(table, tmp_path, run):
    script = tmp_path / "script.py"
    script.write_text("import jax\n" + SCRIPT.replace("RUN", run))
    log = tmp_path / "worker.log"
    result = subprocess.run(
        [sys.executable, script, log, table.media[0]], capture_output=True, text=True, timeout=60
    )
    assert (result.stdout, result.stderr, result.returncode) == ("3 steps\n", "", 0)
    assert log.read_text() == "None\n"


@pytest.mark.parametrize(
    "wrong",
    [
        {"unreadable": "ignore"},
        {"resize": "nearest"},
        {"worker_kind": "fibers"},
        {"num_workers": -1},
        {"prefetch": 0},
        {"canvas": (0, 4)},
    ],
)
def test_wrong_option_is_named(wrong):
    with pytest.raises(InputError, match=f"`{next(iter(wrong))}`"):
        LoaderOptions(**({"canvas": (8, 4)} | wrong))


def test_real_pictures(real_data):
    table = datasets.load("market1501", str(real_data / "pku_reid")).train
    batch = next(iter(Loader(table, samplers.pk(table, 16, 4, 0, 0, 1), options(2))))
    np.testing.assert_array_equal(batch["size"], np.tile([128, 48], (16, 1)))
    assert len(np.unique(batch["label"])) == 4
