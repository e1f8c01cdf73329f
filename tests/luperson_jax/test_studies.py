"""Studies: rows become runs, what is done is passed over, and seeds have a spread."""

import json

import numpy as np
import pytest
import study_augmentation
import study_cmpe597

from luperson_jax import cli, config, tasks
from luperson_jax.commands import study
from luperson_jax.measure import study_plots
from luperson_jax.retrieval import ranking
from luperson_jax.run import studies
from luperson_jax.run.reporter import NonFiniteLoss
from luperson_jax.structs import EmbeddingSet
from luperson_jax.workdir import recipe_file


@pytest.fixture
def ran(monkeypatch):
    """Recipes of the runs that were begun; a run measures a number made of its recipe."""
    recipes = []

    def work(recipe, workdir, *, rerank, protocol):
        workdir.mkdir(parents=True)
        recipes.append(recipe)
        if recipe.optim.lr == 9:
            raise NonFiniteLoss("the loss is nan")
        if not recipe.eval.dataset:
            return {}
        plain = recipe.data.ratio / 2 + recipe.train.seed / 100
        return {"mAP": plain, "rank1": plain} | ({"reranked_mAP": plain + 0.1} if rerank else {})

    monkeypatch.setattr(study, "_work", work)
    return recipes


def run(root, *more):
    return cli.main(["study", "--root", str(root), *more])


TWO_STAGES = (
    *("--row", "pretrain: small:pretrain data.root=crops"),
    *("--row", "few people: small:bot train.init_from={root}/pretrain/seed{seed} data.ratio=0.1"),
    *("--row", "all: small:bot train.init_from={init}"),
    *("data.root=fold{seed}", "eval.root=fold{seed}"),
)


def test_rows_and_seeds_become_runs_and_a_table(ran, tmp_path, capsys):
    more = ("--vary", "init=,x.npz", "--seeds", "2", "--rerank", "--config.train.epochs=3")
    assert run(tmp_path, *TWO_STAGES, *more) == 0
    assert [one.data.root for one in ran] == ["crops"] * 2 + ["fold0", "fold1"] * 3
    assert [one.train.seed for one in ran] == [0, 1] * 4
    starts = [one.train.init_from for one in ran[2:]]
    assert starts[:2] == [f"{tmp_path}/pretrain/seed{seed}" for seed in (0, 1)]
    assert starts[2:] == ["", "", "x.npz", "x.npz"]
    assert {one.train.epochs for one in ran} == {3}
    lines = json.loads((tmp_path / "table.json").read_text())
    assert [line["row"] for line in lines][-1] == "all, init=x.npz"
    assert lines[-1]["figures"]["mAP"]["values"] == [0.5, 0.51]
    assert lines[-1]["varied"] == {"init": "x.npz"}
    page = (tmp_path / "table.md").read_text()
    assert "| few people | 2 | 5.5 ± 0.7 | 5.5 ± 0.7 | 15.5 ± 0.7 |" in page
    assert "pretrain" not in page
    assert page.strip() in capsys.readouterr().out
    assert (tmp_path / "few-people/seed1/done.json").exists()


def test_what_is_done_is_not_run_again(ran, tmp_path, capsys):
    rows = ("--row", "a: small:bot data.root=x eval.root=x")
    assert run(tmp_path, *rows, "--seeds", "2") == 0
    (tmp_path / "a/seed1/done.json").unlink()
    (tmp_path / "a/seed1").rmdir()
    del ran[:]
    assert run(tmp_path, *rows, "--seeds", "3", "data.num_workers=7") == 0
    assert [one.train.seed for one in ran] == [1, 2]
    assert len(json.loads((tmp_path / "table.json").read_text())[0]["seeds"]) == 3
    assert run(tmp_path, *rows, "optim.lr=1") == 2
    message = capsys.readouterr().err
    assert "a/seed0 was done with other settings" in message
    assert "optim.lr: 0.003 there, 1.0 here" in message


def test_figures_of_another_protocol_are_not_taken(ran, tmp_path, capsys):
    row = ("--row", "bot: small:bot")
    assert run(tmp_path, *row) == 0
    assert run(tmp_path, *row, "--protocol", "prid2011") == 2
    assert "--protocol: 'market1501' there, 'prid2011' here" in capsys.readouterr().err
    assert len(ran) == 1


def test_a_row_that_diverges_does_not_end_the_others(ran, tmp_path, capsys):
    rows = ("--row", "wild: small:bot optim.lr=9", "--row", "tame: small:bot", "eval.root=x")
    assert run(tmp_path, *rows) == 1
    assert "wild/seed0: the loss is nan" in capsys.readouterr().out
    assert [one["row"] for one in json.loads((tmp_path / "table.json").read_text())] == ["tame"]


def test_published_figures_stand_beside_those_of_a_row(ran, tmp_path):
    rows = (
        "--row",
        "a: small:bot published.mAP=31.4 published.rank1=55.0",
        "--row",
        "b: small:bot",
    )
    assert run(tmp_path, *rows, "data.root=x", "eval.root=x") == 0
    head, _, *lines = (tmp_path / "table.md").read_text().splitlines()
    assert head == "| | seeds | mAP | Rank-1 | published mAP | published Rank-1 |"
    assert lines == ["| a | 1 | 50.0 | 50.0 | 31.4 | 55.0 |", "| b | 1 | 50.0 | 50.0 |  |  |"]
    assert (tmp_path / "rows.png").read_bytes()[1:4] == b"PNG"


def test_the_picture_of_the_rows_has_every_run_and_what_was_published():
    figures = {"mAP": {"values": [0.2, 0.4], "std": 0.1, "mean": 0.3}}
    lines = [
        {"row": "a", "figures": figures, "published": {"mAP": 31.4}},
        {"row": "no mAP", "figures": {}, "published": {}},
        {"row": "b", "figures": figures, "published": {}},
    ]
    own, published = study_plots.rows(lines).axes
    assert [label.get_text() for label in own.get_yticklabels()] == ["a", "b"]
    dots = [line.get_xdata() for line in own.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots, [[20, 40], [20, 40]])
    assert [line.get_xdata()[0] for line in published.lines] == [31.4]
    assert len(study_plots.rows(lines[2:]).axes) == 1


@pytest.mark.parametrize("way", ["published", "corrected"])
def test_every_row_of_cmpe597_can_be_planned(way, tmp_path):
    listed = study_cmpe597.rows(tmp_path, "lup.npz", small=False)
    rows = [studies.parse_row(text) for text in listed if text.split(":")[0].endswith(way)]
    runs = studies.plan(rows, tmp_path, 2, tasks.OPTIONS)
    assert [run.seed for run in runs] == [0, 1] * 6
    starts = [run.recipe.train.init_from for run in runs]
    assert starts[6:] == ["lup.npz"] * 6
    own = [f"{tmp_path}/{one}_SSL/seed{seed}" for one in ("Def", "CJ", "AF") for seed in (0, 1)]
    assert starts[:6] == ([""] * 6 if way == "published" else own)
    assert {run.recipe.data.num_instances for run in runs} == {1 if way == "published" else 4}
    assert {run.recipe.train.epochs * run.recipe.train.steps_per_epoch for run in runs} == {10_800}


def test_every_row_of_the_ablation_can_be_planned(tmp_path):
    """Views, erasing, temperature and methods differ in what their names say alone."""
    rows = [studies.parse_row(text) for text in study_augmentation.rows(tmp_path)]
    runs = {run.row.name: run for run in studies.plan(rows, tmp_path, 1, tasks.OPTIONS)}
    assert len(runs) == 1 + 2 * 15
    pretrained = {name: run for name, run in runs.items() if name.startswith("pre-training ")}
    for name, run in pretrained.items():
        tuned = runs[name.removeprefix("pre-training ")]
        assert tuned.recipe.train.init_from == str(run.workdir)
        assert tuned.recipe.data.subset == "ids"
    assert runs["random weights"].recipe.train.init_from == ""
    recipes = {name: config.to_dict(run.recipe) for name, run in pretrained.items()}
    strong = recipes["pre-training moco"]
    for name in ("temperature 0.05", "erasing 0.2", "views -CJ"):
        other = recipes[f"pre-training {name}"]
        assert len(recipe_file.differences(strong, other, ())) == 1, name


def test_rows_come_from_a_file_and_make_a_curve(ran, tmp_path):
    (tmp_path / "rows").write_text("# shares\n\na: small:bot data.ratio={ratio} eval.root='x y'\n")
    more = ("--file", str(tmp_path / "rows"), "--vary", "ratio=0.1,1.0", "--curve", "ratio")
    assert run(tmp_path / "study", *more) == 0
    assert [(one.data.ratio, one.eval.root) for one in ran] == [(0.1, "x y"), (1.0, "x y")]
    assert (tmp_path / "study/curve.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "a study needs rows"),
        (("--row", "bot small:bot"), "expected NAME: CONFIG"),
        (("--row", "bot: smal:bot"), "did you mean 'small'"),
        (("--row", "bot: small:bot train.epoch=3"), "did you mean 'epochs'"),
        (("--row", "bot: small:bot", "--row", "bot: small:mgn"), "two rows are kept in"),
        (("--row", "bot: small:bot", "--vary", "seed=1,2"), "not seed or root"),
        (("--row", "bot: small:bot", "--vary", "x=a,b", "--curve", "x"), "must be numbers"),
        (("--row", "bot: small:bot", "--curve", "x"), "the name of a --vary"),
        (("--row", "bot: small:bot", "--seeds", "0"), "--seeds is 0"),
        (("--file", "none"), "cannot read --file none"),
        (("--row", "bot: small:bot", "--rerank", "--protocol", "mars"), "leave one of them out"),
    ],
)
def test_a_mistake_stops_before_the_first_run(ran, tmp_path, capsys, more, words):
    assert run(tmp_path / "study", *more) == 2
    assert words in capsys.readouterr().err
    assert not ran
    assert not (tmp_path / "study").exists()


def test_figures_are_those_of_the_last_ranking(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    sets = [
        EmbeddingSet(
            rng.normal(size=(8, 4)).astype(np.float32),
            np.arange(8) % 4,
            np.full(8, camera),
            tuple(map(str, range(8))),
        )
        for camera in (0, 1)
    ]
    report = ranking.rank(*sets)
    monkeypatch.setattr(study.loop, "run", lambda *_: report)
    recipe = study.config.resolve(
        study.config.read("small", options=study.tasks.OPTIONS), study.tasks.OPTIONS
    )
    assert study._work(recipe, tmp_path, rerank=False, protocol="market1501")["mAP"] == report.mAP
