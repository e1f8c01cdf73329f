import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.losses import classification, contrastive
from luperson_jax.vectors import l2_normalize

FAR = 1e4


def _random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Classification


def test_uniform_logits_cost_log_c_whatever_the_smoothing():
    logits, labels = jnp.zeros((4, 751)), jnp.array([0, 1, 2, 750])
    for epsilon in (0.0, 0.1, 0.5):
        loss = classification.smoothed_cross_entropy(logits, labels, epsilon=epsilon)
        np.testing.assert_allclose(loss, math.log(751), rtol=1e-6)


def test_cross_entropy_equals_the_target_written_out():
    logits, labels = _random(0, 6, 5), np.array([0, 4, 2, 2, 1, 3])
    target = np.full((6, 5), 0.1 / 4)
    target[np.arange(6), labels] = 0.9
    exponents = np.exp(logits.astype(np.float64))
    expected = -(target * np.log(exponents / exponents.sum(1, keepdims=True))).sum(1).mean()
    loss = classification.smoothed_cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_no_row_is_free_where_the_target_is_soft():
    # Hence a mean over the rows whose loss is not 0 is the mean.
    target = np.full((3, 5), 0.1 / 4)
    labels = np.array([0, 3, 4])
    target[np.arange(3), labels] = 0.9
    entropy = -(target * np.log(target)).sum(1).mean()
    best = np.log(target).astype(np.float32)
    sure = 1e4 * (target > 0.5).astype(np.float32)
    for logits, cost in ((best, entropy), (best + 700, entropy), (sure, 1000), (-sure, 9001.4)):
        loss = classification.smoothed_cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
        np.testing.assert_allclose(loss, cost, rtol=1e-3)


def test_padding_changes_neither_loss_nor_gradient_nor_accuracy():
    logits, labels = jnp.asarray(_random(1, 4, 5)), jnp.array([0, 4, 2, 1])
    padded = jnp.concatenate([logits, jnp.full((2, 5), FAR)])
    padded_labels = jnp.concatenate([labels, jnp.array([-1, -1])])
    mask = jnp.arange(6) < 4

    def loss(x, y, m):
        return classification.smoothed_cross_entropy(x, y, mask=m)

    gradient_of_loss = jax.jit(jax.value_and_grad(loss))
    value, gradient = gradient_of_loss(logits, labels, None)
    masked_value, masked_gradient = gradient_of_loss(padded, padded_labels, mask)
    np.testing.assert_allclose(masked_value, value, rtol=1e-6)
    np.testing.assert_allclose(masked_gradient[:4], gradient, rtol=1e-6)
    np.testing.assert_array_equal(masked_gradient[4:], 0)
    assert loss(padded, padded_labels, jnp.zeros(6, bool)) == 0
    for k in (1, 3):
        plain = classification.topk_accuracy(logits, labels, k)
        assert classification.topk_accuracy(padded, padded_labels, k, mask) == plain


def test_a_row_without_an_identity_is_not_the_last_identity():
    logits, labels = jnp.asarray(_random(4, 6, 5)), jnp.array([0, 3, 2, -1, 1, -1])
    known = np.flatnonzero(labels >= 0)
    for measure in (classification.smoothed_cross_entropy, classification.accuracy):
        np.testing.assert_allclose(measure(logits, labels), measure(logits[known], labels[known]))
    best = jnp.zeros((1, 5)).at[0, 4].set(9.0)
    assert classification.accuracy(best, jnp.array([-1])) == 0
    gradient = jax.grad(classification.smoothed_cross_entropy)(logits, labels)
    np.testing.assert_array_equal(gradient[np.array([3, 5])], 0)


def test_a_label_beyond_the_classes_is_no_other_class():
    assert np.isnan(classification.smoothed_cross_entropy(jnp.zeros((1, 5)), jnp.array([5])))
    assert classification.accuracy(jnp.zeros((1, 5)), jnp.array([5])) == 0


def test_topk_accuracy_equals_a_stable_sort():
    logits = np.random.default_rng(2).integers(0, 4, (64, 6)).astype(np.float32)
    labels = np.random.default_rng(3).integers(0, 6, 64)
    order = np.argsort(-logits, axis=1, kind="stable")
    for k in (1, 2, 6):
        expected = (order[:, :k] == labels[:, None]).any(1).mean()
        result = classification.topk_accuracy(jnp.asarray(logits), jnp.asarray(labels), k)
        np.testing.assert_allclose(result, expected)
    one = classification.accuracy(jnp.asarray(logits), jnp.asarray(labels))
    assert one == classification.topk_accuracy(jnp.asarray(logits), jnp.asarray(labels), 1)


def test_a_model_without_opinion_or_with_nan_is_not_right():
    assert classification.accuracy(jnp.zeros((10, 10)), jnp.arange(10)) == pytest.approx(0.1)
    assert classification.accuracy(jnp.full((4, 10), jnp.nan), jnp.arange(4)) == 0


# MoCo


def test_info_nce_equals_cross_entropy_over_the_joined_logits():
    query, key, queue = (l2_normalize(jnp.asarray(_random(s, 4, 8))) for s in range(3))
    logits = np.concatenate([np.sum(query * key, 1, keepdims=True), query @ queue.T], 1) / 0.07
    expected = -np.mean(logits[:, 0] - np.log(np.exp(logits.astype(np.float64)).sum(1)))
    loss, metrics = contrastive.info_nce(query, key, queue, temperature=0.07)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    own = logits[:, :1]
    np.testing.assert_allclose(metrics["top1"], ((logits > own).sum(1) < 1).mean())
    np.testing.assert_allclose(metrics["top5"], ((logits > own).sum(1) < 5).mean())


def test_top5_allows_four_better_entries_and_no_more():
    query, key = jnp.array([[1.0, 0.0]]), jnp.array([[0.6, 0.8]])
    better = jnp.array([[0.8, 0.6]])
    queue = jnp.concatenate([jnp.tile(better, (4, 1)), jnp.array([[0.0, 1.0]])])
    _, metrics = contrastive.info_nce(query, key, queue, temperature=0.1)
    assert metrics == {"top1": 0, "top5": 1}
    _, metrics = contrastive.info_nce(query, key, jnp.tile(better, (5, 1)), temperature=0.1)
    assert metrics == {"top1": 0, "top5": 0}


def test_only_the_query_has_a_gradient():
    arrays = [l2_normalize(jnp.asarray(_random(s, 4, 8))) for s in range(3)]
    gradients = jax.grad(
        lambda *x: contrastive.info_nce(*x, temperature=0.1)[0], argnums=(0, 1, 2)
    )(*arrays)
    assert np.abs(gradients[0]).max() > 1e-3
    np.testing.assert_array_equal(gradients[1], 0)
    np.testing.assert_array_equal(gradients[2], 0)


@pytest.mark.parametrize("temperature", [0.1, 0.07])
def test_loss_of_independent_directions_is_the_published_start(temperature):
    keys = jax.random.split(jax.random.key(0), 3)
    query, key = (contrastive.init_queue(k, 32, 128) for k in keys[:2])
    queue = contrastive.init_queue(keys[2], 65536, 128)
    loss, metrics = contrastive.info_nce(query, key, queue, temperature=temperature)
    # The own keys' part is noise of mean 0; without it 32 queries are enough.
    own = np.mean(np.sum(np.asarray(query) * np.asarray(key), axis=1)) / temperature
    expected = math.log(65537) + 1 / (2 * 128 * temperature**2)
    np.testing.assert_allclose(loss + own, expected, atol=0.03)
    assert metrics["top5"] == 0


def test_26_pushes_of_2560_wrap_once_and_end_at_1024():
    queue, pointer = jnp.full((65536, 2), -1.0), jnp.int32(0)
    push = jax.jit(contrastive.enqueue)
    for number in range(26):
        before = int(pointer)
        queue, pointer = push(queue, pointer, jnp.full((2560, 2), float(number)))
    assert before == 65536 - 1536
    assert pointer == 1024
    assert pointer.dtype == jnp.int32
    owner = np.repeat(np.arange(26.0), 2560)[:65536]
    owner[:1024] = 25
    np.testing.assert_array_equal(queue, np.stack([owner, owner], 1))


def test_enqueue_keeps_the_order_of_the_keys_across_the_end():
    keys = jnp.arange(3.0)[:, None]
    queue, pointer = contrastive.enqueue(jnp.full((4, 1), 9.0), jnp.int32(3), keys)
    np.testing.assert_array_equal(queue[:, 0], [1, 2, 9, 0])
    assert pointer == 2
    queue, pointer = contrastive.enqueue(jnp.full((3, 1), 9.0), jnp.int32(0), keys)
    np.testing.assert_array_equal(queue, keys)
    assert pointer == 0
    with pytest.raises(AssertionError, match="do not fit"):
        contrastive.enqueue(jnp.zeros((2, 1)), jnp.int32(0), keys)


def test_ema_moves_every_leaf_by_its_share():
    target = {"a": jnp.array([1.0, 2.0]), "b": {"c": jnp.array(10.0)}}
    online = {"a": jnp.array([3.0, 2.0]), "b": {"c": jnp.array(0.0)}}
    moved = contrastive.ema(target, online, 0.75)
    np.testing.assert_allclose(moved["a"], [1.5, 2.0])
    np.testing.assert_allclose(moved["b"]["c"], 7.5)
    still = contrastive.ema(target, online, 1.0)
    assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), still, target))


def test_queue_starts_as_distinct_unit_rows():
    queue = contrastive.init_queue(jax.random.key(1), 512, 64)
    np.testing.assert_allclose(np.linalg.norm(queue, axis=1), 1, rtol=1e-5)
    similarity = np.asarray(queue @ queue.T) - np.eye(512)
    assert abs(similarity.mean()) < 0.01
    assert np.abs(similarity).max() < 0.75
