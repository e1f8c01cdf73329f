"""ROC, area and thresholds against lists of pairs."""

import dataclasses

import numpy as np
import pytest
import sklearn.metrics

from data_pipeline.errors import InputError
from luperson_jax.retrieval import verification
from luperson_jax.retrieval.execution import TileShape
from tests.listed_pairs import embedded, listed

QUERY, GALLERY = embedded(1, 40), embedded(2, 75)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several tiles on both sides, none of which divides its side."""
    monkeypatch.setattr(verification, "TILE", TileShape(16, 16))


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


def test_nobody_makes_no_pair():
    junk = embedded(7, 9)
    junk.pid[:] = -1
    known = [QUERY.known(), GALLERY.known()]
    columns = QUERY.pid, QUERY.camera, GALLERY.pid, GALLERY.camera
    distance = np.random.default_rng(0).random((40, 75))
    counts = verification.count_distances(distance, *columns, rule="all")
    pairs = known[0].pid[:, None] == known[1].pid[None]
    assert (counts.same.sum(), counts.different.sum()) == (pairs.sum(), (~pairs).sum())
    with pytest.raises(InputError, match="every identity of a side is -1"):
        verification.count_pairs(QUERY, junk)
