"""What PNL computes: cross-entropy, rectified labels, guided contrast, prototypes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.losses import classification, contrastive, noisy_labels
from luperson_jax.vectors import l2_normalize


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def unit(seed, *shape):
    return l2_normalize(normal(seed, *shape))


def test_cross_entropy_is_that_of_classification_and_passes_over_classes_that_are_none():
    logits, labels = 3 * normal(0, 7, 5), jnp.array([0, 4, 2, 2, 1, 3, 0])
    plain = functools.partial(classification.smoothed_cross_entropy, labels=labels, epsilon=0.0)
    ours = functools.partial(noisy_labels.cross_entropy, labels=labels)
    filled = jnp.concatenate([logits, jnp.full((7, 3), -jnp.inf)], axis=1)
    value, gradient = jax.value_and_grad(plain)(logits)
    for given in (logits, filled):
        found, by_logits = jax.value_and_grad(ours)(given)
        np.testing.assert_allclose(found, value, rtol=1e-6)
        np.testing.assert_allclose(by_logits[:, :5], gradient, atol=1e-7)
        np.testing.assert_array_equal(by_logits[:, 5:], 0)


def test_a_label_is_replaced_where_both_are_sure_and_only_there():
    """Softmax of (9, 0, 0) is 0.9998: with the other one certain too, sure; alone, 0.5."""
    sure, even = [0.0, 9.0, 0.0], [0.0, 0.0, 0.0]
    by_class = jnp.array([sure, sure, even, sure])
    by_prototype = jnp.array([sure, even, sure, sure])
    labels = jnp.array([0, 0, 2, 1])
    rectify = functools.partial(noisy_labels.rectify, by_class, by_prototype, labels)
    np.testing.assert_array_equal(rectify(), [1, 0, 2, 1])
    np.testing.assert_array_equal(rectify(alpha=1.0), [1, 1, 2, 1])
    np.testing.assert_array_equal(rectify(alpha=0.0), [1, 0, 1, 1])
    half = noisy_labels.rectify(jnp.zeros((1, 2)), jnp.zeros((1, 2)), jnp.array([1]), threshold=0.5)
    np.testing.assert_array_equal(half, [1])  # above it, and not at it


def contrast_loop(query, key, queue, queue_id, labels, temperature, form):
    losses, numbers = [], []
    for own, (row, label) in enumerate(zip(query, labels, strict=True)):
        logits = np.array([row @ key[own], *(queue @ row)], np.float64) / temperature
        total = np.log(np.exp(logits).sum())
        positives = [0, *(1 + np.flatnonzero(queue_id == label))]
        if form == "code":
            losses.append(-np.mean([logits[one] - total for one in positives]))
        else:
            losses.append(-np.log(np.mean([np.exp(logits[one] - total) for one in positives])))
        numbers.append(len(positives))
    return np.mean(losses), np.mean(numbers)


@pytest.mark.parametrize("form", ["code", "paper"])
def test_guided_contrast_equals_the_loop(form):
    query, key, queue = unit(0, 6, 8), unit(1, 6, 8), unit(2, 20, 8)
    queue_id = jnp.asarray(np.random.default_rng(0).integers(-1, 5, 20), jnp.int32)
    labels = jnp.array([0, 4, 2, 9, 1, 3], jnp.int32)  # 9 is not in the queue
    arrays = [np.asarray(one) for one in (query, key, queue, queue_id, labels)]
    loss, metrics = noisy_labels.label_guided_contrast(
        query, key, queue, queue_id, labels, temperature=0.2, form=form
    )
    expected, number = contrast_loop(*arrays, 0.2, form)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["positives"], number)
    assert number > 2


@pytest.mark.parametrize("form", ["code", "paper"])
def test_without_guidance_it_is_moco(form):
    """Values and gradients, also where no key has the label."""
    query, key, queue = unit(0, 6, 8), unit(1, 6, 8), unit(2, 20, 8)
    labels = jnp.zeros(6, jnp.int32)

    def guided(query, queue_id, flag):
        return noisy_labels.label_guided_contrast(
            query, key, queue, queue_id, labels, flag, temperature=0.07, form=form
        )[0]

    def moco(query):
        return contrastive.info_nce(query, key, queue, temperature=0.07)[0]

    value, gradient = jax.value_and_grad(moco)(query)
    same, others = jnp.zeros(20, jnp.int32), jnp.full(20, -1, jnp.int32)
    for queue_id, flag in ((same, False), (others, True), (others, False)):
        found, by_query = jax.jit(jax.value_and_grad(guided))(query, queue_id, jnp.asarray(flag))
        np.testing.assert_allclose(found, value, rtol=1e-6)
        np.testing.assert_allclose(by_query, gradient, atol=1e-5)
    assert abs(float(guided(query, same, True) - value)) > 1e-2


def test_a_pair_of_one_positive_makes_both_forms_equal():
    query, queue = unit(0, 3, 8), unit(2, 20, 8)
    for form in ("code", "paper"):
        loss, _ = noisy_labels.label_guided_contrast(
            query,
            query,
            queue,
            jnp.full(20, -1, jnp.int32),
            jnp.arange(3, dtype=jnp.int32),
            temperature=0.1,
            form=form,
        )
        np.testing.assert_allclose(
            loss, contrastive.info_nce(query, query, queue, temperature=0.1)[0], rtol=1e-6
        )


def prototypes_loop(prototypes, features, labels, momentum, is_unit):
    rows = np.array(prototypes, np.float64)
    for feature, label in zip(np.asarray(features), np.asarray(labels), strict=True):
        rows[label] = momentum * rows[label] + (1 - momentum) * feature
    if is_unit:
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.where(lengths > 0, lengths, 1)
    return rows


@pytest.mark.parametrize("is_unit", [True, False])
@pytest.mark.parametrize("momentum", [0.999, 0.5, 0.0, 1.0])
def test_prototypes_equal_the_features_one_by_one(is_unit, momentum):
    """Repeats in any order, classes that are never seen, several batches."""
    move = jax.jit(functools.partial(noisy_labels.move_prototypes, momentum=momentum, unit=is_unit))
    for seed in range(5):
        generator = np.random.default_rng(seed)
        prototypes = np.zeros((7, 4))
        prototypes[3] = [1, 0, 0, 0]
        ours = jnp.asarray(prototypes, jnp.float32)
        for turn in range(4):
            features = unit(10 * seed + turn, 12, 4)
            labels = generator.integers(0, 1 + 5 * (turn % 2), 12)
            prototypes = prototypes_loop(prototypes, features, labels, momentum, is_unit)
            ours = move(ours, features, jnp.asarray(labels))
            np.testing.assert_allclose(ours, prototypes, atol=2e-6)
        np.testing.assert_array_equal(ours[6], 0)


def test_the_first_feature_stays_only_where_prototypes_have_unit_length():
    """A mislabelled picture first, then a hundred right ones."""
    wrong, right = jnp.eye(2)[:1], jnp.eye(2)[1:]
    label = jnp.zeros(1, jnp.int32)
    shares = {}
    for is_unit in (True, False):
        prototypes = jnp.zeros((1, 2))
        for feature in (wrong, *(100 * (right,))):
            prototypes = noisy_labels.move_prototypes(
                prototypes, feature, label, momentum=0.999, unit=is_unit
            )
        shares[is_unit] = np.asarray(l2_normalize(prototypes))[0, 1]
    assert shares[True] < 0.2
    assert shares[False] > 0.999


def test_neither_prototypes_nor_queue_have_a_gradient():
    def total(features, keys):
        labels = jnp.zeros(3, jnp.int32)
        moved = noisy_labels.move_prototypes(
            jnp.ones((2, 4)), features, labels, momentum=0.5, unit=True
        )
        loss, _ = noisy_labels.label_guided_contrast(
            unit(0, 3, 4), keys, unit(1, 5, 4), jnp.zeros(5, jnp.int32), labels, temperature=0.1
        )
        return jnp.sum(moved) + loss

    for gradient in jax.grad(total, (0, 1))(unit(2, 3, 4), unit(3, 3, 4)):
        np.testing.assert_array_equal(gradient, 0)


def test_labels_stand_where_their_keys_do():
    queue, ids, pointer = jnp.zeros((5, 2)), jnp.full(5, -1, jnp.int32), jnp.int32(0)
    for turn in range(3):
        labels = 10 * (turn + 1) + jnp.arange(3, dtype=jnp.int32)
        ids = contrastive.enqueue_labels(ids, pointer, labels)
        keys = jnp.broadcast_to(labels.astype(jnp.float32)[:, None], (3, 2))
        queue, pointer = contrastive.enqueue(queue, pointer, keys)
        written = np.asarray(ids) >= 0
        np.testing.assert_array_equal(np.asarray(queue)[written, 0], np.asarray(ids)[written])
    assert int(pointer) == 9 % 5
