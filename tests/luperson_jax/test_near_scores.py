"""Scores that may change a rank, against loops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from luperson_jax.retrieval import near_scores
from luperson_jax.retrieval.near_scores import Near

VALUES = [-np.inf, -(2.0**26), -1.5, -1e-45, -0.0, 0.0, 1e-45, 0.25, 1.0, 2.0**26, np.inf]


def drawn(seed, queries=5, columns=40):
    """A block with equal scores, both zeros and the smallest numbers, and three edges per query."""
    random = np.random.default_rng(seed)
    scores = random.choice(np.array(VALUES, np.float32), (queries, columns))
    query = np.repeat(np.arange(queries), 3)
    edges = random.choice(np.array(VALUES, np.float32), (2, len(query)))
    return scores, query, np.sort(edges, axis=0)


def all_of(scores):
    return Near.of(scores, *(one.ravel() for one in np.indices(scores.shape)))


@given(st.integers(0, 2**16))
def test_counts_below_edges_are_those_of_a_loop(seed):
    scores, query, edges = drawn(seed)
    below = all_of(scores).num_below(query, edges)
    slowly = [
        [(scores[one] < edge).sum() for one, edge in zip(query, row, strict=True)] for row in edges
    ]
    np.testing.assert_array_equal(below, slowly)


@given(st.integers(0, 2**16))
def test_scores_between_are_those_of_a_loop(seed):
    scores, query, edges = drawn(seed)
    near = all_of(scores)
    of, column, score = near.between(query, near.num_below(query, edges))
    np.testing.assert_array_equal(score, scores[query[of], column])
    found = sorted(zip(of.tolist(), column.tolist(), strict=True))
    within = (scores[query] >= edges[0][:, None]) & (scores[query] < edges[1][:, None])
    assert found == list(zip(*(one.tolist() for one in np.nonzero(within)), strict=True))


@given(st.integers(0, 2**16))
def test_positions_are_all_below_the_reach_of_their_row(seed):
    scores, _, _ = drawn(seed)
    reach = np.array([-np.inf, -1.5, 0.0, 1e-45, np.inf], np.float32)
    expected = np.nonzero(scores < reach[:, None])
    found = near_scores.positions(scores, reach)
    near_enough = near_scores.MOST_SHARE * scores.size
    if len(expected[0]) > near_enough:
        assert found is None
    else:
        np.testing.assert_array_equal(found, expected)


def test_a_block_too_large_for_keys_is_left_to_a_sort_of_its_rows(monkeypatch):
    monkeypatch.setattr(near_scores, "MOST_SCORES", 12)
    reach = np.zeros(3, np.float32)
    assert near_scores.positions(np.ones((3, 4), np.float32), reach) is not None
    assert near_scores.positions(np.ones((3, 5), np.float32), reach) is None


def test_keys_of_the_largest_block_rise():
    widest = near_scores.MOST_SCORES // 4
    query, score = np.repeat(np.arange(4), 2), np.tile(np.array([-np.inf, np.inf], np.float32), 4)
    keys = near_scores._keys(query, score, widest)
    assert keys[0] >= 0
    assert np.all(np.diff(keys) >= widest)


def test_none_and_all_of_a_block():
    scores = np.ones((3, 4), np.float32)
    found = near_scores.positions(scores, np.full(3, -np.inf, np.float32))
    assert found is not None
    assert [len(one) for one in found] == [0, 0]
    assert near_scores.positions(scores, np.full(3, np.inf, np.float32)) is None
