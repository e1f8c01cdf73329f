"""The table of runs over methods, weights, ratios and seeds."""

import importlib
import json
import pathlib

import pytest

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
