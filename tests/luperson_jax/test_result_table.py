"""Folds of a small set, and the table of runs over methods, weights, ratios and seeds."""

import importlib
import json
import pathlib

import numpy as np
import pytest

from data_pipeline import datasets

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scripts():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        yield importlib.import_module


@pytest.fixture
def table(scripts, monkeypatch):
    """The script, with runs that only note their recipe and measure a number made of it."""
    module = scripts("run_table")
    module.ran = []

    def measured(recipe, workdir):
        plain = recipe.data.ratio / 2 + recipe.train.seed / 100
        return {"mAP": plain, "rank1": plain, "mINP": plain, "reranked_mAP": plain + 0.1}

    def run(recipe, workdir, task):
        pathlib.Path(workdir).mkdir(parents=True)
        module.ran.append(recipe)

    monkeypatch.setattr(module.loop, "run", run)
    monkeypatch.setattr(module, "measure", measured)
    return module


def arguments(root, *more):
    words = ["--root", root, "--data", "world{seed}", "--method", "bot=configs/small.py:bot"]
    words += ["--weights", "scratch=", "--weights", "moco=runs/{seed}", "--seeds", "2", *more]
    return [str(word) for word in words]


def test_every_combination_is_a_run(table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    more = ("--split", "id", "--ratios", "0.1,1.0", "--repeats", "4,1", "--set", "train.epochs=3")
    assert table.main(arguments(tmp_path, *more)) == 0
    found = [
        (one.train.init_from, one.data.ratio, one.data.repeat, one.train.seed, one.data.root)
        for one in table.ran
    ]
    assert found == [
        (init.format(seed), ratio, {0.1: 4, 1.0: 1}[ratio], seed, f"world{seed}")
        for init in ("", "runs/{}")
        for ratio in (0.1, 1.0)
        for seed in (0, 1)
    ]
    assert {one.train.epochs for one in table.ran} == {3}
    assert {one.data.subset for one in table.ran} == {"ids"}
    assert {one.eval.root for one in table.ran} == {"world0", "world1"}
    rows = json.loads((tmp_path / "table.json").read_text())
    assert len(rows) == 8
    assert (tmp_path / "curve.png").read_bytes()[1:4] == b"PNG"
    lines = [line for line in capsys.readouterr().out.splitlines() if "scratch" in line]
    text = next(line for line in lines if " 0.1 " in line)
    assert "5.5 ± 0.7" in text
    assert "15.5 ± 0.7" in text


def test_what_is_done_is_not_run_again(table, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert table.main(arguments(tmp_path)) == 0
    (tmp_path / "bot/moco/1.00/seed1/cell.json").unlink()
    (tmp_path / "bot/moco/1.00/seed1").rmdir()
    del table.ran[:]
    assert table.main(arguments(tmp_path)) == 0
    assert [(one.train.init_from, one.train.seed) for one in table.ran] == [("runs/1", 1)]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--ratios", "0.1"), "--split"),
        (("--repeats", "1,2"), "one for each of [1.0]"),
        (("--weights", "moco"), "NAME=VALUE"),
        (("--set", "train.epoch=3"), "epochs"),
        (("--ratios", "many"), "many"),
    ],
)
def test_a_mistake_stops_before_the_first_run(table, tmp_path, monkeypatch, capsys, more, words):
    monkeypatch.chdir(ROOT)
    assert table.main(arguments(tmp_path / "table", *more)) == 2
    assert words in capsys.readouterr().err
    assert not table.ran


def test_each_identity_is_tested_once(scripts, labelled_world, tmp_path):
    out = tmp_path / "folds"
    command = ["--dataset", "market1501", "--root", str(labelled_world), "--out", str(out)]
    assert scripts("make_folds").main([*command, "--folds", "5", "--queries", "1"]) == 0
    whole = datasets.load("market1501", str(labelled_world))
    known = np.unique(np.concatenate([whole.train.pid, whole.query.pid]))
    tested = []
    for number in range(5):
        fold = datasets.load("market1501", str(out / f"fold{number}"))
        mine = np.unique(fold.query.pid)
        tested.extend(mine)
        assert not set(mine) & set(fold.train.pid)
        np.testing.assert_array_equal(np.unique([*mine, *fold.train.pid]), known)
        np.testing.assert_array_equal(np.unique(fold.gallery.pid), mine)
        assert len(fold.query) == 2 * len(mine)  # one for each of two cameras
        pictures = len(fold.train) + len(fold.query) + len(fold.gallery)
        # Train: 6 people, 2 cameras, 3 pictures; test: 4, one of which is a query.
        assert pictures == 6 * 2 * 3 + 6 * 2 * 4
    np.testing.assert_array_equal(np.sort(tested), known)


@pytest.mark.parametrize(("folds", "words"), [(1, "expected 2 to 12"), (13, "expected 2 to 12")])
def test_wrong_folds_are_refused(scripts, labelled_world, tmp_path, capsys, folds, words):
    command = ["--dataset", "market1501", "--root", str(labelled_world), "--folds", str(folds)]
    assert scripts("make_folds").main([*command, "--out", str(tmp_path / "folds")]) == 2
    assert words in capsys.readouterr().err


def test_folds_do_not_overwrite(scripts, labelled_world, tmp_path, capsys):
    (tmp_path / "mine").touch()
    command = ["--dataset", "market1501", "--root", str(labelled_world), "--out", str(tmp_path)]
    assert scripts("make_folds").main(command) == 2
    assert "not empty" in capsys.readouterr().err
