"""Losses against PyTorch: its own, and formulas written with it.

PyTorch computes in double precision, so that what differs is our rounding alone.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.losses import (
    center,
    classification,
    contrastive,
    margins,
    metric,
    noisy_labels,
    view_contrast,
)
from luperson_jax.tasks import identify
from luperson_jax.vectors import l2_normalize

torch = pytest.importorskip("torch", reason="the extra [torch] is not installed")
functional = torch.nn.functional

CLASSES = np.array([0, 4, 2, 2, 1, 3])


def _random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _assert_same(ours, theirs, *arrays, gradients=1, rtol=1e-5):
    """Values, and gradients by the first arrays, up to a share of their largest entry."""
    value_and_gradients = jax.jit(jax.value_and_grad(ours, argnums=tuple(range(gradients))))
    value, found = value_and_gradients(*(jnp.asarray(array) for array in arrays))
    tensors = [torch.tensor(array, dtype=torch.float64) for array in arrays]
    for tensor in tensors[:gradients]:
        tensor.requires_grad_()
    expected = theirs(*tensors)
    expected.backward()
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=rtol)
    for gradient, tensor in zip(found, tensors[:gradients], strict=True):
        exact = tensor.grad.numpy()
        np.testing.assert_allclose(gradient, exact, rtol=0, atol=rtol * np.abs(exact).max())


def test_normalize():
    rows = np.concatenate([_random(0, 4, 6), np.zeros((1, 6), np.float32)])
    weights = _random(1, 5, 6)
    _assert_same(
        lambda x, w: jnp.sum(l2_normalize(x) * w),
        lambda x, w: (functional.normalize(x, dim=1) * w).sum(),
        rows,
        weights,
    )


def test_cross_entropy_without_smoothing():
    _assert_same(
        lambda x: classification.smoothed_cross_entropy(x, jnp.asarray(CLASSES), epsilon=0.0),
        lambda x: functional.cross_entropy(x, torch.tensor(CLASSES)),
        3 * _random(2, 6, 5),
    )


def test_cross_entropy_with_the_mass_on_the_other_classes():
    num_classes = 5
    # PyTorch spreads its smoothing over all classes, ours over the others: C / (C - 1) as much.
    theirs = 0.1 * num_classes / (num_classes - 1)
    _assert_same(
        lambda x: classification.smoothed_cross_entropy(x, jnp.asarray(CLASSES), epsilon=0.1),
        lambda x: functional.cross_entropy(x, torch.tensor(CLASSES), label_smoothing=theirs),
        3 * _random(3, 6, num_classes),
    )


def test_moco_loss():
    def ours(query, key, queue):
        query, key, queue = l2_normalize(query), jnp.asarray(key), jnp.asarray(queue)
        return contrastive.info_nce(query, key, queue, temperature=0.1)[0]

    def theirs(query, key, queue):
        query = functional.normalize(query, dim=1)
        logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], 1) / 0.1
        return functional.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))

    key, queue = (
        np.asarray(l2_normalize(jnp.asarray(_random(s, n, 8)))) for s, n in ((4, 6), (5, 40))
    )
    _assert_same(ours, theirs, _random(6, 6, 8), key, queue)


def _torch_margin(kind, cosine, margin):
    """What the scale multiplies, for the true class and for another."""
    constant = cosine.detach()
    if kind == "circle":
        true = (1 + margin - constant).clamp(min=0) * (cosine - 1 + margin)
        return true, (constant + margin).clamp(min=0) * (cosine - margin)
    if kind == "cosface":
        return cosine - margin, cosine
    angle = torch.acos(cosine)
    beyond = cosine - margin * math.sin(margin)
    return torch.where(angle < math.pi - margin, torch.cos(angle + margin), beyond), cosine


@pytest.mark.parametrize("kind", margins.MARGINS)
@pytest.mark.parametrize("scale", [8.0, 64.0])
def test_margin_classifiers(kind, scale):
    features, kernel = _random(8, 6, 8), _random(9, 8, 5)
    features[4] -= 2 * kernel[:, CLASSES[4]]
    features[5] -= 50 * kernel[:, CLASSES[5]]  # beyond pi - margin

    def ours(features, kernel):
        logits, _ = margins.classifier_logits(
            kind, features, kernel, jnp.asarray(CLASSES), scale=scale, margin=0.35
        )
        return classification.smoothed_cross_entropy(logits, jnp.asarray(CLASSES), epsilon=0.1)

    def theirs(features, kernel):
        cosine = functional.normalize(features, dim=1) @ functional.normalize(kernel, dim=0)
        true, other = _torch_margin(kind, cosine, 0.35)
        is_true = functional.one_hot(torch.tensor(CLASSES), 5).bool()
        logits = scale * torch.where(is_true, true, other)
        # Spread over all classes, hence C / (C - 1) as much.
        return functional.cross_entropy(logits, torch.tensor(CLASSES), label_smoothing=0.1 * 5 / 4)

    _assert_same(ours, theirs, features, kernel, gradients=2)


IDENTITIES = np.array([3, 3, 3, 0, 0, 9, 9, 5])  # 5 has one picture
SAME = torch.tensor(IDENTITIES[:, None] == IDENTITIES[None, :])


def _torch_distances(features):
    difference = features[:, None] - features[None]
    return difference.square().sum(2).clamp(min=1e-12).sqrt()


def _torch_triplet(mining, features, margin):
    distance = _torch_distances(features)
    if mining == "weighted_fastreid":
        largest = (distance * SAME).amax(1, keepdim=True)
        weights = (distance - largest).exp() * SAME
        positive = (weights * distance).sum(1) / (weights.sum(1) + 1e-6)
        weights = (-distance).exp() * ~SAME
        negative = (weights * distance).sum(1) / (weights.sum(1) + 1e-6)
    elif mining == "hard":
        positive = torch.where(SAME, distance, -torch.inf).amax(1)
        negative = torch.where(SAME, torch.inf, distance).amin(1)
    else:
        weights = torch.where(SAME, distance, -torch.inf).softmax(1)
        positive = (weights * distance).sum(1)
        weights = torch.where(SAME, -torch.inf, -distance).softmax(1)
        negative = (weights * distance).sum(1)
    order = torch.ones_like(positive)
    if margin is None:
        return functional.soft_margin_loss(negative - positive, order)
    return functional.margin_ranking_loss(negative, positive, order, margin=margin)


@pytest.mark.parametrize("mining", identify.TRIPLETS)
@pytest.mark.parametrize("margin", [0.3, None])
@pytest.mark.parametrize("normalize", [False, True])
def test_triplet(mining, margin, normalize):
    def ours(features):
        loss = identify.TRIPLETS[mining]
        return loss(features, jnp.asarray(IDENTITIES), margin=margin, normalize=normalize)[0]

    def theirs(features):
        features = functional.normalize(features, dim=1) if normalize else features
        return _torch_triplet(mining, features, margin)

    _assert_same(ours, theirs, _random(7, 8, 5))
    # Negatives far off, at distances around 16.
    _assert_same(ours, theirs, 5 * _random(7, 8, 5))


@pytest.mark.parametrize(("margin", "gamma"), [(0.25, 128.0), (0.4, 8.0)])
def test_circle_loss(margin, gamma):
    def theirs(features):
        features = functional.normalize(features, dim=1)
        similarity = features @ features.T
        constant = similarity.detach()
        push = gamma * (constant + margin).clamp(min=0) * (similarity - margin)
        pull = -gamma * (1 + margin - constant).clamp(min=0) * (similarity - 1 + margin)
        positive = SAME & ~torch.eye(8, dtype=torch.bool)
        losses = [
            functional.softplus(p[s].logsumexp(0) + n[~t].logsumexp(0))
            for p, n, s, t in zip(pull, push, positive, SAME, strict=True)
            if s.any()
        ]
        return torch.stack(losses).mean()

    def ours(features):
        return metric.circle_loss(features, jnp.asarray(IDENTITIES), margin=margin, gamma=gamma)

    _assert_same(ours, theirs, _random(10, 8, 5))


def test_center_loss():
    centers = _random(11, 5, 4)
    _assert_same(
        lambda x: center.center_loss(x, jnp.asarray(centers), jnp.asarray(CLASSES)),
        lambda x: 0.5 * (x - torch.tensor(centers)[CLASSES]).square().sum(1).mean(),
        _random(12, 6, 4),
    )


VIEW_LABELS = np.array([3, 1, 3, 2, 3, 1])


def _torch_views(query, key):
    """[2b, 2b] logits of all views at a temperature of 0.2, without the diagonal."""
    rows = functional.normalize(torch.cat([query, key]), dim=1)
    return (rows @ rows.T / 0.2).fill_diagonal_(-torch.inf)


def test_contrast_of_views():
    """SimCLR is a cross-entropy whose class is the other view."""
    query, key = _random(20, 6, 5), _random(21, 6, 5)
    partner = torch.arange(12).roll(6)
    _assert_same(
        lambda q, k: view_contrast.nt_xent(q, k, temperature=0.2)[0],
        lambda q, k: functional.cross_entropy(_torch_views(q, k), partner),
        *(query, key),
        gradients=2,
    )

    def theirs(query, key):
        labels = torch.tensor(VIEW_LABELS).repeat(2)
        positive = (labels[:, None] == labels[None]).fill_diagonal_(False).double()
        logs = functional.log_softmax(_torch_views(query, key), dim=1).masked_fill(
            torch.eye(12, dtype=torch.bool), 0
        )
        return -(0.2 / 0.07) * ((positive * logs).sum(1) / positive.sum(1)).mean()

    def ours(query, key):
        labels = jnp.asarray(VIEW_LABELS)
        return view_contrast.supervised_contrast(query, key, labels, temperature=0.2)[0]

    _assert_same(ours, theirs, query, key, gradients=2)


@pytest.mark.parametrize("form", ["code", "paper"])
def test_contrast_guided_by_labels(form):
    query, key, queue = (_random(seed, num, 5) for seed, num in ((22, 6), (23, 6), (24, 30)))
    queue_id = np.random.default_rng(0).integers(-1, 5, 30)
    query, key, queue = (
        one / np.linalg.norm(one, axis=1, keepdims=True) for one in (query, key, queue)
    )

    def theirs(query):
        own = (query * torch.tensor(key)).sum(1, keepdim=True)
        logits = torch.cat([own, query @ torch.tensor(queue, dtype=torch.float64).T], 1) / 0.07
        same = torch.tensor(CLASSES)[:, None] == torch.tensor(queue_id)[None]
        positive = torch.cat([torch.ones(6, 1, dtype=torch.bool), same], 1)
        logs = functional.log_softmax(logits, dim=1)
        if form == "paper":
            mean = logs.masked_fill(~positive, -torch.inf).logsumexp(1) - positive.sum(1).log()
        else:
            mean = (logs * positive).sum(1) / positive.sum(1)
        return -mean.mean()

    def ours(query):
        arrays = (jnp.asarray(one) for one in (key, queue, queue_id, CLASSES))
        return noisy_labels.label_guided_contrast(query, *arrays, temperature=0.07, form=form)[0]

    _assert_same(ours, theirs, query)


def test_cross_entropy_over_many_classes():
    _assert_same(
        lambda x: noisy_labels.cross_entropy(x, jnp.asarray(CLASSES)),
        lambda x: functional.cross_entropy(x, torch.tensor(CLASSES)),
        3 * _random(25, 6, 5),
    )
