"""Looking into an index, taking pictures out of it and searching it, from the command line."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

import luperson_jax as lp
from data_pipeline.errors import InputError
from data_pipeline.read import atomic
from luperson_jax import cli
from luperson_jax.measure import embeddings
from luperson_jax.serving.camera_names import CameraNames
from luperson_jax.serving.decision import DecisionRule
from luperson_jax.structs import EmbeddingSet
from tests import page_worlds

UNKNOWN = np.array([-1])


@pytest.fixture
def people(tmp_path):
    """24 pictures from 2026-11-29 00:00 to 23:00; the last one of unknown moment and camera."""
    index = page_worlds.make(tmp_path / "drawn")
    index.columns.time[-1] = "NaT"
    index.columns.camera[-1] = -1
    named = dataclasses.replace(index, cameras=CameraNames({1: "1", 2: "2"}))
    named.save(tmp_path / "people")
    return str(tmp_path / "people")


def ids(folder):
    return lp.Index.open(folder).columns.id.tolist()


def rule_of(*cameras):
    """A threshold of 0.5, and one below any distance for two cameras."""
    return DecisionRule((0.5, 0.5), {cameras: (-1.0, -1.0)})


def test_thresholds_of_two_cameras_meet_the_names_in_the_paths(people):
    """Data sets count cameras from 0: their pair (0, 1) is not the pair (0, 1) of the paths."""
    index = lp.Index.open(people)
    distance, places = np.full(2, 0.1, np.float32), np.array([0, 4])  # of cameras 1 and 2
    assert index.answers(rule_of("1", "2"), distance, places, "1") == [True, False]
    assert index.answers(rule_of("1", "2"), distance, places, 1) == [True, False]
    assert index.answers(rule_of("1", "2"), distance, places, "7") == [True, True]
    assert index.answers(rule_of(0, 1), distance, places) == [True, True]
    assert index.answers(None, distance, places, "1") == [None, None]
    with pytest.raises(InputError, match="numbers of a data set"):
        index.answers(rule_of(0, 1), distance, places, 1)
    with pytest.raises(InputError, match="numbers of a data set"):
        index.check_rule(rule_of(0, 1))
    index.check_rule(rule_of("1", "2"))
    index.check_rule(DecisionRule.at(0.5))
    numbered = dataclasses.replace(index, cameras=CameraNames())
    assert numbered.answers(rule_of(1, 2), distance, places, 1) == [True, False]
    for rule in (rule_of("1", "2"), rule_of(1, 2)):
        with pytest.raises(InputError, match="names"):
            numbered.answers(rule, distance, places, "1")
    with pytest.raises(InputError, match="for names as paths have them"):
        numbered.check_rule(rule_of("1", "2"))
    with pytest.raises(InputError, match=r"no camera of the index is called 'door'; it has 1, 2"):
        index.chosen("door")
    assert index.chosen("01").tolist() == index.chosen(1).tolist() == index.chosen(["1"]).tolist()


def test_names_of_cameras_get_numbers_that_stay():
    none = np.array([-1])
    numbers, names = CameraNames().numbered(["hall", None, "2", "02", "door"], none)
    assert (numbers, names.named) == ([4, -1, 2, 2, 3], {2: "2", 3: "door", 4: "hall"})
    numbers, more = names.numbered(["3", "hall", "yard"], np.array([2]))
    assert [more.name(one) for one in numbers] == ["3", "hall", "yard"]
    assert numbers[1] == 4
    assert len(more.named) == 5
    assert CameraNames.of_values(more.values(), np.array(numbers)) == more
    assert names.numbered([None, -1], np.array([2])) == ([-1, -1], names)
    assert CameraNames().numbered([0, -1, 5], none) == ([0, -1, 5], CameraNames())
    for start, given in ((names, [1]), (CameraNames(), ["1"]), (CameraNames(), [1, "1"])):
        with pytest.raises(InputError, match="by number and by name"):
            start.numbered(given, np.array([2]))
    with pytest.raises(ValueError, match="no name for camera 9"):
        CameraNames.of_values({"1": "1"}, np.array([9, -1]))


def files(folder):
    return sorted(pathlib.Path(folder).iterdir())


def test_what_an_index_holds(people, tmp_path, capsys):
    assert cli.main(["index-show", people, "--json", str(tmp_path / "a.json")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{people}: 24 pictures, 3 numbers each",
        "network      a network whose name is not kept",
        "weights      drawn",
        "camera 1     12 pictures",
        "camera 2     11 pictures",
        "no camera    1 pictures",
        "taken        2026-11-29 00:00:00 to 2026-11-29 22:00:00",
        "no moment    1 pictures",
    ]
    values = json.loads((tmp_path / "a.json").read_text())
    assert values["cameras"] == {"1": 12, "2": 11}
    assert (values["pictures"], values["without_time"], values["thresholds"]) == (24, 1, [])


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        (["--before", "2026-11-29T05:00"], range(5)),
        (["--before", "2020-01-01"], []),
        (["--before", "2030-01-01"], range(23)),
        (["--path", r"/1/.*_c2_\d\.png$"], range(12, 16)),
        (["--path", "/1/", "--camera", "2", "--before", "2026-11-29T14:00"], [12, 13]),
        (["--camera", "1", "2"], range(23)),
        (["--id", "3", "5", "--camera", "2"], [5]),
        (["--path", "."], range(24)),
    ],
)
def test_pictures_that_fit_all_options_go(people, given, gone, capsys):
    stay = [one for one in range(24) if one not in gone]
    assert cli.main(["index-remove", people, *given, "--dry-run"]) == 0
    *listed, last = capsys.readouterr().out.splitlines()[: len(gone) + 1]
    assert len(listed) == len(gone)
    assert f"{len(gone)} of 24 pictures would go" in last
    assert ids(people) == list(range(24))
    features = lp.Index.open(people).features()
    assert cli.main(["index-remove", people, *given]) == 0
    said = capsys.readouterr().out
    assert f"{len(gone)} pictures removed, {len(stay)} stay" in said
    assert ("1 of those that stay have no known moment" in said) == ("--before" in given)
    assert ids(people) == stay
    left = np.load(next(path for path in files(people) if path.suffix == ".npy"))
    np.testing.assert_array_equal(left, features[stay])


def test_of_the_removed_nothing_stays_on_disk_and_a_cut_removal_changes_nothing(
    people, monkeypatch
):
    def cut(*given):
        raise InputError("the disk is full")

    removal = ["index-remove", people, "--before", "2026-11-29T05:00"]
    with monkeypatch.context() as patched:
        patched.setattr(atomic, "write_text", cut)
        assert cli.main(removal) == 2
    assert ids(people) == list(range(24))
    assert cli.main(removal) == 0
    names = [path.name for path in files(people)]
    assert names == ["columns-2.parquet", "features-2.npy", "lock", "manifest.json"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "nothing says which pictures are to go"),
        (["--before", "yesterday"], "--before cannot be read"),
        (["--path", "("], "no regular expression"),
        (["--id", "77"], "no picture of the index has the number 77"),
    ],
)
def test_wrong_removals_are_told(people, given, words, capsys):
    assert cli.main(["index-remove", people, *given]) == 2
    assert words in capsys.readouterr().err
    assert ids(people) == list(range(24))


def test_an_index_is_searched(people, tmp_path, capsys):
    index = lp.Index.open(people)
    features = 3 * index.features()[[4, 12]]
    unknown, keys = np.repeat(UNKNOWN, 2), tuple(index.columns.key[[4, 12]].tolist())
    embeddings.write(tmp_path / "q.npz", EmbeddingSet(features, unknown, unknown, keys))
    asked = ["search", str(tmp_path / "q.npz"), "--index", people, "--top", "3"]
    filters = ["--camera", "2", "--since", "2026-11-29T05:00", "--until", "2026-11-29T20:00"]
    sheet = str(tmp_path / "sheet.html")
    out = str(tmp_path / "out.json")
    given = [*asked, *filters, "--threshold", "0.001", "--json", out, "--out", sheet]
    assert cli.main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = index.search(features, 3, camera=2, since="2026-11-29T05:00", until="2026-11-29T20")
    found = json.loads((tmp_path / "out.json").read_text())["queries"]
    for one, matches in zip(found, expected, strict=True):
        assert [match["id"] for match in one["matches"]] == [match.id for match in matches]
        for match, other in zip(one["matches"], matches, strict=True):
            assert match["distance"] == pytest.approx(other.distance, abs=1e-6)
            assert match["same_person"] == (other.distance <= 0.001)
            assert (match["key"], match["camera"]) == (other.key, 2)
            assert match["time"] == other.time.isoformat(" ")
            assert "row" not in match
    assert lines[0] == keys[0]
    assert lines[1].startswith("   1  0.")
    assert (tmp_path / "sheet.html").read_text().count("<img") == 8


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--gallery", "{people}", "--index", "{people}"], "either --gallery, or --index"),
        ([], "either --gallery, or --index"),
        (["--gallery", "{query}", "--camera", "1"], "--camera goes with --index"),
        (["--index", "{people}", "--rerank"], "leave --rerank"),
        (["--index", "{people}", "--since", "2030-01-01"], "none of the 24 pictures"),
        (["--index", "{people}", "--since", "soon"], "since cannot be read"),
        (["--index", "{people}", "--top", "0"], "0 nearest pictures"),
        (["--index", "{people}"], "the query has 5 numbers, and features of the index 3"),
    ],
)
def test_wrong_searches_are_told(people, tmp_path, given, words, capsys):
    query, width = str(tmp_path / "query.npz"), 5 if "5 numbers" in words else 3
    features = np.ones((1, width), np.float32)
    embeddings.write(query, EmbeddingSet(features, UNKNOWN, UNKNOWN, ("query",)))
    given = [one.format(people=people, query=query) for one in given]
    assert cli.main(["search", query, *given]) == 2
    assert words in capsys.readouterr().err
