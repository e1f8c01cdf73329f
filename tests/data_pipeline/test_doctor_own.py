"""What the doctor says of pictures that no published number is for."""

import json

import numpy as np
import pytest

from data_pipeline import doctor, findings
from data_pipeline.synthetic import layouts
from data_pipeline.table.records import empty_table, make_table, with_match
from luperson_jax import cli

SMALL = {"identities": 6, "cameras": 2, "height": 32, "width": 16, "images_per_camera": 2}


@pytest.fixture
def market(tmp_path):
    root = tmp_path / "people"
    layouts.make("market1501", root, **SMALL)
    return root


def text(root) -> str:
    return "\n".join(findings.describe(doctor.examine("market1501", str(root), own=True)))


def remove(root, pattern):
    for picture in root.glob(pattern):
        picture.unlink()


def table(*pairs):
    return make_table([(f"{row}.jpg", *pair, -1) for row, pair in enumerate(pairs)])


def test_a_match_is_of_the_same_identity_and_another_camera():
    pairs = [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (9, 0), (-1, 0)]
    query, gallery = table(*pairs), table((1, 0), (1, 0), (2, 0), (2, 1), (3, 1), (-1, 1), (-1, 2))
    there = {tuple(pair) for pair in np.stack([gallery.pid, gallery.camera], 1).tolist()}
    expected = [
        pid >= 0 and any(one == pid and seen != camera for one, seen in there)
        for pid, camera in zip(query.pid.tolist(), query.camera.tolist(), strict=True)
    ]
    assert with_match(query, gallery).tolist() == expected
    assert sum(expected) == 4
    assert not with_match(query, empty_table()).any()
    assert len(with_match(empty_table(), gallery)) == 0


def test_own_pictures_are_judged_by_their_queries_and_not_by_published_numbers(market, capsys):
    assert cli.main(["data", "check", "auto", str(market), "--own"]) == 0
    out = capsys.readouterr().out
    assert "matches      6 of 6 queries have a picture of theirs from another camera" in out
    assert "verdict: whole; 6 of 6 queries can be evaluated" in out
    assert "12936" not in out
    assert "differs" not in out


def test_queries_without_a_match_are_counted(market):
    remove(market, "bounding_box_test/0004_c1*")
    assert "5 of 6 queries can be evaluated" in text(market)
    remove(market, "bounding_box_test/0004*")
    assert "4 of 6 queries can be evaluated" in text(market)
    assert "1 identities of the queries are not in the gallery" in text(market)


def test_one_camera_alone_cannot_be_evaluated(market, tmp_path, capsys):
    remove(market, "*/*_c2s*")
    file = tmp_path / "findings.json"
    command = ["data", "check", "market1501", str(market), "--own", "--json", str(file)]
    assert cli.main(command) == 1
    out = capsys.readouterr().out
    assert "note         train shows one camera only" in out
    assert "note         query and gallery show one camera only" in out
    assert "verdict: cannot be evaluated: no query has a match" in out
    values = json.loads(file.read_text())
    assert (values["queries"], values["matched"], values["own"]) == (3, 0, True)


@pytest.mark.parametrize("part", ["query", "bounding_box_test"])
def test_junk_alone_cannot_be_evaluated(part, market):
    for picture in (market / part).glob("0*.jpg"):
        picture.rename(market / part / f"-1{picture.name[4:]}")
    name = "query" if part == "query" else "gallery"
    assert f"{name} holds no picture that counts" in text(market)
    assert "verdict: cannot be evaluated" in text(market)
    assert cli.main(["data", "check", "auto", str(market), "--own"]) == 1


def test_queries_of_videos_are_tracklets(tmp_path):
    layouts.make("dukemtmc_videoreid", tmp_path / "videos", **SMALL, frames=3)
    found = doctor.examine("dukemtmc_videoreid", str(tmp_path / "videos"), own=True)
    assert found.queries == found.parts["query"].found.tracklets == found.matched


def test_training_sets_have_nothing_to_evaluate(tmp_path):
    layouts.make("folder", tmp_path / "crops", **SMALL, frames=2)
    assert cli.main(["data", "check", "image_folder", str(tmp_path / "crops"), "--own"]) == 0
