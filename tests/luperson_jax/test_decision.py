"""From the file of `luperson calibrate` to answers about pictures."""

import json

import numpy as np
import pytest

import luperson_jax as lp
from data_pipeline import datasets
from data_pipeline.errors import InputError
from luperson_jax.retrieval import familiarity
from luperson_jax.serving import decision
from luperson_jax.serving.decision import DecisionRule
from luperson_jax.structs import EmbeddingSet
from tests import weight_files

VALUES = {
    "wanted_false_accepts": 0.01,
    "distance": 0.3,
    "reject_distance": 0.5,
    "settings": {"metric": "cosine"},
    "cameras": [
        {"cameras": [0, 2], "distance": 0.1},
        {"cameras": [1, 2], "distance": None},
    ],
}


def test_distances_are_answered():
    rule = DecisionRule.of_values(VALUES, "far.json")
    assert (rule.wanted, rule.band) == (0.01, (0.3, 0.5))
    distance = np.array([0.2, 0.3, 0.4, 0.5, 0.6], np.float32)
    same, unsure = rule.same(distance)
    assert same.tolist() == [True, True, False, False, False]
    assert unsure.tolist() == [False, False, True, True, False]
    same, unsure = rule.same(distance[:3], [[2, 0], [1, 2], [0, 1]])
    assert same.tolist() == [False, True, False]
    assert unsure.tolist() == [False, False, True]
    same, unsure = rule.same(np.float32(0.2), (2, 0))
    assert (same.shape, bool(same), bool(unsure)) == ((), False, False)
    answers = decision.answers(rule, distance[:3], 2, np.array([0, 1, 3]))
    assert answers == [False, True, None]
    assert decision.answers(rule, distance[:3], None, np.array([0, 1, 3])) == [True, True, None]
    assert decision.answers(None, distance, 2, np.arange(5)) == [None] * 5
    with pytest.raises(InputError, match=r"cameras have shape \[3\]; expected \[2\] or \[5, 2\]"):
        rule.same(distance, [0, 1, 2])


def test_numbers_of_a_data_set_and_names_in_paths_never_meet():
    values = VALUES | {"cameras": [{"cameras": ["2", "10"], "distance": 0.1}]}
    named = DecisionRule.of_values(values, "far.json")
    numbered = DecisionRule.of_values(VALUES, "far.json")
    far = np.float32(0.2)
    assert not named.same(far, ("10", "02"))[0]
    assert named.same(far, ("10", "3"))[0]
    with pytest.raises(InputError, match=r"for names as paths have them.*'10', '2'"):
        named.same(far, (10, 2))
    with pytest.raises(InputError, match=r"for numbers of a data set \(0, 2\)"):
        numbered.same(far, ("0", "2"))
    assert DecisionRule.at(0.3).same(far, ("0", "2"))[0]
    assert DecisionRule.at(0.3).same(far, (0, 2))[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"distance": None}, "found no threshold: too few people"),
        ({"distance": "near"}, "has no threshold"),
        ({"settings": {"metric": "euclidean"}}, "is of euclidean distance"),
        ({"settings": 3}, "has no threshold"),
        ({"cameras": [{"distance": 1}]}, "has no threshold"),
        ({"cameras": [{"distance": 1, "cameras": [1, "2"]}]}, "has no threshold"),
        ({"cameras": [{"distance": 1, "cameras": [1.5, 2.0]}]}, "has no threshold"),
        ({"cameras": [{"distance": 1, "cameras": [1, 2, 3]}]}, "has no threshold"),
        ({"pictures": {"mean": "?"}}, "has no threshold"),
    ],
)
def test_wrong_files_are_told(change, words, tmp_path):
    path = tmp_path / "far.json"
    path.write_text(json.dumps(VALUES | change))
    with pytest.raises(InputError, match=words):
        decision.given(path, None)


def test_a_threshold_of_several_is_chosen():
    known = [VALUES, VALUES | {"wanted_false_accepts": 0.001, "distance": 0.2}]
    for wanted, distance in ((None, 0.3), (0.001, 0.2)):
        rule = decision.choose(known, wanted, "model")
        assert rule is not None
        assert rule.band[0] == distance
    assert decision.choose([], None, "model") is None
    with pytest.raises(
        InputError, match=r"no threshold for a share of 0\.1.*those for 0\.01, 0\.001"
    ):
        decision.choose(known, 0.1, "model")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return weight_files.write_bot(tmp_path_factory.mktemp("weights") / "bot.npz")


@pytest.fixture(scope="module")
def paths(labelled_world):
    return list(datasets.load("market1501", str(labelled_world)).gallery.media)


def test_a_model_answers_by_the_file(source, paths, tmp_path):
    model = lp.load(source)
    distance = model.compare(paths[:3], paths[3:6])
    assert distance.same is distance.unsure is None
    apart = np.sort(distance.distance).tolist()
    far = tmp_path / "far.json"
    far.write_text(json.dumps(VALUES | {"distance": apart[0], "reject_distance": apart[1]}))
    judged = lp.load(source, threshold=far)
    assert judged.threshold == apart[0]
    found = judged.compare(paths[:3], paths[3:6])
    assert found.same.tolist() == [one == apart[0] for one in found.distance.tolist()]
    assert found.unsure.sum() == 1
    at_cameras = judged.compare(paths[:3], paths[3:6], cameras=(2, 0))
    assert at_cameras.same.tolist() == (found.distance <= np.float32(0.1)).tolist()
    index = lp.Index.build(judged, paths[:6], camera=[0, 0, 0, 1, 1, 1])
    near = index.search(paths[0], k=6, query_camera=2)
    assert near[0].same is True
    for one in near:
        limits = (0.1, 0.1) if one.camera == 0 else apart
        assert one.same is (
            True if one.distance <= limits[0] else None if one.distance <= limits[1] else False
        )
    assert lp.Index.build(model, paths[:2]).search(paths[0], k=1)[0].same is None
    with pytest.raises(InputError, match="chooses among the thresholds of a packed model"):
        lp.load(source, false_accepts=0.01)


def test_pictures_unlike_those_of_the_calibration_are_told(source, paths, tmp_path):
    model = lp.load(source)
    features = model.embed(paths)
    pid = np.arange(len(features)) % 20

    def judged_by(known):
        described = familiarity.describe(EmbeddingSet(known, pid, pid, ("",) * len(pid)))
        assert described is not None
        far = tmp_path / "far.json"
        far.write_text(json.dumps(VALUES | {"pictures": described.values()}))
        return lp.load(source, threshold=str(far))

    familiar = judged_by(features)
    familiar.compare(paths[0], paths[1])
    lp.Index.build(familiar, paths[:4]).search(paths[1], k=1)
    strange = judged_by(-features)
    with pytest.warns(decision.UnlikeCalibration, match="2 of 2 pictures look unlike those"):
        strange.compare(paths[0], paths[1])
    index = lp.Index.build(strange, paths[:4])
    index.search(features[0], k=1)
    with pytest.warns(decision.UnlikeCalibration, match="1 of 1 pictures look unlike those"):
        index.search(paths[1], k=1)
    with pytest.raises(InputError, match="those of the thresholds 3"):
        judged_by(features[:, :3]).compare(paths[0], paths[1])
