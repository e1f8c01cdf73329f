"""Losses and optimizers against PyTorch's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from luperson_jax import optim
from luperson_jax.losses import classification, contrastive, metric

torch = pytest.importorskip("torch", reason="the extra [torch] is not installed")

NUM_STEPS = 20
SCHEDULE = optim.warmup_multistep(0.1, (12,), 0.1, 6)


def _random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _value_and_gradient(loss, *arrays):
    """Value of a torch loss, and its gradient with respect to the first array."""
    tensors = [torch.tensor(array) for array in arrays]
    tensors[0].requires_grad_()
    value = loss(*tensors)
    value.backward()
    return value.detach().numpy(), tensors[0].grad.numpy()


def _assert_same(ours, theirs, *arrays):
    value, gradient = jax.jit(jax.value_and_grad(ours))(*(jnp.asarray(array) for array in arrays))
    expected_value, expected_gradient = _value_and_gradient(theirs, *arrays)
    np.testing.assert_allclose(value, expected_value, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


def test_normalize():
    rows = np.concatenate([_random(0, 4, 6), np.zeros((1, 6), np.float32)])
    weights = _random(1, 5, 6)
    _assert_same(
        lambda x, w: jnp.sum(contrastive.l2_normalize(x) * w),
        lambda x, w: (torch.nn.functional.normalize(x, dim=1) * w).sum(),
        rows,
        weights,
    )


def test_cross_entropy_without_smoothing():
    labels = np.array([0, 4, 2, 2, 1, 3])
    _assert_same(
        lambda x: classification.smoothed_cross_entropy(x, jnp.asarray(labels), epsilon=0.0),
        lambda x: torch.nn.functional.cross_entropy(x, torch.tensor(labels)),
        3 * _random(2, 6, 5),
    )


def test_cross_entropy_with_the_mass_on_the_other_classes():
    labels, num_classes = np.array([0, 4, 2, 2, 1, 3]), 5
    # PyTorch spreads its smoothing over all classes, ours over the others: C / (C - 1) as much.
    theirs = 0.1 * num_classes / (num_classes - 1)
    _assert_same(
        lambda x: classification.smoothed_cross_entropy(x, jnp.asarray(labels), epsilon=0.1),
        lambda x: torch.nn.functional.cross_entropy(
            x, torch.tensor(labels), label_smoothing=theirs
        ),
        3 * _random(3, 6, num_classes),
    )


def test_moco_loss():
    def ours(query, key, queue):
        query, key, queue = contrastive.l2_normalize(query), jnp.asarray(key), jnp.asarray(queue)
        return contrastive.info_nce(query, key, queue, temperature=0.1)[0]

    def theirs(query, key, queue):
        query = torch.nn.functional.normalize(query, dim=1)
        logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], 1) / 0.1
        return torch.nn.functional.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))

    key, queue = (
        np.asarray(contrastive.l2_normalize(jnp.asarray(_random(s, n, 8))))
        for s, n in ((4, 6), (5, 40))
    )
    _assert_same(ours, theirs, _random(6, 6, 8), key, queue)


@pytest.mark.parametrize("margin", [0.3, None])
def test_triplet(margin):
    labels = np.repeat(np.arange(4), 3)
    same = torch.tensor(labels[:, None] == labels[None, :])

    def theirs(features):
        squared = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist") ** 2
        distance = squared.clamp(min=1e-12).sqrt()
        positive = torch.where(same, distance, -torch.inf).amax(1)
        negative = torch.where(same, torch.inf, distance).amin(1)
        if margin is None:
            return torch.nn.functional.soft_margin_loss(
                negative - positive, torch.ones_like(positive)
            )
        return torch.nn.functional.margin_ranking_loss(
            negative, positive, torch.ones_like(positive), margin=margin
        )

    _assert_same(
        lambda x: metric.batch_hard_triplet(x, jnp.asarray(labels), margin=margin)[0],
        theirs,
        _random(7, 12, 5),
    )


def _torch_run(make_optimizer, start, gradients, first_step=0):
    parameter = torch.nn.Parameter(torch.tensor(start))
    optimizer = make_optimizer([parameter])
    for step, gradient in enumerate(gradients):
        for group in optimizer.param_groups:
            group["lr"] = float(SCHEDULE(step))
        parameter.grad = torch.tensor(gradient) if step >= first_step else None
        optimizer.step()
    return parameter.detach().numpy()


def _our_run(transformation, params, gradients):
    state = transformation.init(params)
    step = jax.jit(transformation.update)
    for gradient in gradients:
        updates, state = step(jax.tree.map(lambda _, g=gradient: g, params), state, params)
        params = optax.apply_updates(params, updates)
    return params


OPTIMIZERS = {
    "sgd": (
        functools.partial(optim.sgd, momentum=0.9, weight_decay=1e-2),
        functools.partial(torch.optim.SGD, lr=1.0, momentum=0.9, weight_decay=1e-2),
    ),
    "nesterov": (
        functools.partial(optim.sgd, momentum=0.9, weight_decay=1e-2, nesterov=True),
        functools.partial(torch.optim.SGD, lr=1.0, momentum=0.9, weight_decay=1e-2, nesterov=True),
    ),
    "adam": (
        functools.partial(optim.adam, weight_decay=1e-2),
        functools.partial(torch.optim.Adam, lr=1.0, weight_decay=1e-2),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_with_a_changing_rate(name):
    ours, theirs = OPTIMIZERS[name]
    start, gradients = _random(8, 5, 3), [_random(20 + n, 5, 3) for n in range(NUM_STEPS)]
    result = _our_run(ours(SCHEDULE), {"kernel": jnp.asarray(start)}, gradients)["kernel"]
    np.testing.assert_allclose(result, _torch_run(theirs, start, gradients), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_frozen_leaf_is_a_torch_parameter_without_gradient(name):
    ours, theirs = OPTIMIZERS[name]
    start, gradients = _random(9, 5, 3), [_random(50 + n, 5, 3) for n in range(NUM_STEPS)]
    params = {"backbone": jnp.asarray(start), "head": jnp.asarray(start)}
    frozen = optim.frozen_until(ours, SCHEDULE, params, "^backbone", 7)
    result = _our_run(frozen, params, gradients)
    for leaf, first_step in (("backbone", 7), ("head", 0)):
        expected = _torch_run(theirs, start, gradients, first_step)
        np.testing.assert_allclose(result[leaf], expected, rtol=1e-6, atol=1e-6, err_msg=leaf)
