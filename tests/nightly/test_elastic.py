"""Runs that are killed and go on with other devices and processes: the short form of
`scripts/check_elastic.py`, of every method."""

import json
import os
import subprocess
import sys

import check_elastic
import numpy as np
import pytest

from tests.end_to_end.commands import ROOT

KILLS = os.environ.get("LUPERSON_NIGHTLY_KILLS", "2")
"""Of each method and kind."""


def _ranks(distances: list[float]) -> check_elastic.Ranks:
    """Of one query, whose first two images are its matches."""
    return check_elastic.Ranks(np.asarray([distances]), np.asarray([[True, True, False, False]]))


def test_places_that_change_are_those_of_a_match_and_another_image():
    one = _ranks([1.0, 2.0, 2.001, 8.0])
    assert check_elastic.swaps(one, one) == (0, 0.0)
    assert check_elastic.swaps(one, _ranks([2.0, 1.0, 7.0, 3.0])) == (0, 0.0)
    number, widest = check_elastic.swaps(one, _ranks([1.0, 2.001, 2.0, 8.0]))
    assert (number, round(widest, 6)) == (1, round(0.001 / 2.0005, 6))
    assert widest < check_elastic.NEAR_TIE
    number, widest = check_elastic.swaps(one, _ranks([2.5, 2.0, 2.001, 8.0]))
    assert (number, round(widest, 6)) == (1, round(1.001 / 2.0005, 6))
    assert widest > check_elastic.NEAR_TIE


@pytest.mark.parametrize("method", check_elastic.METHODS)
def test_killed_runs_end_like_those_left_alone_here_and_elsewhere(method, tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "check_elastic.py"), "--root", str(tmp_path)]
    done = subprocess.run(
        [*command, "--methods", method, "--kills", KILLS], capture_output=True, text=True
    )
    sys.stdout.write(f"\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "elastic.json").read_text())[method]
    assert found["good"]
    assert found["kills"] == 2 * int(KILLS)
    assert found["unequal"] == []
