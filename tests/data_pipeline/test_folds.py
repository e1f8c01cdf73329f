"""Folds of a small set: each identity is tested once, by a network that never saw it."""

import numpy as np
import pytest

from data_pipeline import datasets
from luperson_jax import cli


def folds(labelled_world, out, *more):
    given = ["--dataset", "market1501", "--root", str(labelled_world), "--out", str(out), *more]
    return cli.main(["data", "folds", *given])


def test_each_identity_is_tested_once(labelled_world, tmp_path):
    out = tmp_path / "folds"
    assert folds(labelled_world, out, "--folds", "5", "--queries", "1") == 0
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


@pytest.mark.parametrize("number", ["1", "13"])
def test_wrong_folds_are_refused(labelled_world, tmp_path, capsys, number):
    assert folds(labelled_world, tmp_path / "folds", "--folds", number) == 2
    assert f"--folds is {number}; expected 2 to 12" in capsys.readouterr().err


def test_folds_do_not_overwrite(labelled_world, tmp_path, capsys):
    (tmp_path / "mine").touch()
    assert folds(labelled_world, tmp_path) == 2
    assert "not empty" in capsys.readouterr().err
