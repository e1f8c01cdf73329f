"""The identity -1 is nobody's: what the commands say of sets that hold it."""

import json

import numpy as np
import pytest

from luperson_jax import cli


def luperson(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def saved(tmp_path):
    """Query and gallery of four people with rows of nobody among them, and without those."""
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((5, 8))

    def save(name, pid, camera):
        features = centers[pid] + 0.7 * generator.standard_normal((len(pid), 8))
        arrays = {"features": features.astype(np.float32), "pid": pid, "camera": camera}
        np.savez(tmp_path / f"{name}.npz", **arrays)
        known = {key: one[pid != -1] for key, one in arrays.items()}
        np.savez(tmp_path / f"known-{name}.npz", **known)

    save("query", np.array([0, -1, 1, 2, 3, -1]), np.zeros(6, int))
    save("gallery", np.array([-1, 0, 1, 2, 3, 0, -1, 1, 2, 3, -1]), np.ones(11, int))
    return tmp_path


def both(command, saved, *options):
    """The JSON of a command with the rows of nobody, and without them."""
    found = []
    for prefix in ("", "known-"):
        places = ["--gallery", saved / f"{prefix}gallery.npz", "--json", saved / "out.json"]
        query = saved / f"{prefix}query.npz"
        query = [query] if command == "search" else ["--query", query]
        assert luperson(command, *query, *places, *options) == 0
        found.append(json.loads((saved / "out.json").read_text()))
    return found


@pytest.mark.parametrize(
    "options",
    [[], ["--rerank", "--k1", 3, "--k2", 2], ["--expand", 2], ["--protocol", "separate_cameras"]],
)
def test_figures_are_those_without_nobody(options, saved, capsys):
    found, expected = both("metrics", saved, *options)
    out = capsys.readouterr().out
    assert out.count("left aside: 2 rows of the query and 3 of the gallery") == 1
    assert found["left_aside"] == {"query": 2, "gallery": 3}
    for name in ("mAP", "mINP", "rank1", "cmc"):
        assert found[name] == expected[name], name


def test_a_threshold_is_that_without_nobody(saved, capsys):
    found, expected = both("calibrate", saved, "--far", 0.2, "--leave-out", 0)
    assert "left aside: 3 rows" in capsys.readouterr().out
    for name in ("distance", "false_accepts", "true_accepts", "num_identities"):
        assert found[name] == expected[name], name


def test_lists_pass_over_nobody_and_never_call_two_of_them_the_same(saved, capsys):
    rerank = ["--rerank", "--k1", 3, "--k2", 2, "--top", 20]
    for options in ([], rerank):
        found, expected = both("search", saved, *options)
        assert "left aside: 3 rows of the gallery" in capsys.readouterr().out
        shown = np.flatnonzero(np.load(saved / "gallery.npz")["pid"] != -1)
        if not options:  # re-ranking looks at the queries too, nobody's among them
            known = [one for one in found["queries"] if one["row"] not in (1, 5)]
            for one, other in zip(known, expected["queries"], strict=True):
                rows = [match["row"] for match in one["matches"]]
                assert rows == shown[[match["row"] for match in other["matches"]]].tolist()
    nobody = found["queries"][1]["matches"]
    assert len(nobody) == 8
    assert all("same_identity" not in match for match in nobody)
    assert (
        luperson(
            "search",
            saved / "query.npz",
            "--gallery",
            saved / "gallery.npz",
            "--keep-same-camera",
            "--top",
            20,
            "--json",
            saved / "all.json",
        )
        == 0
    )
    whole = json.loads((saved / "all.json").read_text())["queries"]
    assert [len(one["matches"]) for one in whole] == [11] * 6


def test_a_side_of_nobody_is_refused(saved, capsys):
    arrays = dict(np.load(saved / "gallery.npz"))
    np.savez(saved / "none.npz", **{**arrays, "pid": np.full(11, -1)})
    places = ["--query", saved / "query.npz", "--gallery", saved / "none.npz"]
    assert luperson("metrics", *places) == 2
    assert "-1" in capsys.readouterr().err
