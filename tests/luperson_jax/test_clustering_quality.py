"""Figures of clusters against scikit-learn and counting by hand."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from luperson_jax.clustering import quality
from luperson_jax.clustering.jaccard import jaccard_distance


def drawn(seed, num=40, noise=0.2):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, num)
    labels[rng.random(num) < noise] = -1
    return rng, labels


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_silhouette_is_that_of_scikit_learn(seed):
    rng, labels = drawn(seed)
    centers = rng.standard_normal((5, 4))
    features = np.float32(centers[np.maximum(labels, 0)] + 0.7 * rng.standard_normal((40, 4)))
    pairs = jaccard_distance(features, k1=8, k2=3)
    found = quality.silhouette(pairs, labels)
    inside = labels >= 0
    dense = np.float64(pairs.dense())[np.ix_(inside, inside)]
    np.fill_diagonal(dense, 0)
    expected = sklearn.metrics.silhouette_samples(dense, labels[inside], metric="precomputed")
    np.testing.assert_allclose(found[inside], expected, atol=1e-6)
    assert not np.any(found[~inside])


def test_silhouette_of_one_cluster_or_none_is_0():
    pairs = jaccard_distance(np.eye(6, dtype=np.float32), k1=3, k2=1)
    for labels in (np.zeros(6, int), np.full(6, -1)):
        assert not np.any(quality.silhouette(pairs, labels))


def test_agreement_counts_pairs():
    rng, labels = drawn(1)
    true = rng.integers(-1, 4, 40)
    found = quality.agreement(labels, true)
    rows = np.flatnonzero((labels >= 0) & (true >= 0))
    pairs = [(i, j) for i in rows for j in rows if i < j]
    together = [labels[i] == labels[j] for i, j in pairs]
    same = [true[i] == true[j] for i, j in pairs]
    right = np.sum(np.logical_and(together, same))
    assert found["pairwise_precision"] == pytest.approx(right / np.sum(together))
    assert found["pairwise_recall"] == pytest.approx(right / np.sum(same))
    f = 2 * right / (np.sum(together) + np.sum(same))
    assert found["pairwise_f"] == pytest.approx(f)
    majority = [max(np.sum((labels == c) & (true == t)) for t in range(4)) for c in range(5)]
    assert found["purity"] == pytest.approx(np.sum(majority) / len(rows))
    mutual = sklearn.metrics.normalized_mutual_info_score(true[rows], labels[rows])
    assert found["v_measure"] == pytest.approx(mutual)


def test_the_best_and_no_agreement():
    labels = np.array([0, 0, 1, 1, -1])
    assert set(quality.agreement(labels, np.array([5, 5, 2, 2, 2])).values()) == {1.0}
    assert quality.agreement(labels, np.full(5, -1)) == {}
    assert quality.stability(labels, np.array([3, 3, 0, 0, 1])) == 1
    assert quality.stability(labels, np.full(5, -1)) == 0


def test_sizes_and_cameras():
    labels, camera = np.array([0, 0, 0, 0, 2, 2, -1]), np.array([0, 1, 0, 1, 5, 5, 0])
    found = quality.describe(labels, camera)
    assert found == {
        "count": 2,
        "outliers": 1,
        "smallest": 2,
        "median_size": 3,
        "largest": 4,
        "camera_entropy": pytest.approx(np.log(2) / 2),
    }
    assert quality.describe(np.full(3, -1), np.zeros(3, int))["count"] == 0
