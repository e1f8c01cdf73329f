"""ROC, area and thresholds against lists of pairs, and intervals against draws by hand."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from data_pipeline.errors import InputError
from luperson_jax.retrieval import calibration, tiles, verification
from luperson_jax.structs import EmbeddingSet


def embedded(seed, num, num_ids=7, num_cameras=3, dim=8) -> EmbeddingSet:
    generator = np.random.default_rng(seed)
    pid = generator.integers(-1, num_ids, num)
    centers = np.random.default_rng(99).standard_normal((num_ids + 1, dim))
    features = (centers[pid] + generator.standard_normal((num, dim))).astype(np.float32)
    # Duplicates, for ties between pairs of both kinds.
    features[num // 2 : num // 2 + 5] = features[:5]
    return EmbeddingSet(features, pid, generator.integers(0, num_cameras, num), ("",) * num)


QUERY, GALLERY = embedded(1, 40), embedded(2, 75)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several tiles on both sides, none of which divides its side."""
    monkeypatch.setattr(verification, "TILE", tiles.TileShape(16, 16))


def listed(query, gallery, metric="cosine", rule="market"):
    """Distance, sameness and both rows of every pair that counts, by two loops."""
    within = gallery is None
    gallery = query if within else gallery
    distance = np.zeros((len(query.pid), len(gallery.pid)), np.float32)
    for rows, first, tile in verification.distances(query, [gallery.features], metric, within):
        distance[rows, first : first + tile.shape[1]] = tile
    pairs = []
    for i in range(len(query.pid)):
        for j in range(len(gallery.pid)):
            same, near = query.pid[i] == gallery.pid[j], query.camera[i] == gallery.camera[j]
            dropped = {"market": same and near, "across": near, "all": False}[rule]
            dropped = dropped or -1 in (query.pid[i], gallery.pid[j])
            if not dropped and not (within and j <= i):
                pairs.append((distance[i, j], same, i, j))
    values, same, one, other = (np.array(column) for column in zip(*pairs, strict=True))
    return values, same, one, other


@pytest.mark.parametrize("rule", verification.RULES)
@pytest.mark.parametrize("gallery", [GALLERY, None], ids=["two sets", "one set"])
def test_the_curve_equals_that_of_listed_pairs(gallery, rule):
    values, same, *_ = listed(QUERY, gallery, rule=rule)
    counts = verification.count_pairs(QUERY, gallery, rule=rule)
    roc = verification.curve(counts)
    assert (roc.num_same, roc.num_different) == (same.sum(), (~same).sum())
    assert roc.auc == pytest.approx(sklearn.metrics.roc_auc_score(same, -values), abs=1e-12)
    assert 0.5 < roc.auc < 1
    np.testing.assert_array_equal(roc.distance[1:], np.unique(values))
    for threshold, fpr, tpr in zip(roc.distance, roc.fpr, roc.tpr, strict=True):
        assert fpr == pytest.approx(np.mean(values[~same] <= threshold), abs=1e-12)
        assert tpr == pytest.approx(np.mean(values[same] <= threshold), abs=1e-12)


def test_distances_are_those_of_the_metric():
    for metric in ("cosine", "euclidean"):
        values, _, one, other = listed(QUERY, GALLERY, metric, "all")
        q, g = QUERY.features.astype(np.float64), GALLERY.features.astype(np.float64)
        expected = np.linalg.norm(q[:, None] - g[None], axis=2)
        if metric == "cosine":
            unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, g)]
            expected = 1 - unit[0] @ unit[1].T
        np.testing.assert_allclose(values, expected[one, other], atol=2e-3)  # sqrt near 0
        assert np.median(np.abs(values - expected[one, other])) < 1e-6


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_bins_give_exact_rates_at_their_edges(monkeypatch, metric):
    exact = verification.curve(verification.count_pairs(QUERY, GALLERY, metric=metric))
    monkeypatch.setattr(verification, "EXACT_PAIRS", 0)
    for num_bins in (2**20, 2**6):
        monkeypatch.setattr(verification, "NUM_BINS", num_bins)
        binned = verification.curve(verification.count_pairs(QUERY, GALLERY, metric=metric))
        places = np.searchsorted(exact.distance, binned.distance, side="right") - 1
        np.testing.assert_allclose(binned.fpr, exact.fpr[places], atol=1e-12)
        np.testing.assert_allclose(binned.tpr, exact.tpr[places], atol=1e-12)
        assert abs(binned.auc - exact.auc) <= binned.auc_error + 1e-12
        width = np.diff(binned.distance[1:]).min()
        assert 2 / num_bins <= width < 40 / num_bins
    assert 0 < binned.auc_error < 0.05
    assert exact.auc_error == 0


def test_several_galleries_count_as_one():
    parts = [GALLERY.take(np.arange(30)), GALLERY.take(np.arange(30, 75))]
    whole, cut = (verification.count_pairs(QUERY, gallery) for gallery in (GALLERY, parts))
    for name in ("distance", "same", "different"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(cut, name))


def test_golden_roc_with_the_roles_exchanged(golden):
    """The reference calls different people positive and scores by distance: its FPR is the share
    of pairs of the same person that are turned away, its TPR that of different people, and it
    takes the first of the points whose FPR is nearest to the wanted one."""
    stored = np.load(golden / "rank_edge_cases.npz")
    names = ("dist", "q_ids", "q_cams", "g_ids", "g_cams")
    # That evaluator takes -1 for an identity like any other: by another name it is one here.
    columns = (stored[f"roc__{name}"] for name in names)
    renamed = [np.where(one == -1, 10**6, one) for one in columns]
    roc = verification.curve(verification.count_distances(*renamed))
    assert (roc.num_same, roc.num_different) == (stored["roc__npos"], stored["roc__nneg"])
    assert roc.auc == pytest.approx(float(stored["roc__auc"]), abs=1e-12)
    away_same, away_different = 1 - roc.tpr, 1 - roc.fpr
    found = []
    for wanted in (1e-4, 1e-3, 1e-2):
        level = away_same[np.argmin(np.abs(away_same - wanted))]
        found.append(away_different[away_same == level].min())
    np.testing.assert_allclose(found, stored["roc__tpr"], atol=1e-12)


def test_thresholds_keep_what_they_promise():
    roc = verification.curve(verification.count_pairs(QUERY, GALLERY))
    for wanted in (1e-5, 1e-3, 0.01, 0.2, 0.999, *roc.fpr[::100]):
        place = verification.place_of_fpr(roc, wanted)
        assert roc.fpr[place] <= wanted
        assert place + 1 == len(roc.fpr) or roc.fpr[place + 1] > wanted
        assert verification.tpr_at_fpr(roc, wanted) == roc.tpr[place]
    # Duplicates that are called different people are the nearest pairs.
    assert verification.place_of_fpr(verification.curve(verification.count_pairs(QUERY)), 1e-5) == 0


def test_perfect_and_reversed_scores():
    pid, camera = np.repeat([1, 2], 4), np.tile([0, 1], 4)
    apart = (pid[:, None] != pid[None]).astype(np.float32)
    for distance, auc in ((apart, 1.0), (1 - apart, 0.0), (apart * 0, 0.5)):
        counts = verification.count_distances(distance, pid, camera, pid, camera, rule="all")
        assert verification.curve(counts).auc == auc


@pytest.mark.parametrize("rule", verification.RULES)
@pytest.mark.parametrize("gallery", [GALLERY, None], ids=["two sets", "one set"])
def test_a_draw_of_identities_weighs_pairs_by_both_people(monkeypatch, gallery, rule):
    draws = np.random.default_rng(5)
    values, same, one, other = listed(QUERY, gallery, rule=rule)
    found = calibration.calibrate(QUERY, gallery, false_accepts=0.05, rule=rule, resamples=3)
    near = values <= found.distance
    assert found.false_accepts.accepted == np.sum(near & ~same)
    assert found.true_accepts.accepted == np.sum(near & same)
    assert 0 < found.false_accepts.value <= 0.05
    query_pid, gallery_pid = QUERY.pid[one], (gallery or QUERY).pid[other]
    identities = np.unique(np.concatenate([query_pid, gallery_pid]))
    assert found.num_identities == len(identities)
    drawn = draws.integers(0, len(identities), (3, len(identities)))
    expected = []
    for people in drawn:
        times = dict(zip(*np.unique(identities[people], return_counts=True), strict=True))
        first, second = (
            np.array([times.get(pid, 0) for pid in column]) for column in (query_pid, gallery_pid)
        )
        weight = np.where(same, first, first * second)
        expected.append(
            [np.sum(weight * near * kind) / np.sum(weight * kind) for kind in (~same, same)]
        )
    again = calibration.calibrate(
        QUERY, gallery, false_accepts=0.05, rule=rule, resamples=3, seed=5
    )
    ends = np.quantile(np.array(expected), [0.025, 0.975], axis=0)
    np.testing.assert_allclose(again.false_accepts.interval, ends[:, 0], atol=1e-12)
    np.testing.assert_allclose(again.true_accepts.interval, ends[:, 1], atol=1e-12)


def test_one_person_who_looks_like_many_widens_the_interval():
    """Pairs by pairs the uncertainty would be told too small by far."""
    found = calibration.calibrate(QUERY, GALLERY, false_accepts=0.05)
    low, high = found.false_accepts.interval
    narrow = found.false_accepts.by_pairs
    assert low < narrow[0] < found.false_accepts.value < narrow[1] < high


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (1, 10**6)])
def test_clopper_pearson(successes, trials):
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(0.9, method="exact")
    assert calibration.clopper_pearson(successes, trials, 0.9) == pytest.approx(tuple(expected))


def test_where_nothing_is_accepted_the_interval_still_says_something():
    found = calibration.calibrate(QUERY, false_accepts=1e-5)  # duplicates of different people
    assert found.distance == -np.inf
    assert found.false_accepts.accepted == found.true_accepts.accepted == 0
    low, high = found.false_accepts.interval
    assert low == 0
    assert high == pytest.approx(-np.log(0.025) / found.false_accepts.pairs, rel=0.01)


def test_wrong_input_is_named():
    one_camera = dataclasses.replace(QUERY, camera=QUERY.camera * 0)
    damaged = dataclasses.replace(QUERY, features=QUERY.features.copy())
    damaged.features[17, 2] = np.nan
    one_person = dataclasses.replace(QUERY, pid=QUERY.pid * 0)
    for wrong, options, message in (
        (one_camera, {}, "no pair of the same person"),
        (one_person, {"rule": "all"}, "no pair of different people"),
        (damaged, {}, "query features .*row 17"),
        (QUERY, {"rule": "none"}, "'none'; expected one of market"),
        (QUERY, {"metric": "l1"}, "metric 'l1'"),
    ):
        with pytest.raises(InputError, match=message):
            verification.count_pairs(wrong, **options)
    with pytest.raises(InputError, match="expected a share between 0 and 1"):
        calibration.calibrate(QUERY, GALLERY, false_accepts=0.0)


def test_nobody_makes_no_pair_and_no_identity():
    junk = embedded(7, 9)
    junk.pid[:] = -1
    known = [QUERY.known(), GALLERY.known()]
    expected = calibration.calibrate(*known, false_accepts=0.05, resamples=3)
    found = calibration.calibrate(QUERY, [GALLERY, junk], false_accepts=0.05, resamples=3)
    assert (found.num_identities, found.distance) == (7, expected.distance)
    assert found.false_accepts == expected.false_accepts
    columns = QUERY.pid, QUERY.camera, GALLERY.pid, GALLERY.camera
    distance = np.random.default_rng(0).random((40, 75))
    counts = verification.count_distances(distance, *columns, rule="all")
    pairs = known[0].pid[:, None] == known[1].pid[None]
    assert (counts.same.sum(), counts.different.sum()) == (pairs.sum(), (~pairs).sum())
    with pytest.raises(InputError, match="every identity of a side is -1"):
        verification.count_pairs(QUERY, junk)
