"""The memories of Cluster Contrast against a loop and the stored steps of its authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luperson_jax.losses import cluster_memory
from luperson_jax.vectors import l2_normalize

MOVE = {"cm": cluster_memory.move_memory, "hard": cluster_memory.move_memory_hard}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def moved_by_hand(kind, memory, features, labels, momentum):
    memory = memory.astype(np.float64).copy()
    order = range(len(labels))
    if kind == "hard":
        nearness = [memory[y] @ f for f, y in zip(features, labels, strict=True)]
        groups = [np.flatnonzero(labels == y) for y in np.unique(labels[labels >= 0])]
        order = [group[np.argmin([nearness[i] for i in group])] for group in groups]
    for i in order:
        if labels[i] >= 0:
            row = momentum * memory[labels[i]] + (1 - momentum) * features[i]
            memory[labels[i]] = row / np.linalg.norm(row)
    return memory


def drawn(seed, num=12, rows=7, width=5):
    rng = np.random.default_rng(seed)
    memory, features = (unit(rng.standard_normal((n, width))) for n in (rows, num))
    return np.float32(memory), np.float32(features), rng.integers(-1, rows - 2, num)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(sorted(MOVE)))
def test_rows_move_as_one_feature_after_the_other_says(seed, kind):
    memory, features, labels = drawn(seed)
    arrays = (jnp.asarray(x) for x in (memory, features, np.int32(labels)))
    found = MOVE[kind](*arrays, momentum=0.3)
    expected = moved_by_hand(kind, memory, features, labels, 0.3)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_padding_moves_and_costs_nothing():
    memory, features, labels = (jnp.asarray(x) for x in drawn(3))
    labels, mask, num = labels.astype(jnp.int32), jnp.arange(12) < 8, jnp.int32(5)
    for move in MOVE.values():
        some = move(memory, features[:8], labels[:8], momentum=0.1)
        np.testing.assert_array_equal(move(memory, features, labels, momentum=0.1, mask=mask), some)
    loss = cluster_memory.cluster_contrast(
        features, memory, labels, num, temperature=0.1, mask=mask
    )
    some = cluster_memory.cluster_contrast(features[:8], memory, labels[:8], num, temperature=0.1)
    assert float(loss[0]) == pytest.approx(float(some[0]), rel=1e-6)


def test_rows_that_are_not_in_use_are_no_cluster():
    memory, features, labels = (jnp.asarray(x) for x in drawn(4))
    labels = labels.astype(jnp.int32)
    found = cluster_memory.cluster_contrast(
        features, memory, labels, jnp.int32(5), temperature=0.05
    )
    some = cluster_memory.cluster_contrast(
        features, memory[:5], labels, jnp.int32(5), temperature=0.05
    )
    np.testing.assert_allclose(found[0], some[0], rtol=1e-6)
    logits = np.float64(features @ memory[:5].T) / 0.05
    known = np.asarray(labels) >= 0
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -log_p[known, np.asarray(labels)[known]].mean()
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    top1 = np.mean(logits.argmax(axis=1)[known] == np.asarray(labels)[known])
    np.testing.assert_allclose(found[1]["top1"], top1, rtol=1e-6)


def test_clusters_count_by_their_weights():
    memory, features, labels = drawn(5)
    weights = np.array([0, 0.5, 1, 2, 0.25, 9, 9])
    logits = np.float64(features @ memory[:5].T) / 0.1
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    known = labels >= 0
    share = weights[labels[known]]
    expected = -(share * log_p[known, labels[known]]).sum() / share.sum()

    def loss(features, weights):
        near = (jnp.asarray(memory), jnp.asarray(labels, jnp.int32), jnp.int32(5))
        weights = jnp.asarray(weights, jnp.float32)
        return cluster_memory.cluster_contrast(features, *near, temperature=0.1, weights=weights)[0]

    np.testing.assert_allclose(loss(jnp.asarray(features), weights), expected, rtol=1e-5)
    for nothing in jax.value_and_grad(loss)(jnp.asarray(features), np.zeros(7)):
        np.testing.assert_array_equal(nothing, 0)


@pytest.mark.parametrize("momentum", [0.1, 0.2])
@pytest.mark.parametrize("kind", sorted(MOVE))
def test_steps_of_the_authors(golden, kind, momentum):
    stored = np.load(golden / "methods" / "cluster_memory.npz")
    name = f"{kind}_mu{momentum}_tau0.05"
    # Rows that are not in use must change nothing.
    memory = jnp.concatenate([jnp.asarray(stored["memory0"]), jnp.zeros((6, 16))])

    def loss(x, memory, labels):
        return cluster_memory.cluster_contrast(
            l2_normalize(x), memory, labels, jnp.int32(10), temperature=0.05
        )[0]

    for step in range(3):
        x, labels = (jnp.asarray(stored[name][step]) for name in ("x", "y"))
        labels = labels.astype(jnp.int32)
        value, gradient = jax.value_and_grad(loss)(x, memory, labels)
        np.testing.assert_allclose(value, stored[f"{name}/loss"][step], rtol=0, atol=3e-5)
        np.testing.assert_allclose(gradient, stored[f"{name}/grad_x"][step], rtol=0, atol=3e-6)
        memory = MOVE[kind](memory, l2_normalize(x), labels, momentum=momentum)
        expected = stored[f"{name}/memory"][step]
        np.testing.assert_allclose(memory[:10], expected, rtol=0, atol=1e-6)
        assert not np.any(memory[10:])
