import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import InputError
from luperson_jax import sharding
from luperson_jax.retrieval import neighbors, tiles
from luperson_jax.retrieval.rows import HostRows
from luperson_jax.vectors import METRICS, pairwise_distances
from tests import simulated_devices

TILE, DIMENSION = 16, 3


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    """Several tiles, with a last one that is not full, and few shapes to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbors, "TILE_ROWS", TILE)
        patch.setattr(neighbors, "DEVICE_TILE_ROWS", TILE)
        yield


@functools.cache
def _mesh(num_devices):
    return sharding.make_mesh(jax.devices()[:num_devices])


def _integers(seed, num_rows, levels):
    """Features whose squared distances float32 holds exactly, in any order of summation; few
    levels make duplicates and ties."""
    generator = np.random.default_rng(seed)
    return generator.integers(-levels, levels + 1, (num_rows, DIMENSION)).astype(np.float32)


def _exact(query, gallery):
    return np.square(query[:, None] - gallery[None]).sum(axis=2)


def _twin(distance, k, self_first=False):
    """Sort everything and cut."""
    ordered = distance.copy()
    if self_first:
        np.fill_diagonal(ordered, -1)
    rows = np.argsort(ordered, axis=1, kind="stable")[:, :k]
    missing = ((0, 0), (0, k - rows.shape[1]))
    near = np.take_along_axis(distance, rows, axis=1)
    return np.pad(rows, missing, constant_values=-1), np.pad(near, missing, constant_values=np.inf)


def _assert_lists(found, expected):
    np.testing.assert_array_equal(found.rows, expected[0])
    np.testing.assert_array_equal(found.distance, expected[1])
    assert (found.rows.dtype, found.distance.dtype) == (np.int32, np.float32)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_queries=st.integers(1, 50),
    num_gallery=st.integers(1, 50),
    levels=st.integers(0, 4),
    k=st.integers(1, 40),
)
def test_lists_equal_a_stable_sort(seed, num_queries, num_gallery, levels, k):
    query, gallery = (
        _integers(seed, num_queries, levels),
        _integers(~seed % 97, num_gallery, levels),
    )
    expected = _twin(_exact(query, gallery), k)
    _assert_lists(neighbors.nearest(query, gallery, k, metric="sqeuclidean"), expected)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_rows=st.integers(1, 70),
    levels=st.integers(0, 4),
    k=st.integers(1, 40),
    self_first=st.booleans(),
)
def test_a_set_among_itself(seed, num_rows, levels, k, self_first):
    features = _integers(seed, num_rows, levels)
    distance = _exact(features, features)
    options = {"metric": "sqeuclidean", "self_first": self_first}
    lists, farthest = neighbors.nearest_and_farthest(HostRows(features), k, **options)
    _assert_lists(lists, _twin(distance, k, self_first))
    np.testing.assert_array_equal(farthest, distance.max(axis=1))
    _assert_lists(neighbors.nearest(features, features, k, **options), lists)
    _assert_lists(neighbors.nearest(features, features.copy(), k, **options), lists)
    if self_first:
        np.testing.assert_array_equal(lists.rows[:, 0], np.arange(num_rows))


def test_any_order_of_distances():
    """A gallery sorted from far to near replaces every list at every tile."""
    gallery = np.zeros((70, DIMENSION), np.float32)
    gallery[:, 0] = np.arange(70, 0, -1)
    for order in (slice(None), slice(None, None, -1)):
        ordered = np.ascontiguousarray(gallery[order])
        for k in (1, 5, 16, 33):
            found = neighbors.nearest(ordered, ordered, k, metric="sqeuclidean")
            _assert_lists(found, _twin(_exact(ordered, ordered), k))


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_those_of_the_metric(metric):
    generator = np.random.default_rng(0)
    query, gallery = (generator.standard_normal((n, DIMENSION)).astype("f4") for n in (20, 45))
    query[3], gallery[7] = 0, 0
    distance = np.asarray(pairwise_distances(jnp.asarray(query), jnp.asarray(gallery), metric))
    found = neighbors.nearest(query, gallery, 9, metric=metric)
    np.testing.assert_allclose(found.distance, _twin(distance, 9)[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        np.take_along_axis(distance, found.rows, axis=1), found.distance, rtol=1e-5, atol=1e-6
    )
    rows = np.array([3, 19, 0])
    to_all = neighbors.distances_to_all(HostRows(query), HostRows(gallery), rows, metric)
    np.testing.assert_allclose(to_all, distance[rows], rtol=1e-5, atol=1e-6)

    both = HostRows([query, gallery])
    first, second = generator.integers(0, 20, 40), generator.integers(0, 45, 40)
    pairs = neighbors.pair_distances(both, first, 20 + second, metric)
    np.testing.assert_allclose(pairs, distance[first, second], rtol=1e-5, atol=1e-6)


def test_negative_cosine_distances_come_first():
    """Rounding makes the distance of an image to itself negative now and then."""
    distance = np.array([[0.0, -1e-7, -0.0, 2.0, -2e-7, 0.0]], np.float32)
    found = neighbors.nearest_in_matrix(distance, 8)
    np.testing.assert_array_equal(found.rows, [[4, 1, 0, 2, 5, 3, -1, -1]])
    np.testing.assert_array_equal(found.distance[0, :6], distance[0, found.rows[0, :6]])


def test_mapped_files_and_other_types(tmp_path):
    features = _integers(5, 40, 3)
    expected = neighbors.nearest(features, features, 6, metric="sqeuclidean")
    np.save(tmp_path / "features.npy", features.astype(np.float16))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    _assert_lists(neighbors.nearest(mapped, mapped, 6, metric="sqeuclidean"), expected)
    wide = features.astype(np.float64)
    _assert_lists(neighbors.nearest(mapped, wide, 6, metric="sqeuclidean"), expected)


@pytest.mark.parametrize("num_devices", [0, 2])
def test_a_stream_of_pieces_is_searched_like_the_whole(num_devices, monkeypatch):
    monkeypatch.setattr(tiles, "RESIDENT_BYTES", 1)  # a stream passes once all the same
    query, gallery = _integers(1, 40, 2), _integers(2, 70, 2)
    mesh = _mesh(num_devices) if num_devices else None
    pieces = (gallery[start : start + 9] for start in range(0, 70, 9))
    found = neighbors.nearest(query, pieces, 7, metric="sqeuclidean", mesh=mesh)
    _assert_lists(found, _twin(_exact(query, gallery), 7))
    with pytest.raises(InputError, match="empty stream"):
        neighbors.nearest(query, iter([]), 7)
    with pytest.raises(InputError, match=r"gallery piece 1 features 2"):
        neighbors.nearest(query, iter([gallery[:3], gallery[:3, :2]]), 7)


def test_passes_over_the_gallery_do_not_change_the_lists(monkeypatch):
    """Two blocks of queries a pass: tiles on and above the diagonal still come in order."""
    features = _integers(3, 100, 2)
    monkeypatch.setattr(tiles, "RESIDENT_BYTES", 2 * 4 * TILE * DIMENSION)
    lists, farthest = neighbors.nearest_and_farthest(HostRows(features), 9, metric="sqeuclidean")
    _assert_lists(lists, _twin(_exact(features, features), 9))
    np.testing.assert_array_equal(farthest, _exact(features, features).max(axis=1))


@pytest.mark.parametrize("self_first", [False, True])
def test_the_search_on_a_mesh_equals_that_on_the_host(self_first):
    for num_rows, levels, k in ((70, 2, 9), (5, 1, 9), (40, 0, 9)):
        features = _integers(num_rows, num_rows, levels)
        distance = _exact(features, features)
        for num_devices in (1, 2):
            lists, farthest = neighbors.nearest_and_farthest(
                HostRows(features),
                k,
                metric="sqeuclidean",
                self_first=self_first,
                mesh=_mesh(num_devices),
            )
            _assert_lists(lists, _twin(distance, k, self_first))
            np.testing.assert_array_equal(farthest, distance.max(axis=1))


EIGHT_DEVICES = """
import jax, numpy as np
from luperson_jax import sharding
from luperson_jax.clustering.jaccard import jaccard_distance
from luperson_jax.retrieval import neighbors
from luperson_jax.retrieval.rerank import rerank
neighbors.TILE_ROWS = neighbors.DEVICE_TILE_ROWS = 64
generator = np.random.default_rng(0)
features = generator.standard_normal((30, 24), dtype=np.float32).repeat(10, axis=0)
features[::3] += generator.standard_normal((100, 24), dtype=np.float32)
found = []
for devices in (1, 8):
    mesh = sharding.make_mesh(jax.devices()[:devices])
    lists = neighbors.nearest(features[:50], features, 12, mesh=mesh)
    graph = jaccard_distance(features, k1=12, k2=3, mesh=mesh)
    reranked = rerank(features[:50], features[50:], k1=8, k2=3, mesh=mesh).dense()
    found.append([*lists, graph.indptr, graph.indices, graph.distance, reranked])
for one, eight in zip(*found):
    np.testing.assert_array_equal(one, eight)
"""


def test_eight_devices_equal_one():
    flags = {"XLA_FLAGS": simulated_devices.flags(8)}
    command = [sys.executable, "-c", EIGHT_DEVICES]
    done = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_mistakes():
    features = _integers(0, 20, 2)
    broken = features.copy()
    broken[17, 1] = np.nan
    with pytest.raises(InputError, match=r"query features contain nan.*in row 17"):
        neighbors.nearest(broken, features, 3)
    with pytest.raises(InputError, match=r"gallery features contain nan.*in row 17"):
        neighbors.nearest(features, broken, 3)
    with pytest.raises(InputError, match=r"gallery features have shape \(0, 3\)"):
        neighbors.nearest(features, features[:0], 3)
    with pytest.raises(InputError, match=r"query features have 3 dimensions and gallery .* 2;"):
        neighbors.nearest(features, features[:, :2], 3)
    with pytest.raises(InputError, match="k is 0"):
        neighbors.nearest(features, features, 0)
    with pytest.raises(InputError, match="unknown metric 'l2'; expected one of cosine, eu"):
        neighbors.nearest(features, features, 3, metric="l2")
    with pytest.raises(InputError, match="there are 20 queries and 19 gallery rows"):
        neighbors.nearest(features, features[:19], 3, self_first=True)
