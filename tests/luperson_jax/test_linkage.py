"""Average linkage on Jaccard distances, as CALR labels the images of one camera."""

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import silhouette_score

from data_pipeline.errors import InputError
from luperson_jax.clustering import quality
from luperson_jax.clustering.jaccard import jaccard_distance
from luperson_jax.clustering.linkage import average_linkage


def same_partition(one, two):
    pairs = set(zip(one.tolist(), two.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(two.tolist()))


def distances(num=40, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(8, 16))
    features = centers[rng.integers(0, 8, num)] + 0.5 * rng.normal(size=(num, 16))
    return jaccard_distance(features.astype(np.float32), k1=8, k2=3)


@pytest.mark.parametrize("number", [1, 2, 8, 39, 40])
def test_it_is_that_of_scikit_learn(number):
    pairs = distances()
    labels = average_linkage(pairs, [number])[number]
    rule = AgglomerativeClustering(number, metric="precomputed", linkage="average")
    assert same_partition(labels, rule.fit_predict(pairs.dense()))
    _, first = np.unique(labels, return_index=True)
    assert (np.diff(first) > 0).all()
    assert len(first) == number


def test_a_number_that_cannot_be_is_an_error():
    for number in (0, 41):
        with pytest.raises(InputError, match=f"{number} clusters of 40 images"):
            average_linkage(distances(), [2, number])


def test_reference(golden):
    """Clusters and silhouettes of every epoch and camera of the authors' first stage."""
    stored = np.load(golden / "methods" / "calr_intra.npz")
    for camera in np.unique(stored["cam"]):
        one = {name: stored[f"cam{camera}/{name}"] for name in ("features", "labels", "silhouette")}
        for features, labels, silhouette in zip(*one.values(), strict=True):
            pairs = jaccard_distance(features, k1=int(stored["k1"]), k2=int(stored["k2"]))
            number = len(labels) // 5
            found = average_linkage(pairs, [number])[number]
            assert same_partition(found, labels)
            mean = quality.silhouette(pairs, found).mean()
            np.testing.assert_allclose(mean, silhouette, atol=2e-6)
            np.testing.assert_allclose(
                silhouette_score(
                    pairs.dense() * (1 - np.eye(len(labels))), labels, metric="precomputed"
                ),
                silhouette,
                atol=2e-6,
            )
