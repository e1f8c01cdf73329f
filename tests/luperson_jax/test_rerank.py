import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import InputError
from luperson_jax.retrieval import neighbors, ranking, reciprocal
from luperson_jax.retrieval.rerank import rerank, rerank_distances
from luperson_jax.vectors import pairwise_distances
from tests.ranking_twin import labels_of

DIMENSION = 4
METRIC_OF = {"cos": "cosine", "euc": "euclidean", "sqeuc": "sqeuclidean"}


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbors, "TILE_ROWS", 64)
        patch.setattr(neighbors, "DEVICE_TILE_ROWS", 64)
        yield


def _twin(distance, num_queries, k1, k2, lambda_value):
    """The method as it is told, image by image, on the matrix of all distances."""
    num_rows = len(distance)
    largest = distance.max(axis=1, keepdims=True)
    order = np.argsort(distance, axis=1, kind="stable")
    distance = np.square(distance / np.where(largest == 0, 1, largest))

    def reciprocal_of(i, size):
        return {j for j in order[i, :size] if i in order[j, :size]}

    vectors = np.zeros((num_rows, num_rows))
    for i in range(num_rows):
        near = reciprocal_of(i, k1 + 1)
        members = set(near)
        for j in near:
            candidates = reciprocal_of(j, int(np.round(k1 / 2)) + 1)
            if len(candidates & near) > 2 / 3 * len(candidates):
                members |= candidates
        chosen = sorted(members)
        weight = np.exp(-distance[i, chosen])
        vectors[i, chosen] = weight / weight.sum() if chosen else 0
    if k2 > 1:
        vectors = np.array([vectors[order[i, :k2]].mean(axis=0) for i in range(num_rows)])
    overlap = np.minimum(vectors[:num_queries, None], vectors[None, num_queries:]).sum(axis=2)
    jaccard = 1 - overlap / (2 - overlap)
    original = distance[:num_queries, num_queries:]
    return (1 - lambda_value) * jaccard + lambda_value * original


def _clusters(seed, num_queries, num_gallery, levels=None):
    """Identities with some images each; few integer levels make duplicates and ties whose
    distances float32 holds exactly."""
    generator = np.random.default_rng(seed)
    num_rows = num_queries + num_gallery
    centers = generator.standard_normal((max(num_rows // 6, 1), DIMENSION))
    features = centers[generator.integers(0, len(centers), num_rows)]
    features = features + 0.4 * generator.standard_normal((num_rows, DIMENSION))
    if levels is not None:
        features = np.round(features * levels)
    features = features.astype(np.float32)
    return features[:num_queries], features[num_queries:]


def _all_distances(query, gallery, metric):
    both = jnp.concatenate([query, gallery])
    return np.asarray(pairwise_distances(both, both, metric), np.float64)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_queries=st.integers(1, 12),
    num_gallery=st.integers(1, 60),
    levels=st.integers(0, 3),
    k1=st.integers(1, 30),
    k2=st.integers(1, 8),
    lambda_value=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_equals_the_method_told_image_by_image(
    seed, num_queries, num_gallery, levels, k1, k2, lambda_value
):
    query, gallery = _clusters(seed, num_queries, num_gallery, levels)
    both = np.concatenate([query, gallery])
    distance = np.sqrt(np.maximum(np.square(both[:, None] - both[None]).sum(axis=2), 1e-12))
    expected = _twin(distance, num_queries, k1, k2, lambda_value)
    options = {"k1": k1, "k2": k2, "lambda_value": lambda_value}
    reranked = rerank(query, gallery, metric="euclidean", **options)
    np.testing.assert_allclose(reranked.dense(), expected, atol=2e-5)
    blocks = (distance[:num_queries, :num_queries], distance[:num_queries, num_queries:])
    known = rerank_distances(*blocks, distance[num_queries:, num_queries:], **options)
    np.testing.assert_allclose(known.dense(), expected, atol=2e-5)


@pytest.mark.parametrize("metric", METRIC_OF.values())
def test_every_metric(metric):
    query, gallery = _clusters(1, 20, 150)
    query[2], gallery[7], gallery[9] = 0, 0, gallery[8]
    expected = _twin(_all_distances(query, gallery, metric), 20, 12, 4, 0.3)
    found = rerank(query, gallery, k1=12, k2=4, metric=metric).dense()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_rows_are_those_of_the_dense_matrix(monkeypatch):
    query, gallery = _clusters(2, 30, 100)
    reranked = rerank(query, gallery, k1=10, k2=3)
    whole = reranked.dense()
    for limit in (1, 1000):  # many small blocks
        monkeypatch.setattr(reciprocal, "BLOCK_WORK", limit)
        for rows in ([4], [29, 0, 0, 13], range(30)):
            rows = np.array(rows)
            np.testing.assert_allclose(reranked.rows(rows), whole[rows], atol=1e-6)


def test_order_of_the_gallery_does_not_matter():
    query, gallery = _clusters(3, 10, 90)
    order = np.random.default_rng(0).permutation(90)
    found = rerank(query, gallery, k1=10, k2=3).dense()
    permuted = rerank(query, gallery[order], k1=10, k2=3).dense()
    np.testing.assert_allclose(permuted, found[:, order], atol=1e-6)


def test_all_original_is_the_squared_distance_in_units_of_the_farthest():
    query, gallery = _clusters(4, 10, 50)
    distance = _all_distances(query, gallery, "euclidean")[:10]
    expected = np.square(distance[:, 10:] / distance.max(axis=1, keepdims=True))
    found = rerank(query, gallery, k1=5, lambda_value=1.0, metric="euclidean").dense()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_equal_images_and_zero_vectors_are_ranked():
    for value in (0, 1):
        query, gallery = np.full((3, 4), value, np.float32), np.full((9, 4), value, np.float32)
        for metric in METRIC_OF.values():
            found = rerank(query, gallery, k1=4, k2=2, metric=metric).dense()
            assert np.isfinite(found).all()
            assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize(("half", "joins"), [(3, False), (4, True)])
def test_more_than_two_thirds_of_the_candidates_must_be_common(half, joins):
    """Image 1 is a reciprocal neighbor of 0 and image 3 is not. The candidates of 1 are 1, 2, 3
    in short lists, of which two are common with 0, and 0 too in longer ones: three of four."""
    lists = np.array([[0, 1, 2, -1], [1, 2, 3, 0], [2, 1, 0, -1], [3, 1, -1, -1]])
    near = reciprocal.reciprocal_sets(lists, 4).toarray()
    np.testing.assert_array_equal(near[0], [1, 1, 1, 0])
    candidates = reciprocal.reciprocal_sets(lists, half).toarray()
    np.testing.assert_array_equal(candidates[1], [joins, 1, 1, 1])
    expanded = reciprocal.expanded_sets(lists, 4, half).toarray()
    np.testing.assert_array_equal(expanded[0], [1, 1, 1, joins])


def test_halves_go_to_the_even_number():
    assert [reciprocal.half_size(k1) for k1 in (1, 5, 15, 20, 30)] == [1, 3, 9, 11, 16]


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("k1 is 0", {"k1": 0}),
        ("k2 is 0", {"k2": 0}),
        ("lambda_value is 1.5", {"lambda_value": 1.5}),
        ("unknown metric", {"metric": "l1"}),
    ],
)
def test_settings_out_of_range(message, options):
    with pytest.raises(InputError, match=message):
        rerank(*_clusters(5, 3, 9), **options)


def test_features_and_distances_that_do_not_fit():
    query, gallery = _clusters(6, 3, 9)
    gallery[4] = np.nan
    with pytest.raises(InputError, match=r"gallery features contain nan.*row 4"):
        rerank(query, gallery)
    blocks = [np.ones((3, 3)), np.ones((3, 9)), np.ones((9, 9))]
    with pytest.raises(InputError, match=r"gallery-gallery distances have shape \(9, 8\)"):
        rerank_distances(*blocks[:2], np.ones((9, 8)))
    blocks[1][2, 5] = np.inf
    with pytest.raises(InputError, match=r"query-gallery distances contain nan.*row 2"):
        rerank_distances(*blocks)


# Stored results of three implementations of the reference


def _golden_settings(name):
    metric, k1, k2, lambda_value = name.split("_")
    return METRIC_OF[metric], int(k1[2:]), int(k2[2:]), float(lambda_value[3:])


def test_golden_variants(golden):
    stored = np.load(golden / "rerank_variants_80x420.npz")
    names = [name for name in stored.files if "_lam" in name]
    assert len(names) == 15
    for name in names:
        metric, k1, k2, lambda_value = _golden_settings(name)
        options = {"k1": k1, "k2": k2, "lambda_value": lambda_value}
        found = rerank(stored["q_feat"], stored["g_feat"], metric=metric, **options)
        np.testing.assert_allclose(found.dense(), stored[name], rtol=0, atol=1e-5, err_msg=name)


def test_golden_distances(golden):
    stored = np.load(golden / "rerank_variants_80x420.npz")
    found = rerank_distances(stored["cos_in_qq"], stored["cos_in_qg"], stored["cos_in_gg"])
    np.testing.assert_allclose(found.dense(), stored["cos_k120_k26_lam0.3"], rtol=0, atol=1e-5)


def test_golden_distances_rank_alike(golden):
    """Ranked a few queries at a time, without a matrix of all distances."""
    stored = np.load(golden / "rerank_variants_80x420.npz")
    reranked = rerank(stored["q_feat"], stored["g_feat"])
    generator = np.random.default_rng(0)
    columns = [generator.integers(0, top, n) for n, top in itertools.product((80, 420), (20, 4))]
    labels = labels_of(*columns)
    found = ranking.rank_rows(reranked.rows, labels)
    expected = ranking.rank_distances(stored["cos_k120_k26_lam0.3"], labels)
    assert found.mAP == pytest.approx(expected.mAP, abs=1e-5)
    np.testing.assert_allclose(found.ap, expected.ap, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.cmc, expected.cmc, rtol=0, atol=1e-6)
