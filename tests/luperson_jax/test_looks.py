"""Pictures unlike those of a calibration, by their looks."""

import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from data_pipeline.synthetic.world import World
from luperson_jax import cli
from luperson_jax.retrieval import looks
from luperson_jax.retrieval.looks import Looks
from luperson_jax.serving import decision
from luperson_jax.serving.decision import DecisionRule

PEOPLE, CAMERAS, TIMES = 40, 2, 2


@pytest.fixture(scope="module")
def drawn():
    """Pictures, people and cameras of a world."""
    world = World(3, 64, 32)
    rows = [(p, c, t) for p in range(PEOPLE) for c in range(CAMERAS) for t in range(TIMES)]
    pictures = [world.render(*row) for row in rows]
    pid, camera, _ = np.array(rows).T
    return pictures, pid, camera


@pytest.fixture(scope="module")
def numbers(drawn):
    return np.array([looks.of_picture(one) for one in drawn[0]])


@pytest.fixture(scope="module")
def known(drawn, numbers):
    """Of the first half of the people."""
    _, pid, camera = drawn
    half = pid < PEOPLE // 2
    found = looks.describe(numbers[half], pid[half], camera[half], together=0.5)
    assert found is not None
    return found


def own(pid):
    """Features: people who are all different, whose pictures are all alike."""
    return np.eye(PEOPLE, dtype=np.float32)[pid]


def test_the_same_people_and_new_ones_are_known(drawn, numbers, known):
    _, pid, camera = drawn
    for one in numbers[pid < PEOPLE // 2]:
        assert not known.strange(one[None], own([0]))
    new = pid >= PEOPLE // 2
    alarms = [bool(known.strange(numbers[row][None], own([0]))) for row in np.flatnonzero(new)]
    assert np.mean(alarms) < 0.05
    for rows in (new, new & (camera == 0), new & (camera == 1)):
        assert known.strange(numbers[rows], own(pid[rows])) == []


def test_changed_pictures_are_told(drawn, known):
    pictures, pid, _ = drawn
    rows = np.flatnonzero(pid >= PEOPLE // 2)[::4]
    images = [Image.fromarray(pictures[row]) for row in rows]
    gray = [np.asarray(one.convert("L").convert("RGB")) for one in images]
    blurred = [np.asarray(one.filter(ImageFilter.GaussianBlur(2))) for one in images]
    features = own(pid[rows])
    assert known.warning([np.asarray(one) for one in images], features) is None
    said = known.warning(gray, features)
    assert said is not None
    assert said.startswith(f"{len(rows)} of {len(rows)} pictures look unlike")
    assert "by their color" in said
    assert "fine detail" in (known.warning(blurred, features) or "")
    assert "color" in (known.warning(gray[:1], features[:1]) or "")  # one alone


def test_more_people_make_it_surer_and_many_pictures_of_one_do_not(known):
    numbers = np.tile(known.high + 2 * np.sqrt(known.person), (20, 1))
    one, many = (known.deviations(numbers, people) for people in (1.0, 20.0))
    expected = 2 * np.sqrt(known.person)
    for people, found in ((1.0, one), (20.0, many)):
        variance = known.person * (1 / people + 1 / known.people) + known.within / 20
        np.testing.assert_allclose(found, expected / np.sqrt(variance), rtol=1e-5)
    assert np.all(many > 1.5 * one)
    alike = np.ones((20, 4), np.float32) / 2
    assert known.strange(numbers, own(np.arange(20)))
    assert not known.strange(numbers, alike)


def test_between_cameras_is_known_and_beyond_them_is_not(known):
    middle = (known.low + known.high) / 2
    assert np.all(known.deviations(middle[None]) == 0)
    below = known.low - 3 * np.sqrt(known.person)
    assert np.all(known.deviations(below[None]) > 0)


def test_numbers_do_not_depend_on_the_size_of_plain_pictures():
    small, large = np.full((64, 32, 3), 90, np.uint8), np.full((300, 100, 3), 90, np.uint8)
    np.testing.assert_allclose(looks.of_picture(small), looks.of_picture(large))
    assert len(looks.of_picture(small)) == len(looks.NAMES)


def test_too_few_people_are_not_described(drawn, numbers):
    _, pid, camera = drawn
    few = pid < looks.FEWEST_PEOPLE - 1
    assert looks.describe(numbers[few], pid[few], camera[few], 0.5) is None


def test_a_rule_keeps_them_and_warns(drawn, known, tmp_path):
    pictures, pid, _ = drawn
    values = {"distance": 0.3, "looks": known.values()}
    rule = DecisionRule.of_values(json.loads(json.dumps(values)), "here")
    assert rule.looks is not None
    for name in ("low", "high", "person", "within", "limits"):
        np.testing.assert_allclose(getattr(rule.looks, name), getattr(known, name))
    gray = np.asarray(Image.fromarray(pictures[-1]).convert("L").convert("RGB"))
    Image.fromarray(gray).save(tmp_path / "gray.png")
    for one in (gray, tmp_path / "gray.png"):
        (said,) = rule.warnings(own(pid[-1:]), [one])
        assert "1 of 1 pictures look unlike" in said
    assert rule.warnings(own(pid[-1:]), [pictures[-1]]) == []
    assert rule.warnings(own(pid[-1:])) == []  # no picture at hand
    with pytest.raises(ValueError, match="12 numbers"):
        Looks.of_values({**known.values(), "low": [1.0]})


def test_calibrate_looks_at_pictures_that_are_at_hand(drawn, tmp_path, capsys):
    pictures, pid, camera = drawn
    keys = [str(tmp_path / f"{row}.png") for row in range(len(pictures))]
    for key, one in zip(keys, pictures, strict=True):
        Image.fromarray(one).save(key)
    noise = np.random.default_rng(0).standard_normal((len(pid), PEOPLE)).astype(np.float32)
    features, out = own(pid) + 0.1 * noise, tmp_path / "far.json"
    np.savez(tmp_path / "a.npz", features=features, pid=pid, camera=camera, key=keys)
    given = ["calibrate", "--embeddings", str(tmp_path / "a.npz"), "--far", "0.05"]
    assert cli.main([*given, "--json", str(out)]) == 0
    assert "by features" not in capsys.readouterr().out
    rule = decision.given(str(out), None)
    assert rule is not None
    assert rule.looks is not None
    assert rule.looks.people == PEOPLE
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert not any("by their" in one for one in rule.warnings(unit[:8], keys[:8]))
    gray = [one.mean(axis=2, keepdims=True).repeat(3, 2).astype(np.uint8) for one in pictures[:8]]
    assert "by their color" in rule.warnings(unit[:8], gray)[-1]
    (tmp_path / "7.png").unlink()
    assert cli.main([*given, "--json", str(out)]) == 0
    said = capsys.readouterr().out
    assert "There is no picture" in said
    assert "7.png; whether new pictures are unlike these will be told by features" in said
    assert json.loads(out.read_text())["looks"] is None
