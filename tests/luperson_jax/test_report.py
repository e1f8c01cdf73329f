"""Metrics one step late, the stop on NaN, and the figures of a ranking."""

import dataclasses
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.measure import figures
from luperson_jax.run.reporter import NonFiniteLoss, Reporter
from luperson_jax.structs import RankingReport
from luperson_jax.workdir import metrics_file


def lines_of(folder):
    return [
        json.loads(line) for line in (folder / metrics_file.METRICS_FILE).read_text().splitlines()
    ]


def test_a_step_is_reported_when_the_next_one_has_begun(tmp_path):
    reporter = Reporter(tmp_path, total_steps=3, log_every=1)
    reporter.start(0)
    reporter.step(1, 4, {"loss": jnp.float32(2.5)})
    assert lines_of(tmp_path) == []
    reporter.step(2, 4, {"loss": jnp.float32(1.5)})
    assert [(line["step"], line["train/loss"]) for line in lines_of(tmp_path)] == [(1, 2.5)]
    reporter.flush()
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2]
    reporter.close()


def test_a_loss_that_is_not_finite_stops_with_step_and_metrics(tmp_path):
    reporter = Reporter(tmp_path, total_steps=9, log_every=1)
    reporter.step(7, 4, {"loss": jnp.float32(np.nan), "top1": jnp.float32(0.25)})
    with pytest.raises(NonFiniteLoss, match=r"step 7 .*loss=nan, top1=0\.25.*step$"):
        reporter.step(8, 4, {"loss": jnp.float32(1.0)})
    reporter.close()


def test_only_every_nth_step_and_the_last_are_written(tmp_path):
    reporter = Reporter(tmp_path, total_steps=5, log_every=2)
    for step in range(1, 6):
        reporter.step(step, 1, {"loss": jnp.float32(step)})
    reporter.flush()
    reporter.close()
    assert [line["step"] for line in lines_of(tmp_path)] == [2, 4, 5]


def test_names_are_said_as_they_are(tmp_path, capsys):
    reporter = Reporter(tmp_path, total_steps=1, log_every=1)
    reporter.say("skipped a[/b].jpg [link=x] :cat: \x1b[2J")
    reporter.close()
    assert capsys.readouterr().out == "skipped a[/b].jpg [link=x] :cat: \\x1b[2J\n"


def test_figures_of_a_ranking_count_ranks_from_one():
    cmc = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    one = np.ones(1)
    ranking = RankingReport(0.5, 0.25, cmc, one, 1, 1, one, one, one)
    values = figures.ranking_values(ranking)
    assert values == {
        "mAP": 0.5,
        "mINP": 0.25,
        "rank1": 0.1,
        "rank5": 0.5,
        "rank10": 1.0,
        "rank20": 1.0,
    }
    short = dataclasses.replace(ranking, cmc=cmc[:3])
    assert figures.ranking_values(short)["rank10"] == 0.3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_is_said_once_and_ends_no_training(tmp_path, capsys):
    reporter = Reporter(tmp_path, total_steps=3, log_every=1)
    reporter._lines.close()
    reporter._lines = open("/dev/full", "w", buffering=1)  # noqa: SIM115
    for step in (1, 2):
        reporter.write(step, {"train/loss": 1.0})
    reporter.close()
    assert capsys.readouterr().out.count("No space left on device; figures are lost") == 1
