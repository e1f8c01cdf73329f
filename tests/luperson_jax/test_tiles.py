import re

import jax
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import sharding
from luperson_jax.retrieval import inputs
from luperson_jax.retrieval.execution import TileShape
from luperson_jax.retrieval.rows import HostRows, row_blocks
from luperson_jax.vectors import pairwise_distances
from tests.tile_distances import tile_distances

SHAPE = TileShape(16, 64)
MESH = sharding.make_mesh(jax.devices()[:2])


def all_distances(query, gallery, metric):
    return tile_distances(query, gallery, metric, SHAPE, MESH)


# Rows on the host


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_of_several_arrays_read_like_rows_of_one(dtype, tmp_path):
    whole = np.random.default_rng(0).standard_normal((20, 3)).astype(dtype)
    mapped = np.memmap(tmp_path / "rows", dtype, "w+", shape=(8, 3))
    mapped[:] = whole[5:13]
    rows = HostRows([whole[:5], mapped, whole[13:]])
    assert rows.shape == (20, 3)
    padded = np.pad(whole.astype(np.float32), ((0, 10), (0, 0)))
    for start, size in ((0, 20), (3, 4), (4, 15), (12, 18), (19, 1)):
        np.testing.assert_array_equal(rows.span(start, size), padded[start : start + size])
    picked = np.array([19, 0, 7, 4, 5, 13, 7])
    taken = rows.take(picked, 9)
    np.testing.assert_array_equal(taken[:7], padded[picked])
    np.testing.assert_array_equal(taken[7:], 0)
    assert taken.dtype == np.float32


@pytest.mark.parametrize("lengths", [(3, 1, 16), (20,), (8, 8, 4), (1,) * 20])
def test_a_stream_comes_in_the_same_blocks(lengths):
    whole = np.arange(60, dtype=np.float32).reshape(20, 3)
    pieces = iter(np.split(whole, np.cumsum(lengths)[:-1]))
    expected = list(row_blocks(HostRows(whole), 0, 8))
    found = list(row_blocks(pieces, 0, 8))
    assert [one[:2] for one in found] == [(0, 8), (8, 8), (16, 4)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one[2], other[2])


# Tiles


@pytest.mark.parametrize("metric", inputs.METRICS)
def test_tiles_are_the_distances_of_the_losses(metric):
    generator = np.random.default_rng(1)
    query = generator.standard_normal((37, 24)).astype(np.float32)
    gallery = generator.standard_normal((300, 24)).astype(np.float32)
    gallery[7] = 0
    expected = np.asarray(jax.jit(pairwise_distances, static_argnums=2)(query, gallery, metric))
    distance = all_distances(query, gallery, metric)
    np.testing.assert_allclose(distance, expected, rtol=1e-5, atol=1e-6)
    if metric == "cosine":
        np.testing.assert_array_equal(distance[:, 7], 1)


@pytest.mark.parametrize("metric", inputs.METRICS)
def test_equal_rows_are_equally_far_wherever_they_stand(metric):
    generator = np.random.default_rng(2)
    kinds = generator.standard_normal((5, 24)).astype(np.float32)
    left, right = generator.integers(0, 5, 40), generator.integers(0, 5, 301)
    distance = all_distances(kinds[left], kinds[right], metric)
    for i in range(5):
        for j in range(5):
            assert len(np.unique(distance[np.ix_(left == i, right == j)])) == 1


# Mistakes


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e20])
def test_the_first_row_that_is_not_finite_is_named(bad, monkeypatch):
    monkeypatch.setattr(inputs, "CHECKED_ROWS", 4)
    features = np.zeros((11, 3), np.float32)
    inputs.check_features("gallery", features)
    features[[6, 9], 1] = bad
    with pytest.raises(InputError, match=r"gallery features contain nan.* in row 6 "):
        inputs.check_features("gallery", features)
    with pytest.raises(InputError, match=r"distances contain nan.* in row 60 "):
        inputs.check_finite("distances", features, np.arange(0, 110, 10))


def test_features_that_cannot_be_compared():
    good = np.zeros((4, 3), np.float32)
    cases = {
        "query features have shape (0, 3)": (good[:0], good),
        "query features have shape (4,)": (good[:, 0], good),
        "gallery features have shape (4, 0)": (good, good[:, :0]),
        "query features have 3 dimensions and gallery features 2": (good, good[:, :2]),
        "query features have 3 dimensions and gallery 1 features 2": (good, [good, good[:, :2]]),
        "gallery features are of type complex64": (good, good.astype(np.complex64)),
        "the gallery is an empty list": (good, []),
    }
    for message, (query, gallery) in cases.items():
        with pytest.raises(InputError, match=re.escape(message)):
            inputs.check_pair(query, gallery, "cosine")
    with pytest.raises(InputError, match=r"sqeuclidean.*cosine, euclidean"):
        inputs.check_pair(good, good, "sqeuclidean")
