"""Thresholds against slow twins, what they promise, and what is said of how sure they are."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from data_pipeline.errors import InputError
from luperson_jax.retrieval import calibration, identity_rates, pair_lists, verification
from luperson_jax.retrieval.calibration import Goal
from luperson_jax.retrieval.execution import TileShape
from luperson_jax.structs import EmbeddingSet
from tests.listed_pairs import embedded, listed

QUERY, GALLERY = embedded(1, 40), embedded(2, 75)
TWO_OR_ONE = pytest.mark.parametrize("gallery", [GALLERY, None], ids=["two sets", "one set"])


@pytest.fixture
def small_tiles(monkeypatch):
    """Several tiles on both sides, none of which divides its side."""
    monkeypatch.setattr(verification, "TILE", TileShape(16, 16))


def people(seed, num, pictures=2, scale=1.0, dimension=6) -> EmbeddingSet:
    """People around a common mean, some of whom look like many others."""
    generator = np.random.default_rng(seed)
    spread = np.where(generator.random(num) < 0.1, 0.2, 1.0)[:, None]
    centers = scale * spread * generator.standard_normal((num, dimension)) + 0.3
    pid = np.repeat(np.arange(num), pictures)
    features = centers[pid] + 0.4 * generator.standard_normal((len(pid), dimension))
    camera = np.tile(np.arange(pictures), num)
    return EmbeddingSet(features.astype(np.float32), pid, camera, ("",) * len(pid))


@pytest.mark.parametrize("rule", verification.RULES)
@TWO_OR_ONE
def test_pairs_of_people_are_those_of_a_list(gallery, rule, small_tiles):
    values, same, one, other = listed(QUERY, gallery, rule=rule)
    names = QUERY.pid[one], (gallery or QUERY).pid[other]
    everyone = np.unique(np.concatenate([QUERY.known().pid, (gallery or QUERY).known().pid]))
    first, second = (np.searchsorted(everyone, column) for column in names)
    known = verification.known_sets(QUERY, gallery, "cosine")
    found = pair_lists.near_pairs(*known, "cosine", rule, 0.7)
    assert found.num_identities == len(everyone)
    assert found.of_two is not None
    for pairs, kind in ((found.same, same), (found.different, ~same)):
        assert pairs.total == kind.sum()
        apart = kind & (first != second)
        involved = np.bincount(first[kind], minlength=len(everyone)) + np.bincount(
            second[apart], minlength=len(everyone)
        )
        np.testing.assert_array_equal(pairs.involved, involved)
    np.testing.assert_array_equal(found.same.order, np.sort(values[same]))
    near = ~same & (values <= 0.7)
    np.testing.assert_array_equal(found.different.order, np.sort(values[near]))
    people_of = np.sort(np.stack([first, second]), axis=0)[:, ~same]
    for a, b, num in zip(found.different.first, found.different.second, found.of_two, strict=True):
        assert num == np.sum(np.all(sorted((a, b)) == people_of.T, axis=1))


@TWO_OR_ONE
def test_the_interval_comes_from_leaving_people_out(gallery):
    values, same, one, other = listed(QUERY, gallery)
    found = calibration.calibrate(QUERY, gallery, goal=Goal(0.05, promise="measured"))
    pids = QUERY.pid[one], (gallery or QUERY).pid[other]
    for rate, kind in ((found.false_accepts, ~same), (found.true_accepts, same)):
        near = values <= found.distance
        assert (rate.accepted, rate.pairs) == (np.sum(near & kind), kind.sum())
        without = [
            np.mean(near[kind & (pids[0] != person) & (pids[1] != person)]) for person in range(7)
        ]
        variance = 6 / 7 * np.sum((without - np.mean(without)) ** 2)
        share = rate.value
        trials = share * (1 - share) / variance * (1.959964 / scipy.stats.t.ppf(0.975, 6)) ** 2
        beta = scipy.stats.beta.ppf
        expected = (
            beta(0.025, share * trials, trials - share * trials + 1),
            beta(0.975, share * trials + 1, trials - share * trials),
        )
        assert rate.interval == pytest.approx(expected, rel=1e-5)
    low, high = found.false_accepts.interval
    narrow = found.false_accepts.by_pairs
    assert low < narrow[0] < found.false_accepts.value < narrow[1] < high
    more = calibration.calibrate(QUERY, gallery, goal=Goal(0.05, promise="measured", people=7))
    assert more.false_accepts.interval[1] > high


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (1, 10**6)])
def test_clopper_pearson(successes, trials):
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(0.9, method="exact")
    assert identity_rates.clopper_pearson(successes, trials, 0.9) == pytest.approx(tuple(expected))


def test_the_rank_that_holds_is_the_last_before_the_first_that_does_not(monkeypatch):
    embedded_people = people(3, 60)
    pairs = pair_lists.near_pairs(embedded_people, None, "cosine", "all", np.inf).different
    ends = [rank for rank in range(1, pairs.total + 1) if rank == pairs.rank(pairs.order[rank - 1])]
    bounds = [identity_rates.interval(pairs, rank, 0.9)[1] for rank in ends[:400]]
    first_above = next(place for place, bound in enumerate(bounds) if bound > 0.03)
    assert first_above > 5
    for candidates in (3, 64, 10**6):
        monkeypatch.setattr(identity_rates, "CANDIDATES", candidates)
        found = identity_rates.holding_rank(pairs, 0.03, 0.9, 1)
        assert found == ends[first_above - 1]


def test_thresholds_by_promise():
    found = calibration.calibrate(people(0, 500), goal=Goal(0.02), rule="all")
    assert found.conformal is not None
    assert -np.inf < found.conformal < found.measured
    assert found.interval[0] < found.confident < found.measured < found.interval[1]
    assert found.distance == found.confident
    assert found.false_accepts.interval[0] < found.false_accepts.value < 0.02
    for promise in calibration.PROMISES:
        one = calibration.calibrate(people(0, 500), goal=Goal(0.02, promise=promise), rule="all")
        assert one.distance == getattr(found, promise)
    few = calibration.calibrate(people(0, 15), goal=Goal(0.001), rule="all")
    assert few.distance == few.conformal == -np.inf
    assert few.false_accepts.interval == (0.0, pytest.approx(1 - 0.025 ** (1 / 7)))


def test_a_conformal_threshold_is_that_of_a_list():
    num, wanted = 130, 0.05
    found = calibration.calibrate(people(5, num), goal=Goal(wanted), rule="all")
    values, same, one, other = listed(people(5, num), None, rule="all")
    del one, other
    share = np.array([np.sum(values[~same] <= value) for value in np.unique(values[~same])]) / (
        4 * num * (num - 1) / 2
    )  # each two people have four pairs
    new = 2 * num + 1
    held = (share * num * (num - 1) / 2 + new) / ((num + 2) * (num + 1) / 2) <= wanted
    assert found.conformal == np.unique(values[~same])[held][-1]
    for wanted in (0.3, 0.01, 0.001):
        least = calibration.people_needed(wanted)
        assert (2 * least + 1) / ((least + 2) * (least + 1) / 2) <= wanted
        assert (2 * least - 1) / ((least + 1) * least / 2) > wanted


def accepted_share(features, distance):
    """Of people with one picture each."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    apart = (1 - unit @ unit.T)[np.triu_indices(len(unit), 1)]
    return np.mean(apart <= distance)


def test_two_new_people_are_not_accepted_more_often_than_wanted():
    """The conformal promise, on average over draws of the people that the threshold is made of."""
    accepted = []
    for seed in range(60):
        everyone = people(100 + seed, 150, pictures=1)
        known = everyone.take(np.arange(100))
        pairs = pair_lists.near_pairs(known, None, "cosine", "all", np.inf)
        conformal = calibration._conformal(pairs, 0.06)
        accepted.append(accepted_share(everyone.features[100:], conformal))
    assert 0.01 < np.mean(accepted) <= 0.06


def test_a_confident_threshold_holds_for_most_draws_of_people():
    everyone, generator = people(9, 1000), np.random.default_rng(0)
    held = {"confident": 0, "measured": 0}
    for _ in range(40):
        chosen = generator.permutation(1000)
        known = everyone.take(np.flatnonzero(np.isin(everyone.pid, chosen[:80])))
        found = calibration.calibrate(known, goal=Goal(0.02), rule="all")
        first = everyone.take(2 * chosen[80:])  # one picture of each
        for name in held:
            share = accepted_share(first.features, getattr(found, name))
            held[name] += share <= 0.02
    assert held["confident"] >= 36
    assert 10 <= held["measured"] <= 30


def test_the_band_of_no_answer():
    known = people(2, 120, scale=0.7)
    plain = calibration.calibrate(known, goal=Goal(0.01), rule="all")
    found = calibration.calibrate(known, goal=Goal(0.01, misses=0.1), rule="all")
    assert plain.reject is plain.missed is plain.unsure is None
    assert found.reject is not None
    assert found.distance == plain.distance < found.reject
    values, same, *_ = listed(known, None, rule="all")
    assert found.missed is not None
    assert found.missed.accepted == np.sum(values[same] > found.reject)
    assert found.missed.value < 0.1
    between = (values > found.distance) & (values <= found.reject)
    assert found.unsure == pytest.approx([np.mean(between[same]), np.mean(between[~same])])
    wide = calibration.calibrate(people(2, 120, scale=9), goal=Goal(0.3, misses=0.3), rule="all")
    assert wide.reject == wide.distance
    assert wide.unsure == (0, 0)


def test_thresholds_of_cameras():
    known = people(4, 90, pictures=3)
    moved = known.features.copy()
    moved[known.camera == 2] -= 2  # a camera that changes all pictures alike
    known = dataclasses.replace(known, features=moved)
    found = calibration.calibrate_cameras(known, goal=Goal(0.02))
    assert set(found) == {(0, 1), (0, 2), (1, 2)}  # a camera has one picture of each person
    cut = {camera: known.take(np.flatnonzero(known.camera == camera)) for camera in range(3)}
    for (one, other), each in found.items():
        alone = calibration.calibrate(cut[one], cut[other], goal=Goal(0.02), rule="all")
        assert each.distance == alone.distance
    assert found[0, 2].distance > found[0, 1].distance + 0.05


def test_judged_pairs_are_linked_to_people():
    distance = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], np.float32)
    same = np.array([True, True, False, False, False, False])
    first, second = np.array(list("abacde")), np.array(list("bcddef"))
    pairs = pair_lists.labelled_pairs(distance, same, first, second)
    assert pairs.num_identities == 4  # a, b and c are one
    assert pairs.same.involved.tolist() == [2, 0, 0, 0]
    assert pairs.different.involved.tolist() == [2, 3, 2, 1]
    found = calibration.calibrate_pairs(
        distance, same, first, second, goal=Goal(0.4, promise="measured")
    )
    assert found.distance == np.float32(0.3)
    assert found.conformal is None
    assert (found.true_accepts.value, found.false_accepts.accepted) == (1.0, 1)
    with pytest.raises(InputError, match="a and c are said to show different people"):
        calibration.calibrate_pairs(
            *(np.append(one, more) for one, more in zip(
                (distance, same, first, second), (0.5, False, "a", "c"), strict=True
            )),
            goal=Goal(0.4),
        )  # fmt: skip
    with pytest.raises(InputError, match="no labelled pair shows different people"):
        calibration.calibrate_pairs(distance[:2], same[:2], first[:2], second[:2], goal=Goal(0.4))
    with pytest.raises(InputError, match="allow no conformal threshold"):
        calibration.calibrate_pairs(
            distance, same, first, second, goal=Goal(0.4, promise="conformal")
        )


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ({"false_accepts": 0.0}, "false accepts are to be 0.0; expected a share"),
        ({"misses": 1.0}, "misses are to be 1.0; expected a share"),
        ({"confidence": 0.5}, "between 0.5 and 1"),
        ({"promise": "sure"}, "'sure'; expected one of confident"),
        ({"people": 1}, "1 new people make no pair"),
    ],
)
def test_wrong_goals_are_named(goal, words):
    with pytest.raises(InputError, match=words):
        Goal(**{"false_accepts": 0.1, **goal})


def test_nobody_makes_no_pair_and_no_identity():
    junk = embedded(7, 9)
    junk.pid[:] = -1
    known = [QUERY.known(), GALLERY.known()]
    goal = Goal(0.05, promise="measured")
    expected = calibration.calibrate(*known, goal=goal)
    found = calibration.calibrate(QUERY, [GALLERY, junk], goal=goal)
    assert (found.num_identities, found.distance) == (7, expected.distance)
    assert found.false_accepts == expected.false_accepts
