"""What the benchmark runs and reports; how fast anything is, no test says."""

import argparse
import collections
import io
import json
import os
import time

import benchmark_loader
import numpy as np
import pytest
from PIL import Image

from data_pipeline.read import storage

QUICK = "--images 16 --batch-size 8 --steps 2 --rounds 1 --originals 32x16 --canvases 16x8"


@pytest.fixture
def report(tmp_path, capsys):
    """Runs the script and gives what it wrote."""

    def run(arguments):
        file = tmp_path / "report.json"
        given = f"{QUICK} {arguments} --json {file}".split()
        assert benchmark_loader.main(given) == 0
        return json.loads(file.read_text()), capsys.readouterr().out

    return run


def test_every_loader_stands_beside_its_bare_loop(report):
    pytest.importorskip("lmdb")
    found, shown = report("--parts speed --kinds threads --workers 0 2 --canvases 16x8 8x4")
    names = ("canvas", "storage", "kind", "workers")
    expected = []
    for canvas in ("16x8", "8x4"):
        expected.append((canvas, "memory", "bare", 1))
        for place in ("folder", "lmdb", "array_record"):
            loaders = (("bare", 1), ("bare", 2), ("calling thread", 0), ("threads", 2))
            expected += [(canvas, place, *one) for one in loaders]
        assert f"32x16 to {canvas}" in shown
    assert [tuple(one[name] for name in names) for one in found["speed"]] == expected
    speeds = {tuple(one[name] for name in names): one for one in found["speed"]}
    for (canvas, place, kind, workers), one in speeds.items():
        assert (kind == "bare") == ("overhead" not in one)
        bare = speeds[canvas, place, "bare", max(workers, 1)]
        for clock, value in one.get("overhead", {}).items():
            figure = {"wall": "images_per_second", "cpu": "images_per_cpu_second"}[clock]
            assert (1 + value) * one[figure] == pytest.approx(bare[figure])


def test_processes_are_measured(report):
    found, _ = report("--parts speed --kinds processes --workers 1 --storages folder")
    kinds = [(one["storage"], one["kind"], one["workers"]) for one in found["speed"]]
    assert kinds == [("memory", "bare", 1), ("folder", "bare", 1), ("folder", "processes", 1)]


def test_time_of_processes_counts():
    before = time.process_time()
    both = benchmark_loader._now([os.getpid()])[1]
    assert 2 * before <= both <= 2 * time.process_time()


def test_storages_hold_the_same_pictures(tmp_path):
    pytest.importorskip("lmdb")
    options = benchmark_loader.parse(QUICK.split())
    tables = benchmark_loader.store("32x16", tmp_path, options)
    pictures = [sorted(map(storage.read, table.media)) for table in tables.values()]
    storage.close()
    assert list(tables) == ["folder", "lmdb", "array_record"]
    assert len(set(pictures[0])) == 16
    assert pictures[1:] == [pictures[0]] * 2


@pytest.mark.parametrize("threads", [1, 2])
def test_bare_loop_reads_the_pictures_in_turn(threads):
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 2, 3), np.uint8)).save(file, "PNG")
    read = []

    def reading(name):
        read.append(name)
        return file.getvalue()

    benchmark_loader.bare_turn("abc", reading, (8, 4), threads, 7)
    assert collections.Counter(read) == {"a": 3, "b": 2, "c": 2}


def test_tables_are_opened_each_in_a_process_of_its_own(report):
    pytest.importorskip("lmdb")
    found, shown = report("--parts tables --rows 600")
    assert [one["table"] for one in found["tables"]] == [
        "rows",
        "packed",
        "luperson",
        "luperson_nl",
    ]
    for one in found["tables"]:
        assert one["rows"] == 600
        assert one["peak_bytes"] >= one["bytes_before"] > 1 << 20
        assert f"open {one['table']}" in shown


def test_made_up_tables_agree(tmp_path):
    """The packed one holds the rows, and LUPerson-NL finds the same people in its keys."""
    pytest.importorskip("lmdb")
    rows = benchmark_loader.made_up(600)
    benchmark_loader.write_packed(tmp_path / "packed", 600)
    benchmark_loader.write_keys(tmp_path / "keys", 600)
    packed = benchmark_loader.datasets.load("packed", str(tmp_path / "packed")).train
    assert packed.fingerprint() == rows.fingerprint()
    named = benchmark_loader.datasets.load("luperson_nl", str(tmp_path / "keys")).train
    storage.close()
    assert (len(named), named.num_ids, named.num_cameras) == (600, 24, 2)
    assert (rows.num_ids, rows.num_cameras) == (24, 2)


def test_an_epoch_takes_a_few_numbers_a_row_and_no_objects(report):
    """8 bytes are a number of the result; an object of Python would take 28 or more."""
    found, _ = report("--parts shuffles --rows 50000")
    per_row = {one["sampler"]: one["peak_bytes"] / 50_000 for one in found["shuffles"]}
    assert list(per_row) == ["shuffled", "pk", "pk_camera"]
    assert 7.9 < per_row["shuffled"] < 17
    assert 16 < per_row["pk"] < 80
    assert 16 < per_row["pk_camera"] < 120


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--originals", "12"], "'12' is no size; expected HEIGHTxWIDTH"),
        (["--canvases", "0x8"], "'0x8' is no size"),
        (["--images", "7"], "--images is 7; give 8 or more"),
        (["--rounds", "0"], "--rounds is 0; give 1 or more"),
        (["--rows", "255"], "--rows is 255; give 256 or more"),
        (["--workers", "-1"], "--workers is -1"),
        (["--storages", "tape"], "tape"),
        (["--parts", "speed", "--root", "/nowhere"], "/nowhere"),
    ],
)
def test_wrong_options_are_named(capsys, arguments, named):
    assert benchmark_loader.main([*QUICK.split(), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("benchmark_loader: ")
    assert named in error


def test_pictures_of_the_user_are_taken_as_they_are(tmp_path):
    Image.new("RGB", (5, 9)).save(tmp_path / "a.png")
    options = argparse.Namespace(root=str(tmp_path), storages=["folder"])
    tables = benchmark_loader.store(benchmark_loader.AS_THEY_ARE, tmp_path / "out", options)
    assert list(tables["folder"].media) == [str(tmp_path / "a.png")]
