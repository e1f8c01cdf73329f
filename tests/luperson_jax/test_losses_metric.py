import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.losses import metric

LOSSES = {
    "hard": functools.partial(metric.batch_hard_triplet, margin=0.3),
    "hard, wide": functools.partial(metric.batch_hard_triplet, margin=4.0),
    "hard, soft margin": functools.partial(metric.batch_hard_triplet, margin=None),
    "hard, directions": functools.partial(metric.batch_hard_triplet, margin=0.3, normalize=True),
    "weighted": metric.weighted_triplet,
    "weighted, margin": functools.partial(metric.weighted_triplet, margin=0.3),
    "weighted, directions": functools.partial(metric.weighted_triplet, normalize=True),
    "fastreid": functools.partial(metric.weighted_triplet, as_fastreid=True),
    "fastreid, margin": functools.partial(metric.weighted_triplet, as_fastreid=True, margin=0.3),
    "circle": metric.circle_loss,
    "circle, wide": functools.partial(metric.circle_loss, margin=0.4, gamma=8.0),
}
LABELS = np.array([3, 3, 3, 2, 2, 9, 9, 5])  # 5 has one picture


def _features():
    return _random(7, 8, 4)


def _random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@functools.cache
def _jitted(name):
    def loss(features, labels, mask):
        result = LOSSES[name](features, labels, mask=mask)
        return result if isinstance(result, tuple) else (result, {})

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def _run(name, features, labels, mask=None):
    mask = np.ones(len(labels), bool) if mask is None else mask
    (loss, metrics), gradient = _jitted(name)(*(jnp.asarray(x) for x in (features, labels, mask)))
    return loss, metrics, np.asarray(gradient)


def _softmax_mean(distances, sign):
    weights = [math.exp(sign * distance) for distance in distances]
    return sum(w * d for w, d in zip(weights, distances, strict=True)) / sum(weights)


def _fastreid_mean(distances, sign):
    """Powers relative to the largest positive; 1e-6 in the sum keeps those of negatives below 1."""
    largest = max(0, *(sign * distance for distance in distances))
    weights = [math.exp(sign * distance - largest) for distance in distances]
    return sum(w * d for w, d in zip(weights, distances, strict=True)) / (sum(weights) + 1e-6)


def _triplet_twin(kind, features, labels, margin):
    losses = []
    for anchor in range(len(labels)):
        distances = [math.dist(features[anchor], other) for other in features]
        same = [d for d, y in zip(distances, labels, strict=True) if y == labels[anchor]]
        other = [d for d, y in zip(distances, labels, strict=True) if y != labels[anchor]]
        if kind == "hard":
            gap = max(same) - min(other)
        else:
            mean = _fastreid_mean if kind == "fastreid" else _softmax_mean
            gap = mean(same, 1) - mean(other, -1)
        losses.append(math.log1p(math.exp(gap)) if margin is None else max(gap + margin, 0))
    return np.mean(losses)


def _circle_twin(features, weighing, labels, margin, gamma):
    """The pairs' weights are those of the features `weighing`."""
    cosine, constant = (
        x @ x.T / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(x, axis=1)[None, :]
        for x in (features, weighing)
    )
    losses = []
    for anchor, label in enumerate(labels):
        push, pull = 0.0, 0.0
        for other in range(len(labels)):
            s, weight = cosine[anchor, other], constant[anchor, other]
            if labels[other] != label:
                push += math.exp(gamma * max(weight + margin, 0) * (s - margin))
            elif other != anchor:
                pull += math.exp(-gamma * max(1 + margin - weight, 0) * (s - 1 + margin))
        if push and pull:
            losses.append(math.log1p(push * pull))
    return np.mean(losses)


def _twin(name, features, labels, weighing=None):
    """In double precision; `weighing` are the features of what has no gradient."""
    weighing = features if weighing is None else weighing
    kind, _, setting = name.partition(", ")
    if kind == "circle":
        settings = (0.4, 8.0) if setting == "wide" else (0.25, 128.0)
        return _circle_twin(features, weighing, labels, *settings)
    if setting == "directions":
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    default = 0.3 if kind == "hard" else None
    margin = {"wide": 4.0, "soft margin": None, "margin": 0.3}.get(setting, default)
    return _triplet_twin(kind, features, labels, margin)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_equal_the_loop_over_anchors(name):
    features = _features()
    loss, _, gradient = _run(name, features, LABELS)
    exact = features.astype(np.float64)
    np.testing.assert_allclose(loss, _twin(name, exact, LABELS), rtol=1e-5)
    step, slopes = 1e-6, np.empty_like(exact)
    for place in np.ndindex(exact.shape):
        moved = [exact.copy(), exact.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        ahead, behind = (_twin(name, x, LABELS, weighing=exact) for x in moved)
        slopes[place] = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=2e-5 * np.abs(slopes).max())


@pytest.mark.parametrize("name", LOSSES)
def test_rows_have_no_order_and_identities_no_number(name):
    loss, metrics, gradient = _run(name, _features(), LABELS)
    order = np.array([5, 2, 7, 0, 3, 6, 1, 4])
    renamed = np.array([{3: 0, 2: 700, 9: 8, 5: 1}[label] for label in LABELS])
    result = _run(name, _features()[order], renamed[order])
    np.testing.assert_allclose(result[0], loss, rtol=1e-6)
    np.testing.assert_allclose(result[2], gradient[order], atol=1e-5 * np.abs(gradient).max())
    for key, number in metrics.items():
        np.testing.assert_allclose(result[1][key], number, rtol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("padding", [0.0, 1e4, np.nan])
def test_padding_is_neither_anchor_nor_candidate(name, padding):
    features, labels = _features()[:5], LABELS[:5]
    alone, metrics, gradient = _alone(name)
    padded = np.concatenate([features, np.full((3, 4), padding, np.float32)])
    result = _run(name, padded, np.append(labels, [3, -1, 4]), np.arange(8) < 5)
    np.testing.assert_allclose(result[0], alone, rtol=1e-6)
    np.testing.assert_allclose(result[2][:5], gradient, atol=1e-5 * np.abs(gradient).max())
    np.testing.assert_array_equal(result[2][5:], 0)
    for key, number in metrics.items():
        np.testing.assert_allclose(result[1][key], number, rtol=1e-6, err_msg=key)


@functools.cache
def _alone(name):
    return _run(name, _features()[:5], LABELS[:5])


@pytest.mark.parametrize("name", LOSSES)
def test_without_negatives_all_is_zero(name):
    loss, metrics, gradient = _run(name, _features(), np.zeros(8, int))
    assert loss == 0
    assert set(map(float, metrics.values())) <= {0.0}
    np.testing.assert_array_equal(gradient, 0)


def _run_few(name, features, labels):
    """Fewer rows or columns than the compiled function has."""
    features = np.asarray(features, np.float32)
    rows, columns = features.shape
    padded = np.pad(features, ((0, 8 - rows), (0, 4 - columns)))
    loss, metrics, _ = _run(name, padded, np.resize(labels, 8), np.arange(8) < rows)
    return loss, metrics


def test_triplet_metrics_on_a_line():
    loss, metrics = _run_few("hard", [[0], [1], [3], [7]], [0, 0, 1, 1])
    # hardest positive 1 1 4 4, hardest negative 3 2 2 6: gaps -2 -1 2 -2
    np.testing.assert_allclose(loss, 2.3 / 4, rtol=1e-5)
    np.testing.assert_allclose(metrics["active_triplets"], 0.25)
    np.testing.assert_allclose(metrics["hardest_positive"], 2.5, rtol=1e-5)
    np.testing.assert_allclose(metrics["hardest_negative"], 3.25, rtol=1e-5)


@pytest.mark.parametrize("name", ["hard, wide", "weighted"])
def test_identities_with_one_picture_are_only_pushed_away(name):
    features, labels = _features(), np.arange(8)
    loss, metrics, gradient = _run(name, features, labels)
    np.testing.assert_allclose(_of(metrics, "positive"), 1e-6, rtol=1e-5)
    np.testing.assert_allclose(loss, _twin(name, features.astype(np.float64), labels), rtol=1e-5)
    _, later, _ = _run(name, features - 0.1 * gradient, labels)
    assert _of(later, "negative") > _of(metrics, "negative")


def _of(metrics, which):
    return next(value for key, value in metrics.items() if key.endswith(which))


def test_an_identity_with_one_picture_is_no_anchor_of_the_circle_but_a_negative():
    features = _features()
    single = np.arange(8) == 7
    loss, _, gradient = _run("circle", features, LABELS)
    without, _, _ = _run("circle", features, LABELS, ~single)
    assert loss > without
    assert np.abs(gradient[7]).max() > 0
    assert _run("circle", features, np.arange(8))[0] == 0


def test_identities_far_apart_cost_nothing():
    features = 0.1 * _features() + 10 * LABELS[:, None].astype(np.float32)
    for name in ("hard", "hard, wide", "weighted, margin"):
        loss, metrics, gradient = _run(name, features, LABELS)
        assert loss == 0
        assert metrics["active_triplets"] == 0
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("name", ["hard, soft margin", "weighted"])
def test_the_soft_margin_of_a_wide_gap_is_the_gap(name):
    # exp(gap) is beyond float32.
    features = np.zeros((8, 4), np.float32)
    features[:, 0] = 1e3 * np.arange(8)
    labels = np.arange(8) % 2
    loss, metrics, gradient = _run(name, features, labels)
    gap = _of(metrics, "positive") - _of(metrics, "negative")
    assert gap > 1e3
    np.testing.assert_allclose(loss, gap, rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0.1


@pytest.mark.parametrize("kind", ["hard", "weighted"])
def test_only_directions_count_where_features_are_normalized(kind):
    name = f"{kind}, directions"
    loss, _, gradient = _run(name, _features(), LABELS)
    lengths = np.geomspace(0.1, 10, 8).astype(np.float32)[:, None]
    scaled, _, _ = _run(name, _features() * lengths, LABELS)
    np.testing.assert_allclose(scaled, loss, rtol=1e-5)
    along = (gradient * _features()).sum(1)
    np.testing.assert_allclose(along, 0, atol=1e-5 * np.abs(gradient).max())


def test_weighting_lies_between_the_mean_and_the_hardest_and_tends_to_it():
    for scale, tolerance in ((1.0, None), (1e3, 1e-4)):
        features = scale * _features()
        _, hard, _ = _run("hard", features, LABELS)
        _, weighted, _ = _run("weighted", features, LABELS)
        distance = np.linalg.norm(features[:, None] - features[None], axis=2)
        same = LABELS[:, None] == LABELS[None, :]
        positive, negative = ((distance * x).sum(1) / x.sum(1) for x in (same, ~same))
        for key, mean in (("positive", positive.mean()), ("negative", negative.mean())):
            found, extreme = weighted[f"weighted_{key}"], hard[f"hardest_{key}"]
            if tolerance:
                np.testing.assert_allclose(found, extreme, rtol=tolerance)
            else:
                assert min(mean, extreme) < found < max(mean, extreme)


def test_weights_of_fastreid_fade_where_all_negatives_are_far():
    # Identities along a line, that many units from one to the next.
    for apart, same_direction in ((4.0, True), (18.0, False)):
        features = 0.5 * _features()
        features[:, 0] += apart * (np.arange(8) // 2)
        labels = np.arange(8) // 2
        loss, metrics, gradient = _run("fastreid", features, labels)
        _, exact, other = _run("weighted", features, labels)
        twin = _twin("fastreid", features.astype(np.float64), labels)
        np.testing.assert_allclose(loss, twin, rtol=1e-3)  # squares of features up to 54
        cosine = (gradient * other).sum() / np.linalg.norm(gradient) / np.linalg.norm(other)
        if same_direction:
            assert cosine > 0.999
        else:
            assert cosine < 0.6
            assert _of(metrics, "negative") < 0.8 * _of(exact, "negative")


def test_pairs_at_the_margins_of_the_circle_cost_log_2():
    # Rows 0 and 1 at cosine 1 - m, row 2 at cosine m to both.
    m = 0.25
    cosines = np.array([[1, 1 - m, m], [1 - m, 1, m], [m, m, 1]])
    loss, _ = _run_few("circle", np.linalg.cholesky(cosines), [0, 0, 1])
    np.testing.assert_allclose(loss, math.log(2), rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_and_zero_features_have_finite_gradients(name):
    features = _features()
    features[1] = features[0]  # of one identity
    features[5] = features[4]  # of two
    features[6:] = 0
    for x in (features, 1e6 * features, jnp.asarray(features).astype(jnp.bfloat16)):
        loss, _, gradient = _run(name, x, LABELS)
        assert loss.dtype == np.float32
        assert np.isfinite(loss)
        assert np.isfinite(gradient.astype(np.float32)).all()


# Unknown identities


@pytest.mark.parametrize("name", LOSSES)
def test_rows_without_an_identity_are_neither_each_other_nor_anybody(name):
    alone, metrics, gradient = _alone(name)
    result = _run(name, _features(), np.append(LABELS[:5], [-1, -1, -1]))
    np.testing.assert_allclose(result[0], alone, rtol=1e-6)
    np.testing.assert_allclose(result[2][:5], gradient, atol=1e-5 * np.abs(gradient).max())
    np.testing.assert_array_equal(result[2][5:], 0)
    for key, number in metrics.items():
        np.testing.assert_allclose(result[1][key], number, rtol=1e-6, err_msg=key)
