"""What the benchmark of the ranking compares; how fast anything is, no test says."""

import importlib
import json
import pathlib

import numpy as np
import pytest

from tests.ranking_twin import written_out
from tests.tile_distances import tile_distances

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        yield importlib.import_module("benchmark_retrieval")


def test_both_contestants_rank_the_same(benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    target = tmp_path / "out.json"
    arguments = ["--case", "30x200x32mapped", "--rounds", "2", "--baseline-queries", "15"]
    assert benchmark.main([*arguments, "--json", str(target)]) == 0
    figures = json.loads(target.read_text())["cases"]["30x200x32mapped"]
    ours, numpy = figures["jax"], figures["numpy"]
    assert figures["feature_bytes"] == 230 * 32 * 4
    assert figures["largest_ap_difference"] < 1e-4
    assert 0.1 < ours["mAP"] < 0.99
    assert ours["lowest"] <= ours["seconds"] <= ours["highest"]
    assert numpy["num_queries"] == 15
    assert numpy["extrapolated_seconds"] == 2 * numpy["seconds"]


def test_the_baseline_follows_the_protocol(benchmark, tmp_path):
    columns = benchmark.draw(benchmark.Size(20, 90, 16), tmp_path)
    distance = tile_distances(columns.query, columns.gallery, "cosine")
    labels = (columns.query_pid, columns.query_camera, columns.gallery_pid, columns.gallery_camera)
    expected = written_out(distance, *labels).ap
    np.testing.assert_allclose(benchmark.rank_in_numpy(columns, 20), expected, atol=1e-9)


def test_growth_changes_one_number_at_a_time(benchmark):
    sizes = benchmark.growth(benchmark.Size(1, 2, 3))
    assert list(map(str, sizes.values())) == [
        *("1x2x3", "2x2x3", "4x2x3", "1x4x3", "1x8x3", "1x2x6", "1x2x12"),
    ]


@pytest.mark.parametrize("case", ["market", "1x2", "0x2x3", "1x2x-3"])
def test_a_case_that_does_not_exist(benchmark, case, capsys):
    with pytest.raises(SystemExit, match="2"):
        benchmark.parse(["--case", case])
    assert f"'{case}' is no case" in capsys.readouterr().err
