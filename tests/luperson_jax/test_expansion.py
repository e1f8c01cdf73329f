import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax.retrieval import expansion, neighbors, ranking
from luperson_jax.structs import EmbeddingSet


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbors, "TILE_ROWS", 64)
        patch.setattr(expansion, "BLOCK_ELEMENTS", 1000)
        yield


def _sets(seed, num_queries=20, num_gallery=90, noise=0.6):
    generator = np.random.default_rng(seed)
    pid = generator.integers(0, 12, num_queries + num_gallery)
    features = generator.standard_normal((12, 8))[pid]
    features = features + noise * generator.standard_normal((len(pid), 8))
    features = (features * generator.uniform(0.5, 2, (len(pid), 1))).astype(np.float32)
    return features[:num_queries], features[num_queries:], pid[:num_queries], pid[num_queries:]


def _unit(rows):
    rows = rows.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def test_average_of_both_equals_the_formula():
    query, gallery, _, _ = _sets(0)
    both = np.concatenate([query, gallery])
    similarity = _unit(both) @ _unit(both).T
    expected = []
    for row in similarity:
        near = np.argsort(-row)[:5]
        expected.append(np.mean(both[near] * row[near, None] ** 3, axis=0))
    found = np.concatenate(expansion.average_both(query, gallery))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 2.5])
def test_expanded_queries_equal_the_formula(alpha):
    query, gallery, _, _ = _sets(1)
    query[3], gallery[4] = 0, 0
    similarity = _unit(query) @ _unit(gallery).T
    expected = []
    for own, row in zip(_unit(query), similarity, strict=True):
        near = np.argsort(-row, kind="stable")[:4]
        weight = np.maximum(row[near], 0) ** alpha
        expected.append(own + weight @ _unit(gallery)[near])
    found = expansion.expand_queries(query, gallery, k=4, alpha=alpha)
    np.testing.assert_allclose(found, _unit(np.array(expected)), rtol=1e-4, atol=1e-5)


def test_augmentation_of_the_gallery_equals_the_formula():
    _, gallery, _, _ = _sets(2)
    similarity = _unit(gallery) @ _unit(gallery).T
    expected = []
    for row in similarity:
        near = np.argsort(-row)[:6]
        expected.append(np.maximum(row[near], 0) ** 3 @ _unit(gallery)[near])
    found = expansion.augment_gallery(gallery, k=6)
    np.testing.assert_allclose(found, _unit(np.array(expected)), rtol=1e-4, atol=1e-5)


def test_every_expansion_finds_more_among_clusters():
    query, gallery, query_pid, gallery_pid = _sets(3, num_gallery=240, noise=0.9)

    def mean_ap(query, gallery):
        one, other = (
            EmbeddingSet(features, pid, np.full(len(pid), camera), ("",) * len(pid))
            for features, pid, camera in ((query, query_pid, 0), (gallery, gallery_pid, 1))
        )
        return ranking.rank(one, other).mAP

    before = mean_ap(query, gallery)
    assert before < 0.9
    assert mean_ap(*expansion.average_both(query, gallery)) > before + 0.02
    assert mean_ap(expansion.expand_queries(query, gallery), gallery) > before + 0.02
    assert mean_ap(query, expansion.augment_gallery(gallery)) > before + 0.02


def test_lists_longer_than_the_set():
    query, gallery, _, _ = _sets(4, num_queries=3, num_gallery=4)
    for of_all, longer in (
        (expansion.average_both(query, gallery, k=7), expansion.average_both(query, gallery, k=9)),
        (
            [expansion.expand_queries(query, gallery, k=4)],
            [expansion.expand_queries(query, gallery, k=9)],
        ),
        ([expansion.augment_gallery(gallery, k=4)], [expansion.augment_gallery(gallery, k=9)]),
    ):
        for one, other in zip(of_all, longer, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_mistakes():
    query, gallery, _, _ = _sets(5)
    with pytest.raises(InputError, match=r"alpha is -1"):
        expansion.augment_gallery(gallery, alpha=-1.0)
    with pytest.raises(InputError, match="k is 0"):
        expansion.average_both(query, gallery, k=0)
    gallery[8] = np.nan
    with pytest.raises(InputError, match=r"gallery features contain nan.*row 8"):
        expansion.expand_queries(query, gallery)
