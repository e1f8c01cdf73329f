"""What a damaged line of `metrics.jsonl` does: nothing but being counted."""

import json

import pytest

from data_pipeline.errors import InputError
from luperson_jax.measure import html_report
from luperson_jax.run.reporter import Reporter
from luperson_jax.workdir import metrics_file

GOOD = [b'{"step": 1, "train/loss": 2.5}', b'{"step": 2, "train/loss": NaN}']

BAD = {
    "half": b'{"step": 3, "train/lo',
    "not UTF-8": b'{"step": 3, "train/\xff": 1}',
    "zeros": bytes(40),
    "number": b"3",
    "list": b'["step", 3]',
    "null": b"null",
    "no step": b'{"train/loss": 1.0}',
    "step is no number": b'{"step": "3", "train/loss": 1.0}',
    "step below 0": b'{"step": -3, "train/loss": 1.0}',
    "endless step": b'{"step": 1' + 400 * b"0" + b', "train/loss": 1.0}',
    "text": b'{"step": 3, "train/loss": "low"}',
    "nested": b'{"step": 3, "train/loss": {}}',
    "endless number": b'{"step": 3, "train/loss": 1' + 400 * b"0" + b"}",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_passed_over_and_counted(tmp_path, name):
    path = tmp_path / metrics_file.METRICS_FILE
    path.write_bytes(b"\n".join([GOOD[0], BAD[name], GOOD[1]]) + b"\n")
    lines, num_bad = metrics_file.read(path)
    assert [line.text for line in lines] == GOOD
    assert [line.step for line in lines] == [1, 2]
    assert lines[0].values == {"train/loss": 2.5}
    assert num_bad == 1


def test_a_run_drops_bad_lines_with_a_word_and_writes_on(tmp_path, capsys):
    path = tmp_path / metrics_file.METRICS_FILE
    path.write_bytes(b"\n".join([GOOD[0], BAD["not UTF-8"], GOOD[1], BAD["half"]]))
    reporter = Reporter(tmp_path, total_steps=9, log_every=1)
    reporter.start(1)
    reporter.write(2, {"train/loss": 1.5})
    reporter.close()
    assert [json.loads(line)["step"] for line in path.read_bytes().splitlines()] == [1, 2]
    assert "2 lines of metrics.jsonl cannot be read and are left out" in capsys.readouterr().out


def test_the_report_draws_the_other_lines_and_says_so(tmp_path):
    path = tmp_path / metrics_file.METRICS_FILE
    path.write_bytes(b"\n".join([*BAD.values(), *GOOD]))
    text = "".join(html_report._curves(path))
    assert "train/loss" in text
    assert f"{len(BAD)} lines of metrics.jsonl cannot be read" in text


def test_a_file_that_is_none(tmp_path):
    assert metrics_file.read(tmp_path / "missing") == ([], 0)
    with pytest.raises(InputError, match="cannot read"):
        metrics_file.read(tmp_path)
