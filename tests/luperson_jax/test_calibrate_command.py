"""`luperson calibrate` and what other commands do with its file."""

import json

import numpy as np
import pytest

from luperson_jax import cli
from luperson_jax.serving import decision

NUM, PICTURES, CAMERAS = 60, 6, 3


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """People with two pictures before each of three cameras, with identities and without."""
    folder = tmp_path_factory.mktemp("saved")
    generator = np.random.default_rng(0)
    pid = np.repeat(np.arange(NUM), PICTURES)
    camera = np.tile(np.arange(CAMERAS), NUM * 2)
    features = generator.standard_normal((NUM, 16))[pid]
    features += 0.5 * generator.standard_normal(features.shape)
    names = enumerate(zip(pid, camera, strict=True))
    key = np.array([f"c{seen_by}/{person}/{row}.jpg" for row, (person, seen_by) in names])
    columns = {"features": features.astype(np.float32), "key": key}
    np.savez(folder / "known.npz", **columns, pid=pid, camera=camera)
    np.savez(folder / "unknown.npz", **columns)
    rows = generator.integers(0, len(key), (400, 2))
    rows[:100, 1] = rows[:100, 0] // PICTURES * PICTURES + generator.integers(0, PICTURES, 100)
    lines = [f"{key[a]},{key[b]},{int(pid[a] == pid[b])}" for a, b in rows if a != b]
    (folder / "pairs.csv").write_text("\n".join(["first,second,same", *lines]))
    return folder


def calibrated(home, *options, status=0):
    out = home / "out.json"
    given = ["calibrate", *map(str, options), "--json", str(out)]
    assert cli.main(given) == status
    return json.loads(out.read_text()) if not status else None


def test_thresholds_by_people_cameras_and_with_a_band(home, capsys):
    known = ["--embeddings", home / "known.npz", "--far", 0.01]
    found = calibrated(home, *known, "--misses", 0.02, "--by-cameras")
    words = capsys.readouterr().out
    assert f"cosine distance <= {found['distance']:.6f}" in words
    assert f"beyond {found['reject_distance']:.6f}" in words
    assert found["confident"] == found["distance"] < found["measured"]
    assert found["conformal"] is None
    low, high = found["distance_interval"]
    assert low < found["measured"] < high
    pairs = [one["cameras"] for one in found["cameras"]]
    assert pairs == [[a, b] for a in range(CAMERAS) for b in range(a, CAMERAS)]
    rule = decision.DecisionRule.of_values(found, "out.json")
    assert rule.of_cameras[0, 1][0] == found["cameras"][1]["distance"]
    assert rule.familiarity is not None
    assert calibrated(home, *known, "--promise", "conformal")["distance"] is None
    assert "needs 398 people or more" in capsys.readouterr().out


def test_thresholds_from_tracklets_are_those_within_cameras(home, capsys):
    given = ["--embeddings", home / "unknown.npz", "--far", 0.01, "--tracklets"]
    patterns = ["--camera", r"^c(\d)", "--tracklet", r"^c\d/\d+"]
    found = calibrated(home, *given, *patterns)
    assert f"{CAMERAS * NUM} tracklets" in capsys.readouterr().out
    stored = np.load(home / "known.npz")
    unit = stored["features"] / np.linalg.norm(stored["features"], axis=1, keepdims=True)
    apart = 1 - unit @ unit.T
    pid, camera = stored["pid"], stored["camera"]
    later = np.arange(len(pid))[:, None] < np.arange(len(pid))
    near = later & (camera[:, None] == camera)
    for name, kind in (("true", pid[:, None] == pid), ("false", pid[:, None] != pid)):
        rate = found[f"{name}_accepts"]
        assert rate["pairs"] == np.sum(near & kind)
        share = np.mean(apart[near & kind] <= found["distance"] + 1e-6)
        assert rate["value"] == pytest.approx(share, abs=1e-4)


def test_thresholds_from_judged_pairs(home, capsys):
    judged = ["--embeddings", home / "unknown.npz", "--judged", home / "pairs.csv"]
    found = calibrated(home, *judged, "--far", 0.05)
    lines = (home / "pairs.csv").read_text().splitlines()[1:]
    same = sum(line.endswith(",1") for line in lines)
    assert found["true_accepts"]["pairs"] == same
    assert found["false_accepts"]["pairs"] == len(lines) - same
    assert found["conformal"] is found["pictures"] is None
    assert f"{same} of the same person" in capsys.readouterr().out


def test_thresholds_of_cameras_are_by_the_names_in_paths(home):
    known = ["--embeddings", home / "known.npz", "--far", 0.01, "--by-cameras"]
    by_number, by_name, by_word = (
        calibrated(home, *known, *given)["cameras"]
        for given in ([], ["--camera", r"c(\d)/"], ["--camera", r"c\d"])
    )
    for number, name, word in zip(by_number, by_name, by_word, strict=True):
        assert name["cameras"] == [str(one) for one in number["cameras"]]
        assert word["cameras"] == [f"c{one}" for one in number["cameras"]]
        assert name["distance"] == word["distance"] == number["distance"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--judged", "pairs.csv", "--by-cameras"], "--judged goes with --embeddings"),
        (["--camera", "x"], "--camera goes with --tracklets or --by-cameras"),
        (["--tracklet", "x"], "--tracklet goes with --tracklets"),
        (["--by-cameras", "--camera", "c([01])/"], "finds nothing in c2/0/2.jpg"),
        (["--tracklets", "--by-cameras"], "--by-cameras needs identities"),
        (["--people", "1"], "1 new people make no pair"),
        (["--judged", "pairs.csv", "--promise", "conformal"], "allow no conformal threshold"),
    ],
)
def test_what_does_not_go_together_is_told(home, options, words, capsys):
    options = [str(home / one) if one == "pairs.csv" else one for one in options]
    calibrated(home, "--embeddings", home / "known.npz", *options, status=2)
    assert words in capsys.readouterr().err


def test_a_search_marks_by_the_file(home, capsys):
    calibrated(home, "--embeddings", home / "known.npz", "--far", 0.01, "--misses", 0.02)
    known = json.loads((home / "out.json").read_text())
    stored = np.load(home / "known.npz")
    np.savez(home / "query.npz", **{name: stored[name][:2] for name in stored.files})
    given = ["search", home / "query.npz", "--gallery", home / "known.npz", "--top", NUM]
    given += ["--json", home / "lists.json"]
    capsys.readouterr()
    assert cli.main([*map(str, given), "--threshold", str(home / "out.json")]) == 0
    said = capsys.readouterr().out
    answers = {True: 0, False: 0, None: 0}
    for one in json.loads((home / "lists.json").read_text())["queries"]:
        for match in one["matches"]:
            near, far = (match["distance"] <= known[f"{n}distance"] for n in ("", "reject_"))
            assert match["same_person"] is (True if near else None if far else False)
            answers[match["same_person"]] += 1
    assert said.count("  same person\n") == answers[True] > 0
    assert said.count("  unsure\n") == answers[None]
    assert answers[False] > 0
    assert cli.main([*map(str, given), "--threshold", "0.2", "--metric", "euclidean"]) == 2
    assert "of cosine distance" in capsys.readouterr().err
    assert cli.main([*map(str, given), "--threshold", str(home / "none.json")]) == 2
    assert "none.json is missing" in capsys.readouterr().err
