import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax.losses import classification, margins

KINDS = ("circle", "arcface", "cosface")
LABELS = np.array([0, 4, 2, 2, 1, 3])


def _random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


FEATURES, KERNEL = _random(0, 6, 8), _random(1, 8, 5)


@functools.cache
def _jitted(kind, scale, margin):
    """Loss, logits and the gradients of the loss with respect to features and kernel."""

    def loss(features, kernel, labels, mask):
        logits, _ = margins.classifier_logits(
            kind, features, kernel, labels, scale=scale, margin=margin
        )
        return classification.smoothed_cross_entropy(logits, labels, mask=mask), logits

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def _run(kind, features, kernel, labels, mask=None, scale=64.0, margin=0.35):
    mask = np.ones(len(labels), bool) if mask is None else mask
    arguments = [jnp.asarray(x) for x in (features, kernel, labels, mask)]
    (loss, logits), gradients = _jitted(kind, scale, margin)(*arguments)
    return loss, np.asarray(logits), [np.asarray(x) for x in gradients]


def _logits(kind, features, kernel, labels, scale, margin):
    arrays = (jnp.asarray(x) for x in (features, kernel, labels))
    return margins.classifier_logits(kind, *arrays, scale=scale, margin=margin)[0]


def _twin(kind, features, kernel, labels, scale, margin):
    """One logit after another in double precision."""
    logits = np.empty((len(features), kernel.shape[1]))
    for row, feature in enumerate(features.astype(np.float64)):
        for column, weight in enumerate(kernel.T.astype(np.float64)):
            cosine = feature @ weight / math.sqrt(feature @ feature) / math.sqrt(weight @ weight)
            true = column == labels[row]
            if kind == "circle":
                own = max(1 + margin - cosine, 0) * (cosine - 1 + margin)
                logit = own if true else max(cosine + margin, 0) * (cosine - margin)
            elif kind == "cosface":
                logit = cosine - margin if true else cosine
            elif true and math.acos(cosine) < math.pi - margin:
                logit = math.cos(math.acos(cosine) + margin)
            else:
                logit = cosine - margin * math.sin(margin) if true else cosine
            logits[row, column] = scale * logit
    return logits


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_the_definition(kind):
    # The last three rows look away from their classes, the last one beyond pi - margin.
    features = FEATURES.copy()
    for row, turn in ((3, 1.0), (4, 2.0), (5, 50.0)):
        features[row] -= turn * KERNEL[:, LABELS[row]]
    for scale, margin in ((64.0, 0.35), (16.0, 0.5)):
        logits = _logits(kind, features, KERNEL, LABELS, scale, margin)
        expected = _twin(kind, features, KERNEL, LABELS, scale, margin)
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_only_directions_count(kind):
    loss, logits, (features, kernel) = _run(kind, FEATURES, KERNEL, LABELS)
    lengths = np.geomspace(0.01, 100, 5).astype(np.float32)
    _, scaled, _ = _run(kind, 7 * FEATURES, KERNEL * lengths[None, :], LABELS)
    np.testing.assert_allclose(scaled, logits, rtol=1e-4, atol=1e-3)
    # A gradient that changed the length would point nowhere.
    np.testing.assert_allclose((features * FEATURES).sum(1), 0, atol=1e-5 * np.abs(features).max())
    np.testing.assert_allclose((kernel * KERNEL).sum(0), 0, atol=1e-5 * np.abs(kernel).max())
    assert loss > 0


@pytest.mark.parametrize("kind", KINDS)
def test_classes_and_rows_have_no_order(kind):
    loss, logits, (features, kernel) = _run(kind, FEATURES, KERNEL, LABELS)
    rows, classes = np.array([3, 0, 5, 1, 4, 2]), np.array([2, 4, 0, 1, 3])
    renamed = np.argsort(classes)[LABELS[rows]]
    result = _run(kind, FEATURES[rows], KERNEL[:, classes], renamed)
    np.testing.assert_allclose(result[0], loss, rtol=1e-6)
    np.testing.assert_allclose(result[1], logits[rows][:, classes], rtol=1e-5, atol=1e-4)
    for one, two in zip(result[2], (features[rows], kernel[:, classes]), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4 * np.abs(two).max())


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_margin_the_cosine_is_left(kind):
    logits = _logits(kind, FEATURES, KERNEL, LABELS, 64.0, 0.0)
    cosine = np.asarray(margins.cosine_logits(jnp.asarray(FEATURES), jnp.asarray(KERNEL))) / 64
    if kind == "circle":  # its weights stay: 1 - c for the true class, c for the others
        true = LABELS[:, None] == np.arange(5)
        cosine = np.where(true, (1 - cosine) * (cosine - 1), np.maximum(cosine, 0) * cosine)
    np.testing.assert_allclose(logits, 64 * cosine, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["arcface", "cosface"])
def test_a_margin_makes_the_task_harder(kind):
    costs = []
    for margin in (0.0, 0.2, 0.4):
        logits = _logits(kind, FEATURES, KERNEL, LABELS, 4.0, margin)
        costs.append(float(classification.smoothed_cross_entropy(logits, jnp.asarray(LABELS))))
    assert costs == sorted(costs)
    assert costs[2] > 1.1 * costs[0]


def test_the_circle_is_a_circle():
    # Where both logits are equal, (1 - c_true)^2 + c_other^2 = 2 m^2: section 3.3 of the paper.
    margin = 0.25
    for turn in np.linspace(-0.5, 1.3, 5):
        radius = math.sqrt(2) * margin
        cosines = np.array([1 - radius * math.cos(turn), radius * math.sin(turn)])
        # In three dimensions there is a feature with any two cosines to orthogonal classes.
        feature = np.append(cosines, math.sqrt(1 - cosines @ cosines))[None, :]
        logits = _logits("circle", feature, np.eye(3)[:, :2], np.array([0]), 64.0, margin)
        np.testing.assert_allclose(logits[0, 0], logits[0, 1], atol=1e-4)


def test_the_weights_of_the_circle_are_constants_of_the_step():
    features, kernel, labels = (jnp.asarray(x) for x in (FEATURES, KERNEL, LABELS))
    cosine, pullback = jax.vjp(lambda x: margins.cosine_logits(x, kernel, scale=1.0), features)
    true = labels[:, None] == jnp.arange(5)[None, :]
    weight = jnp.where(true, jax.nn.relu(1.35 - cosine), jax.nn.relu(cosine + 0.35))
    cotangent = jnp.asarray(_random(2, 6, 5))
    (expected,) = pullback(64.0 * weight * cotangent)
    _, pullback = jax.vjp(lambda x: margins.circle_logits(x, kernel, labels), features)
    (gradient,) = pullback(cotangent)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-4)


def test_a_class_behind_the_circle_margin_has_no_gradient():
    # Cosines with the classes: 1, 0 and -0.6, which is below -0.35.
    features, kernel = np.array([[1.0, 0.0]]), np.array([[1.0, 0.0, -0.6], [0.0, 1.0, 0.8]])
    _, logits, (_, gradient) = _run("circle", features, kernel, np.array([0]), scale=4.0)
    assert logits[0, 2] == 0
    np.testing.assert_array_equal(gradient[:, 2], 0)
    assert np.abs(gradient[:, 1]).max() > 0.1


def test_the_arcface_logit_falls_with_the_angle_all_the_way():
    angles = np.linspace(0, np.pi, 181)
    features = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    kernel = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    labels = jnp.zeros(181, jnp.int32)
    for margin in (0.35, 0.5, 1.2):
        logits = margins.arcface_logits(
            jnp.asarray(features), kernel, labels, scale=1.0, margin=margin
        )[:, 0]
        assert np.diff(logits).max() < 0
        turned = angles < np.pi - margin - 0.01
        np.testing.assert_allclose(
            logits[turned], np.cos(angles[turned] + margin), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(logits[-1], -1 - margin * np.sin(margin), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [64.0, 256.0])
def test_extreme_inputs_have_a_finite_loss_and_gradient(kind, scale):
    kernel = _random(3, 8, 6)
    kernel[:, 5] = 0
    features = np.stack(
        [
            kernel[:, 0],  # along its class; the cosine is 1 but for rounding
            -kernel[:, 1],  # opposite to it
            1e12 * kernel[:, 2],
            1e-12 * kernel[:, 3],
            np.zeros(8, np.float32),
            kernel[:, 4],  # along another class than its own, which is zero
        ]
    )
    labels = np.array([0, 1, 2, 3, 4, 5])
    for x in (jnp.asarray(features), jnp.asarray(features).astype(jnp.bfloat16)):
        for order in (labels, np.roll(labels, 1)):
            loss, logits, gradients = _run(kind, x, kernel, order, scale=scale)
            assert loss.dtype == logits.dtype == np.float32
            assert np.isfinite(loss)
            assert np.abs(logits).max() <= (4 if kind == "circle" else 1.5) * scale
            assert all(np.isfinite(gradient.astype(np.float32)).all() for gradient in gradients)


def test_a_feature_along_its_weight_has_a_bounded_arcface_gradient():
    kernel = _random(4, 128, 64)
    kernel /= np.linalg.norm(kernel, axis=0)
    cosine = margins.cosine_logits(jnp.asarray(kernel.T), jnp.asarray(kernel), scale=1.0)
    assert len(np.unique(np.diag(cosine))) > 1, "rounding on neither side of 1 was met"
    gradient = _run("arcface", kernel.T, kernel, np.arange(64), margin=0.5)[2][0]
    # A slope of at most 64 sin(0.5) for the true class and 64 for the others, over 64 rows.
    assert np.linalg.norm(gradient, axis=1).max() < math.sin(0.5) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_padding_has_no_gradient_and_changes_nothing(kind):
    loss, _, (features, kernel) = _run(kind, FEATURES, KERNEL, LABELS)
    padded = np.concatenate([FEATURES, np.full((2, 8), 1e4, np.float32)])
    labels = np.concatenate([LABELS, [-1, 700]])
    result = _run(kind, padded, KERNEL, labels, np.arange(8) < 6)
    np.testing.assert_allclose(result[0], loss, rtol=1e-6)
    np.testing.assert_array_equal(result[2][0][6:], 0)
    np.testing.assert_allclose(result[2][0][:6], features, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result[2][1], kernel, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_an_identity_changes_nothing(kind):
    loss, _, (features, kernel) = _run(kind, FEATURES, KERNEL, LABELS)
    more = np.concatenate([FEATURES, _random(5, 2, 8)])
    result = _run(kind, more, KERNEL, np.concatenate([LABELS, [-1, -1]]), np.ones(8, bool))
    np.testing.assert_allclose(result[0], loss, rtol=1e-6)
    np.testing.assert_array_equal(result[2][0][6:], 0)
    np.testing.assert_allclose(result[2][0][:6], features, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result[2][1], kernel, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", *KINDS])
def test_a_classifier_by_name(kind):
    features, kernel, labels = (jnp.asarray(x) for x in (FEATURES, KERNEL, LABELS))
    logits, plain = margins.classifier_logits(
        kind, features, kernel, labels, scale=16.0, margin=0.2
    )
    if kind == "linear":
        np.testing.assert_array_equal(logits, plain)
        np.testing.assert_allclose(logits, FEATURES @ KERNEL, rtol=1e-5, atol=1e-5)
        return
    alone = getattr(margins, f"{kind}_logits")
    np.testing.assert_array_equal(logits, alone(features, kernel, labels, scale=16.0, margin=0.2))
    np.testing.assert_array_equal(plain, margins.cosine_logits(features, kernel, scale=16.0))


def test_an_unknown_classifier_is_named():
    with pytest.raises(InputError, match=r"'softmax'.*linear, circle, arcface, cosface"):
        margins.classifier_logits(
            "softmax", jnp.zeros((1, 2)), jnp.zeros((2, 2)), jnp.zeros(1, jnp.int32)
        )


def test_kernels_start_with_the_spread_of_the_reference():
    for kind, deviation in (
        ("linear", 0.001),
        ("circle", (1 / 256 / 3) ** 0.5),
        ("arcface", (2 / (256 + 751)) ** 0.5),
        ("cosface", (2 / (256 + 751)) ** 0.5),
    ):
        kernel = margins.init_kernel(kind, jax.random.key(0), 256, 751)
        assert kernel.shape == (256, 751)
        np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.01)
        assert abs(np.mean(kernel)) < 0.02 * deviation
