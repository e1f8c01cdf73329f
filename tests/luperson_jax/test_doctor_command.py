"""`luperson doctor`: what is said of an installation that works, and of one that does not."""

import json

import numpy as np

from luperson_jax import cli
from luperson_jax.commands import doctor


def test_a_whole_installation(tmp_path, capsys):
    assert cli.main(["doctor", "--json", str(tmp_path / "a.json")]) == 0
    said = capsys.readouterr().out
    about = json.loads((tmp_path / "a.json").read_text())
    assert [one["passed"] for one in about["tests"]] == [True] * len(doctor.TESTS)
    assert about["devices"][0]["platform"] == "cpu"
    for words in ("luperson_jax 0.1.0", f"jax {about['packages']['jax']}", "device: cpu"):
        assert words in said
    assert "infomap" in about["missing"]
    assert "pip install 'luperson_jax[infomap]'" in said


def test_what_fails_is_named_and_the_status_is_1(monkeypatch, capsys):
    def broken(features, gallery, k):
        return type("Found", (), {"distance": np.ones((len(features), k))})

    monkeypatch.setattr(doctor.neighbors, "nearest", broken)

    def damaged(*given):
        raise RuntimeError("no codec\nmore")

    monkeypatch.setattr(doctor.decode, "decode", damaged)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "pictures: FAILS: RuntimeError: no codec (" in said
    assert "nearest neighbors: FAILS: distances are" in said
    assert "a gradient: works" in said
