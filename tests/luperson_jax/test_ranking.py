import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax.retrieval import counting, device_counting, inputs, match_ranks, ranking, tiles
from luperson_jax.retrieval.execution import Execution, TileShape
from luperson_jax.retrieval.labels import RemovalRule
from luperson_jax.structs import EmbeddingSet
from luperson_jax.vectors import l2_normalize
from tests.ranking_twin import assert_same_report, exactly_scored, labels_of, written_out
from tests.tile_distances import tile_distances


def _labels(seed, num_queries=30, num_gallery=90, num_ids=12, num_cameras=3):
    generator = np.random.default_rng(seed)
    return (
        generator.integers(-1, num_ids, num_queries),
        generator.integers(0, num_cameras, num_queries),
        generator.integers(-1, num_ids - 3, num_gallery),
        generator.integers(0, num_cameras, num_gallery),
    )


def _sets(seed, dim=8, **sizes):
    query_pid, query_camera, gallery_pid, gallery_camera = _labels(seed, **sizes)
    generator = np.random.default_rng(seed + 1000)
    centers = generator.standard_normal((20, dim))

    def embed(pid, camera):
        noise = generator.standard_normal((len(pid), dim))
        features = (centers[pid] + 1.5 * noise).astype(np.float32)
        return EmbeddingSet(features, pid, camera, tuple(map(str, range(len(pid)))))

    return embed(query_pid, query_camera), embed(gallery_pid, gallery_camera)


def _arrays(query, gallery):
    return query.pid, query.camera, gallery.pid, gallery.camera


def _distances(query, gallery, metric):
    return tile_distances(query.features, gallery.features, metric)


# Against the protocol written out


@pytest.mark.parametrize("levels", [3, 10**6])
def test_ranks_and_ties_equal_a_sort(levels, monkeypatch):
    monkeypatch.setattr(
        match_ranks, "MOST_QUERIES", 7
    )  # several blocks, and a last one that is not full
    generator = np.random.default_rng(levels)
    distance = (generator.integers(0, levels, (30, 90)) / levels).astype(np.float32)
    for num_cameras in (2, 6):
        labels = _labels(levels + num_cameras, num_cameras=num_cameras)
        expected = written_out(distance, *labels)
        assert 0 < expected.num_valid_queries < expected.num_queries
        assert_same_report(ranking.rank_distances(distance, labels_of(*labels)), expected)


@pytest.mark.parametrize("metric", inputs.METRICS)
def test_embeddings_rank_like_their_distances(metric):
    query, gallery = _sets(3)
    scores = exactly_scored(query.features, gallery.features, metric)
    expected = written_out(scores, *_arrays(query, gallery))
    assert 0.1 < expected.mAP < 0.9
    assert_same_report(ranking.rank(query, gallery, metric=metric), expected)


def test_scale_matters_to_the_euclidean_distance_only():
    query, gallery = _sets(4)
    scale = np.linspace(0.1, 9, len(gallery.pid), dtype=np.float32)[:, None]
    scaled = dataclasses.replace(gallery, features=gallery.features * scale)
    before, after = (
        [ranking.rank(query, g, metric=m).mAP for m in ("cosine", "euclidean")]
        for g in (gallery, scaled)
    )
    assert before[0] == pytest.approx(after[0], abs=1e-9)
    assert abs(before[1] - after[1]) > 0.01


@pytest.mark.parametrize("mesh", [None, tiles.local_mesh()], ids=["host", "devices"])
def test_limits_of_memory_do_not_change_the_report(mesh, monkeypatch):
    query, gallery = _sets(16)
    execution = Execution(TileShape(7, 16), mesh)
    whole = ranking.rank(query, gallery, execution=execution)
    monkeypatch.setattr(counting, "RESIDENT_BYTES", 2 * 4 * 7 * 8)  # two blocks of queries
    monkeypatch.setattr(counting, "MATCH_ROWS", 3)
    monkeypatch.setattr(device_counting, "MATCHES_AT_ONCE", 3)
    jax.clear_caches()
    assert_same_report(ranking.rank(query, gallery, execution=execution), whole, 0)


def test_rows_are_asked_for_once_and_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(match_ranks, "MAX_ROW_ELEMENTS", 4 * 90)
    distance, labels = np.random.default_rng(7).random((30, 90)), _labels(7)
    asked = []

    def distances(rows):
        asked.append(rows)
        return distance[rows]

    report = ranking.rank_rows(distances, labels_of(*labels))
    assert max(map(len, asked)) == 4
    np.testing.assert_array_equal(
        np.sort(np.concatenate(asked)), np.flatnonzero(~np.isnan(report.ap))
    )


def test_names_of_identities_and_cameras_do_not_matter():
    distance, labels = np.random.default_rng(6).random((30, 90)), _labels(6)
    renamed = [np.where(column < 0, column, column * 10**12 + 5) for column in labels]
    assert_same_report(
        ranking.rank_distances(distance, labels_of(*renamed)),
        ranking.rank_distances(distance, labels_of(*labels)),
    )


# The rules, one by one


def _rank_one_query(gallery_pid, gallery_camera, max_rank=5):
    """One query of identity 1, camera 1; the gallery stands in order of distance."""
    distance = np.arange(len(gallery_pid))[None] / 10
    one = np.array([1])
    labels = labels_of(one, one, np.array(gallery_pid), np.array(gallery_camera))
    return ranking.rank_distances(distance, labels, max_rank=max_rank)


def test_own_camera_is_removed_and_the_rest_moves_up():
    report = _rank_one_query([1, 2, 1, 1, 1], [1, 1, 1, 2, 3])  # left: miss hit hit
    assert report.mAP == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert report.mINP == pytest.approx(2 / 3)
    np.testing.assert_array_equal(report.cmc, [0, 1, 1, 1, 1])


def test_other_identities_of_the_same_camera_stay():
    assert _rank_one_query([2, 1], [1, 2]).mAP == 0.5


def test_queries_without_match_are_counted_and_left_out():
    distance = np.array([[0, 1]] * 3)
    pid, camera = np.array([1, 5, 2]), np.array([1, 1, 1])
    labels = labels_of(pid, camera, np.array([1, 2]), np.array([2, 1]))
    report = ranking.rank_distances(distance, labels)
    assert (report.num_valid_queries, report.num_queries) == (1, 3)
    np.testing.assert_array_equal(report.ap, [1, np.nan, np.nan])
    assert report.cmc.shape == (50,)
    np.testing.assert_array_equal(report.cmc, 1)


def test_nobody_is_no_match_and_stands_before_none():
    distance = np.array([[0.0, 0.1, 1.0], [0.3, 0.0, 0.2]])
    columns = [np.array(x) for x in ([5, -1], [0, 0], [-1, -1, 5], [0, 1, 1])]
    report = ranking.rank_distances(distance, labels_of(*columns))
    assert (report.mAP, report.num_valid_queries, report.num_queries) == (1, 1, 2)
    np.testing.assert_array_equal(report.ap, [1, np.nan])
    # Junk that is named takes the place of that rule.
    junk = np.array([False, True, False])
    named = ranking.rank_distances(distance, labels_of(*columns, junk=junk))
    np.testing.assert_allclose(named.ap, [1 / 2, np.nan])
    features = np.eye(3, dtype=np.float32)
    sets = [
        EmbeddingSet(features[: len(p)], p, c, ("",) * len(p))
        for p, c in (columns[:2], columns[2:])
    ]
    top = ranking.top_matches(*sets, k=3)
    np.testing.assert_array_equal(top.rows, [[2, -1, -1]] * 2)
    np.testing.assert_array_equal(top.correct, [[True, False, False], [False] * 3])


def test_where_nobody_is_known_everything_is_shown_and_nothing_is_right():
    features, nobody = np.eye(3, dtype=np.float32), np.full(3, -1)
    one = EmbeddingSet(features, nobody, nobody, ("",) * 3)
    top = ranking.top_matches(one, one, k=3)
    np.testing.assert_array_equal(np.sort(top.rows, axis=1), [[0, 1, 2]] * 3)
    assert not top.correct.any()


def test_distances_that_differ_in_the_last_bit_are_no_tie():
    near = np.float32(0.5)
    distance = np.array([[np.nextafter(near, np.float32(1)), near]])
    labels = (np.array([1]), np.array([1]), np.array([2, 1]), np.array([1, 2]))
    assert ranking.rank_distances(distance, labels_of(*labels)).mAP == 1


@pytest.mark.parametrize("power", [-120, -100, -64, -45, -39, 0, 40])
def test_the_length_of_features_does_not_change_their_cosine(power):
    query, gallery = _sets(16)
    whole = np.round(8 * gallery.features) / 8 + 1 / 16  # no number far smaller than the others
    near, far = (
        dataclasses.replace(gallery, features=whole * np.float32(2.0**p)) for p in (0, power)
    )
    assert far.features.dtype == np.float32
    expected, found = (ranking.top_matches(query, one, k=5) for one in (near, far))
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_allclose(found.distance, expected.distance, atol=1e-6)
    smallest = np.full((1, 4), np.finfo(np.float32).tiny)
    np.testing.assert_allclose(tiles.unit_rows(jnp.asarray(smallest)), 0.5, rtol=1e-6)


def test_ordinary_rows_are_normalized_to_the_same_bits_and_zeros_stay():
    rows = np.random.default_rng(1).standard_normal((9, 5)).astype(np.float32)
    rows[3] = 0
    found = np.asarray(tiles.unit_rows(jnp.asarray(rows)))
    np.testing.assert_array_equal(found, np.asarray(l2_normalize(jnp.asarray(rows))))
    np.testing.assert_array_equal(found[3], 0)


# Ranked lists


@pytest.mark.parametrize("metric", inputs.METRICS)
def test_top_matches_are_the_head_of_the_ranking(metric):
    query, gallery = _sets(8)
    gallery.features[40:60] = gallery.features[20:40]  # exact ties
    top = ranking.top_matches(query, gallery, k=90, metric=metric)
    distance = _distances(query, gallery, metric)
    known = ranking.top_matches(query, gallery, k=90, distances=lambda rows: distance[rows])
    for i, row in enumerate(distance):
        order = np.argsort(row, kind="stable")
        own = (gallery.pid[order] == query.pid[i]) & (gallery.camera[order] == query.camera[i])
        own |= gallery.pid[order] == -1
        kept, num_removed = order[~own], own.sum()
        padded = np.pad(kept, (0, num_removed), constant_values=-1)
        np.testing.assert_array_equal(top.rows[i], padded)
        np.testing.assert_array_equal(known.rows[i], padded)
        far = np.pad(row[kept], (0, num_removed), constant_values=np.inf)
        np.testing.assert_array_equal(top.distance[i], far)
        hits = np.pad(gallery.pid[kept] == query.pid[i], (0, num_removed))
        np.testing.assert_array_equal(top.correct[i], hits)


def test_lists_do_not_depend_on_the_tiles():
    # Whole numbers: their squared distances are exact in any order of summation.
    sets = [dataclasses.replace(x, features=np.round(x.features)) for x in _sets(15)]
    whole = ranking.top_matches(*sets, k=20, metric="euclidean")
    shape = TileShape(7, 16)
    for mesh in (None, tiles.local_mesh()):  # lists that the host keeps, and the devices
        tiled = ranking.top_matches(
            *sets, k=20, metric="euclidean", execution=Execution(shape, mesh)
        )
        for name, column in whole._asdict().items():
            np.testing.assert_array_equal(getattr(tiled, name), column, err_msg=name)


def test_top_matches_agree_with_the_report():
    query, gallery = _sets(9)
    report = ranking.rank(query, gallery, max_rank=5)
    top = ranking.top_matches(query, gallery, k=5)
    valid = ~np.isnan(report.ap)
    hits = np.maximum.accumulate(top.correct[valid], axis=1).mean(0)
    np.testing.assert_allclose(hits, report.cmc)


def test_lists_longer_than_the_gallery_are_padded():
    query, gallery = _sets(10, num_queries=2, num_gallery=3)
    top = ranking.top_matches(query, gallery, k=5)
    assert top.rows.shape == top.correct.shape == top.distance.shape == (2, 5)
    np.testing.assert_array_equal(top.rows[:, 3:], -1)


# Mistakes


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e20])
@pytest.mark.parametrize("side", ["query", "gallery"])
def test_features_that_are_not_finite(side, bad):
    sets = dict(zip(("query", "gallery"), _sets(11), strict=True))
    sets[side].features[2, 3] = bad
    for function in (ranking.rank, lambda q, g: ranking.top_matches(q, g, k=1)):
        with pytest.raises(InputError, match=f"{side} features contain nan"):
            function(sets["query"], sets["gallery"])


def test_shapes_that_do_not_fit():
    query, gallery = _sets(12)
    replace = dataclasses.replace
    narrow, flat = gallery.features[:, :7], gallery.features[:, 0]
    cases = {
        "8 dimensions and gallery features 7": (query, replace(gallery, features=narrow)),
        "query features have shape (0, 8)": (replace(query, features=query.features[:0]), gallery),
        "gallery features have shape (90,)": (query, replace(gallery, features=flat)),
        "gallery pid has shape (89,)": (query, replace(gallery, pid=gallery.pid[:-1])),
        "query camera has shape (30,) and type float64": (
            replace(query, camera=query.camera.astype(float)),
            gallery,
        ),
    }
    for message, (q, g) in cases.items():
        with pytest.raises(InputError, match=re.escape(message)):
            ranking.rank(q, g)


def test_values_that_do_not_exist():
    query, gallery = _sets(13)
    with pytest.raises(InputError, match=r"sqeuclidean.*cosine, euclidean"):
        ranking.rank(query, gallery, metric="sqeuclidean")
    with pytest.raises(InputError, match="max_rank is 0"):
        ranking.rank(query, gallery, max_rank=0)
    with pytest.raises(InputError, match="length 0"):
        ranking.top_matches(query, gallery, k=0)


def test_a_single_camera_leaves_nothing_to_rank():
    query, gallery = _sets(14, num_cameras=1)
    with pytest.raises(InputError, match=r"none of the 30 queries has a match.*cameras"):
        ranking.rank(query, gallery)
    assert (ranking.top_matches(query, gallery, k=3).rows >= 0).any()


# Stored results of FastReID's evaluator (He et al., 2020)


def _assert_golden(report, stored, prefix, ap_tolerance=1e-5):
    cmc = stored[f"{prefix}cmc"]
    length = min(len(cmc), len(report.cmc))
    assert abs(report.mAP - stored[f"{prefix}mAP"]) < ap_tolerance
    assert abs(report.mINP - stored[f"{prefix}mINP"]) < ap_tolerance
    np.testing.assert_allclose(report.cmc[:length], cmc[:length], rtol=0, atol=1e-6)


def _stored_sets(stored, features):
    return [
        EmbeddingSet(stored[f"{side}_{features}"], pid, stored[f"{side}_cams"], ("",) * len(pid))
        for side, pid in (("q", stored["q_ids"]), ("g", stored["g_ids"]))
    ]


@pytest.mark.parametrize(("prefix", "metric"), [("cos_", "cosine"), ("euc_", "euclidean")])
def test_golden_500_by_2000(golden, prefix, metric):
    stored = np.load(golden / "rank_fastreid_500x2000.npz")
    query, gallery = _stored_sets(stored, "feat")
    nothing = np.zeros(len(stored["g_ids"]), bool)  # is junk to that evaluator
    report = ranking.rank(query, gallery, metric=metric, rule=RemovalRule(junk=nothing))
    _assert_golden(report, stored, prefix)
    np.testing.assert_array_equal(~np.isnan(report.ap), stored["valid_query"])
    np.testing.assert_allclose(
        report.ap[stored["valid_query"]], stored[f"{prefix}ap_valid"], rtol=0, atol=1e-5
    )
    if metric == "cosine":
        _assert_golden(ranking.rank(query, gallery), stored, "cos_nojunk_")


@pytest.mark.parametrize("junk", ["all_", "nojunk_"])
def test_golden_market_protocol_at_full_size(golden, junk):
    stored = np.load(golden / "market1501_protocol_synthetic.npz")
    query, gallery = _stored_sets(stored, "feat_f16")
    named = np.zeros(len(stored["g_ids"]), bool) if junk == "all_" else None
    _assert_golden(ranking.rank(query, gallery, rule=RemovalRule(junk=named)), stored, junk)


@pytest.mark.parametrize(
    ("case", "law"),
    [
        ("ties_quantised", "pessimistic"),
        ("ties_all_equal", "pessimistic"),
        ("two_cams_q0_g1", "asrun"),
        ("hand_small", "asrun"),
        ("junk_minus1_not_special", "asrun"),
    ],
)
def test_golden_edge_cases(golden, case, law):
    stored = np.load(golden / "rank_edge_cases.npz")
    columns = (stored[f"{case}__{name}"] for name in ("q_ids", "q_cams", "g_ids", "g_cams"))
    nothing = np.zeros(len(stored[f"{case}__g_ids"]), bool)  # is junk to that evaluator
    labels = labels_of(*columns, junk=nothing)
    report = ranking.rank_distances(stored[f"{case}__dist"], labels)
    _assert_golden(report, stored, f"{case}__{law}__", 1e-9)
    assert report.cmc.shape == (50,)
    assert (np.diff(report.cmc) >= 0).all()
