import numpy as np
import pytest
import sklearn.cluster
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from data_pipeline.errors import InputError
from luperson_jax.clustering import jaccard
from luperson_jax.clustering.dbscan import dbscan
from luperson_jax.clustering.jaccard import SparseJaccard, jaccard_distance
from luperson_jax.retrieval import neighbors

DIMENSION = 4


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbors, "TILE_ROWS", 64)
        yield


def _features(seed, num_rows, duplicates):
    generator = np.random.default_rng(seed)
    centers = generator.standard_normal((max(num_rows // 8, 1), DIMENSION))
    features = centers[generator.integers(0, len(centers), num_rows)]
    features = features + 0.3 * generator.standard_normal((num_rows, DIMENSION))
    if duplicates:
        features[num_rows // 2 :] = features[: num_rows - num_rows // 2]
        features[0] = 0
    return features.astype(np.float32)


def _twin(features, rows, k1, k2):
    """Sets and matrices row by row; only the lists of neighbors are shared."""
    num_rows = len(features)
    rows = rows[:, :k1]
    unit = features.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    vectors = np.zeros((num_rows, num_rows))

    def reciprocal_of(i, size):
        return {j for j in rows[i, :size] if i in rows[j, :size]}

    for i in range(num_rows):
        near = reciprocal_of(i, k1)
        members = set(near)
        for j in near:
            candidates = reciprocal_of(j, int(np.round(k1 / 2)) + 1)
            if len(candidates & near) > 2 / 3 * len(candidates):
                members |= candidates
        chosen = sorted(members)
        weight = np.exp(2 * unit[chosen] @ unit[i])
        vectors[i, chosen] = weight / weight.sum()
    vectors = np.array([vectors[rows[i, :k2]].mean(axis=0) for i in range(num_rows)])
    overlap = np.minimum(vectors[:, None], vectors[None]).sum(axis=2)
    return np.maximum(1 - overlap / (2 - overlap), 0)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_rows=st.integers(1, 70),
    duplicates=st.booleans(),
    k1=st.integers(1, 40),
    k2=st.integers(1, 8),
)
def test_equals_the_method_told_image_by_image(seed, num_rows, duplicates, k1, k2):
    features, k2 = _features(seed, num_rows, duplicates), min(k1, k2)
    lists = neighbors.nearest(features, features, min(k1, num_rows), self_first=True)
    found = jaccard_distance(features, k1=k1, k2=k2)
    dense = found.dense()
    np.testing.assert_allclose(dense, _twin(features, lists.rows, k1, k2), atol=1e-5)
    np.testing.assert_array_equal(dense, dense.T)
    assert len(found) == num_rows
    assert ((found.distance >= 0) & (found.distance < 1)).all()
    assert (np.diagonal(dense) < 1e-5).all()


def test_scale_of_a_feature_does_not_matter():
    features = _features(0, 60, duplicates=False)
    scaled = features * np.linspace(0.5, 8, 60, dtype=np.float32)[:, None]
    found, other = (jaccard_distance(one, k1=8, k2=3).dense() for one in (features, scaled))
    np.testing.assert_allclose(found, other, atol=1e-5)


def test_the_graph_keeps_pairs_at_distance_zero_and_at_eps():
    distance = np.array([0, 0, 0.5, 0, 0, 0.5, 0, 0.75, 0.75, 0], np.float32)
    indices = np.array([0, 1, 2, 0, 1, 0, 2, 3, 2, 3], np.int32)
    pairs = SparseJaccard(np.array([0, 3, 5, 8, 10]), indices, distance)
    expected = pairs.dense() <= 0.5
    assert expected.sum() == 8
    np.testing.assert_array_equal(pairs.graph(0.5).toarray(), expected)
    np.testing.assert_array_equal(pairs.graph(0.6).toarray(), expected)
    assert pairs.graph(0.75).nnz == 10


def test_pairs_beyond_the_largest_distance_are_dropped():
    features = _features(2, 70, duplicates=True)
    every = jaccard_distance(features, k1=10, k2=3)
    for largest in (0.3, float(np.sort(every.distance)[len(every.distance) // 2])):
        some = jaccard_distance(features, k1=10, k2=3, max_distance=largest)
        dense = every.dense()
        np.testing.assert_array_equal(some.dense(), np.where(dense <= largest, dense, 1))
        assert 0 < len(some.distance) < len(every.distance)
        np.testing.assert_array_equal(some.graph(largest).toarray(), dense <= largest)
    with pytest.raises(InputError, match=r"eps is 0.9, but .* max_distance"):
        some.graph(0.9)


def _graph(distance, eps):
    return sparse.csr_array(distance <= eps)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_rows=st.integers(1, 60),
    density=st.sampled_from([0.02, 0.05, 0.1, 0.3]),
    min_samples=st.integers(1, 6),
)
def test_labels_are_those_of_scikit_learn(seed, num_rows, density, min_samples):
    """Sparse random graphs: many components, border points between clusters, noise."""
    distance = np.random.default_rng(seed).random((num_rows, num_rows))
    distance = np.maximum(distance, distance.T) ** 0.5
    np.fill_diagonal(distance, 0)
    eps = np.sqrt(np.sqrt(density))
    expected = sklearn.cluster.DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed")
    labels = dbscan(_graph(distance, eps), min_samples=min_samples)
    np.testing.assert_array_equal(labels, expected.fit(distance).labels_)


def test_a_border_point_joins_the_first_cluster_and_is_no_bridge():
    near = np.eye(11, dtype=bool)
    for group in ((6, 7, 8, 9), (1, 2, 3, 4)):
        near[np.ix_(group, group)] = True
    near[0, [1, 6]] = near[[1, 6], 0] = True  # not dense enough to be a core of its own
    expected = [0, 0, 0, 0, 0, -1, 1, 1, 1, 1, -1]
    np.testing.assert_array_equal(dbscan(sparse.csr_array(near), min_samples=4), expected)


def test_mistakes(monkeypatch):
    features = _features(1, 30, duplicates=False)
    pairs = jaccard_distance(features, k1=5, k2=2)
    for eps in (0.0, 1.0, -1.0):
        with pytest.raises(InputError, match=f"eps is {eps}"):
            pairs.graph(eps)
    with pytest.raises(InputError, match="min_samples is 0"):
        dbscan(pairs.graph(0.5), min_samples=0)
    with pytest.raises(InputError, match="k1 is 0"):
        jaccard_distance(features, k1=0)
    with pytest.raises(InputError, match=r"max_distance is 0\.0"):
        jaccard_distance(features, max_distance=0.0)
    with pytest.raises(InputError, match="k2 is 6; expected 1 to k1 = 5"):
        jaccard_distance(features, k1=5, k2=6)
    monkeypatch.setattr(jaccard, "MAX_DENSE_ROWS", 29)
    with pytest.raises(InputError, match=r"30 images.*up to 29 images"):
        pairs.dense()
    features[21, 2] = np.inf
    with pytest.raises(InputError, match=r"clustering features contain nan.*row 21"):
        jaccard_distance(features, k1=5, k2=2)


@pytest.mark.parametrize("k1", [20, 30])
def test_golden_distances_and_labels(golden, k1):
    stored = np.load(golden / "jaccard_dbscan_600.npz")
    pairs = jaccard_distance(stored["feat"], k1=k1, k2=6)
    expected = stored[f"jaccard_k1{k1}_k26"]
    np.testing.assert_allclose(pairs.dense(), expected, rtol=0, atol=1e-5)
    for eps in (0.4, 0.5, 0.6, 0.7):
        labels = dbscan(pairs.graph(eps), min_samples=4)
        np.testing.assert_array_equal(labels, stored[f"dbscan_k1{k1}_k26_eps{eps}_min4"])
