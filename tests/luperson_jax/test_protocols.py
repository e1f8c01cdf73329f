"""The rules of each protocol, on galleries whose order is known."""

import dataclasses

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax.retrieval import average_precision, labels, match_ranks, protocols, ranking
from luperson_jax.structs import EmbeddingSet
from tests.ranking_twin import labels_of

PROTOCOLS = protocols.PROTOCOLS


def embedded(places, pid, camera):
    """Features whose Euclidean distances are those of numbers on a line."""
    features = np.array(places, np.float32)[:, None] * np.ones((1, 4), np.float32)
    return EmbeddingSet(features, np.array(pid), np.array(camera), tuple(map(str, places)))


def evaluate(name, query, gallery, **options):
    protocol = PROTOCOLS[name] if isinstance(name, str) else name
    return protocols.evaluate(query, gallery, protocol, metric="euclidean", **options)


QUERY = embedded([0], [1], [0])
GALLERY = embedded([1, 2, 3, 4, 5, 6], [1, -1, 1, 2, 1, 3], [0, 1, 1, 0, 2, 1])


def test_market_removes_own_identity_in_own_camera():
    result = evaluate("market1501", QUERY, GALLERY)  # left: hit miss hit miss
    assert result.mAP == pytest.approx((1 + 2 / 3) / 2)
    np.testing.assert_array_equal(result.cmc[:3], 1)
    assert (result.mAP_std, result.mINP_std, result.num_averaged) == (0, 0, 1)
    np.testing.assert_array_equal(result.cmc_std, 0)
    assert PROTOCOLS["veri776"] == PROTOCOLS["market1501"]


def test_both_rules_of_mars_ignore_nobody_and_differ_in_average_precision():
    plain = evaluate("mars_pytorch", QUERY, GALLERY)  # left: hit miss hit miss
    assert plain.mAP == pytest.approx((1 + 2 / 3) / 2)
    trapezoid = evaluate("mars", QUERY, GALLERY)
    assert trapezoid.mAP == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
    np.testing.assert_array_equal(trapezoid.cmc, plain.cmc)


def test_separate_cameras_remove_all_of_the_own_camera():
    result = evaluate("separate_cameras", QUERY, GALLERY)  # left: hit hit miss
    assert result.mAP == 1


def test_all_shots_count_every_match_by_the_wrong_images_before_it():
    result = evaluate("all_shots", QUERY, GALLERY)  # none wrong before, then one
    np.testing.assert_allclose(result.cmc[:4], [0.5, 1, 1, 1])


def test_ilids_is_the_mean_of_both_directions_and_prid_is_one():
    query = embedded([0, 10], [1, 2], [0, 0])
    gallery = embedded([4, 4.5], [1, 2], [1, 1])
    # From the left both are nearest to the first but the second query; back, both go to the first.
    forth = evaluate("prid2011", query, gallery)
    back = evaluate("prid2011", gallery, query)
    assert (forth.cmc[0], back.cmc[0]) == (1, 0.5)
    both = evaluate("ilids_vid", query, gallery)
    assert both.cmc[0] == 0.75
    assert both.mAP == (forth.mAP + back.mAP) / 2
    assert [one.cmc[0] for one in both.directions] == [1, 0.5]
    assert forth.directions == ()
    assert (both.mAP_std, both.cmc_std[0], both.num_averaged) == (0, 0, 1)


def test_splits_are_averaged():
    stranger = dataclasses.replace(GALLERY, pid=np.where(GALLERY.pid < 0, 7, GALLERY.pid))
    results = [evaluate("market1501", QUERY, stranger), evaluate("prid2011", QUERY, stranger)]
    mean = protocols.average(results)
    assert mean.mAP == pytest.approx((results[0].mAP + results[1].mAP) / 2)
    assert mean.mAP_std == pytest.approx(abs(results[0].mAP - results[1].mAP) / 2)
    np.testing.assert_allclose(mean.cmc[0], 0.5)
    np.testing.assert_allclose(mean.cmc_std[0], 0.5)
    assert mean.num_averaged == 2
    with pytest.raises(InputError, match="0 results"):
        protocols.average([])
    with pytest.raises(InputError, match=r"length \[3, 50\]"):
        protocols.average([results[0], evaluate("market1501", QUERY, GALLERY, max_rank=3)])


def test_vehicleid_draws_the_gallery_from_all_images():
    # Vehicle 1 at 0, 1, 9 and vehicle 2 at 4. Drawn: 0 or 1 is found by the other and lost by 9;
    # 9 is lost by both. So rank-1 is 1/2 or 0, and 1/3 on average.
    query, gallery = embedded([0, 1, 9], [1, 1, 1], [-1] * 3), embedded([4], [2], [-1])
    protocol = dataclasses.replace(PROTOCOLS["vehicleid"], repeats=60)
    result = evaluate(protocol, query, gallery)
    assert result.cmc[0] == pytest.approx(1 / 3, abs=4 * 0.236 / np.sqrt(60))
    assert result.cmc[1] == 1
    assert 0 < result.cmc_std[0] <= 0.25
    assert result.num_averaged == 60


def test_draws_follow_the_seed():
    generator = np.random.default_rng(0)
    pid, camera = generator.integers(0, 5, 40), generator.integers(0, 2, 40)
    whole = embedded(generator.standard_normal(40), pid, camera)
    first, again, other = (
        evaluate("cuhk03_classic", whole, whole, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.cmc, again.cmc)
    assert (first.cmc != other.cmc).any()


def test_a_drawn_gallery_shows_every_identity_once():
    generator = np.random.default_rng(1)
    pid = generator.integers(0, 6, 50)
    camera = generator.integers(0, 3, 50)
    junk = generator.random(50) < 0.2
    whole = labels_of(pid[:9], camera[:9], pid, camera, junk=junk)
    for _ in range(5):
        drawn = protocols._draw_gallery(whole, pid, generator)
        shown = np.flatnonzero(drawn.gallery_group != labels.NOBODYS)
        np.testing.assert_array_equal(np.sort(pid[shown]), np.unique(pid[~junk]))
        assert not junk[shown].any()
        np.testing.assert_array_equal(drawn.num_matches, whole.num_matches > 0)
        for query in range(9):
            match = drawn.matches[drawn.offsets[query] : drawn.offsets[query + 1]]
            seen = whole.matches[whole.offsets[query] : whole.offsets[query + 1]]
            assert np.isin(match, seen).all()


# Stored results of FastReID's evaluator (He et al., 2020)


def _single_shot(stored, case, **options):
    names = ("q_ids", "q_cams", "g_ids", "g_cams")
    distance = stored[f"{case}__dist"]
    if case == "cuhk03_single":
        one = np.arange(len(distance))
        columns = (one, np.zeros_like(one), one, np.ones_like(one))
    else:
        columns = tuple(stored[f"{case}__{name}"] for name in names)
    nothing = np.zeros(len(columns[2]), bool)  # is junk to that evaluator
    whole = labels_of(*columns, junk=nothing)

    def ranks_of(some):
        return match_ranks.ranks_of_rows(lambda rows: distance[rows], some)

    cmc = protocols.single_gallery_shot(ranks_of, whole, columns[2], max_rank=20, **options)
    report = average_precision.make_report(whole.offsets, ranks_of(whole), max_rank=20)
    return cmc, report.mAP


def test_golden_gallery_of_one_image_each(golden):
    stored = np.load(golden / "rank_edge_cases.npz")
    cmc, mAP = _single_shot(stored, "cuhk03_single", repeats=2, seed=0)
    np.testing.assert_array_equal(cmc[0], cmc[1])
    np.testing.assert_allclose(cmc[0], stored["cuhk03_single__cmc"], rtol=0, atol=1e-6)
    assert abs(mAP - stored["cuhk03_single__mAP"]) < 1e-9


def test_golden_single_gallery_shot(golden):
    stored = np.load(golden / "rank_edge_cases.npz")
    cmc, mAP = _single_shot(stored, "cuhk03_multi", repeats=200, seed=0)
    error = np.abs(cmc.mean(0) - stored["cuhk03_multi__cmc_mean20"])
    assert (error < 4 * stored["cuhk03_multi__cmc_std20"]).all()
    assert abs(mAP - stored["cuhk03_multi__mAP"]) < 1e-9
    # All shots are easier: the nearest of several images of an identity counts.
    assert (np.diff(cmc.mean(0)) >= 0).all()


def test_the_rules_need_a_match_and_a_place():
    alone = embedded([1], [1], [0])
    with pytest.raises(InputError, match="none of the 1 queries has a match"):
        evaluate("market1501", QUERY, alone)
    with pytest.raises(InputError, match="max_rank is 0"):
        evaluate("market1501", QUERY, GALLERY, max_rank=0)
    everything = labels.RemovalRule("nothing")
    assert ranking.rank(QUERY, alone, metric="euclidean", rule=everything).mAP == 1


def test_trapezoid_ap_of_luperson(golden):
    """Their evaluation while pre-training: Euclidean distances; a query without a match
    counts with 0."""
    stored = np.load(golden / "methods" / "eval_trapezoid_lup.npz")
    query, gallery = (
        EmbeddingSet(
            stored[f"{side}_feat"], stored[f"{side}_pid"], stored[f"{side}_cam"], ("",) * num
        )
        for side, num in (("q", 30), ("g", 120))
    )
    report = ranking.rank(query, gallery, metric="euclidean", max_rank=120)
    np.testing.assert_array_equal(~np.isnan(report.ap_trapezoid), stored["valid"])
    found = np.nan_to_num(report.ap_trapezoid)
    np.testing.assert_allclose(found, stored["ap"], atol=1e-6)
    np.testing.assert_allclose(found.mean(), stored["mAP"], atol=1e-6)
    share = report.num_valid_queries / report.num_queries
    np.testing.assert_allclose(share * report.cmc, stored["cmc"], atol=1e-6)
