import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import vectors


def _random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_normalized_rows_are_unit_and_zero_stays_zero():
    rows = vectors.l2_normalize(jnp.array([[3.0, 4.0], [0.0, 0.0], [1e-9, 0.0]]))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)
    tiny = vectors.l2_normalize(jnp.array([1e-13, 0.0]))
    np.testing.assert_allclose(tiny, [0.1, 0], rtol=1e-5)
    gradient = jax.grad(lambda x: vectors.l2_normalize(x).sum())(jnp.zeros(3))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", vectors.METRICS)
def test_distances_equal_the_definition(name):
    x, y = _random(4, 5, 7), _random(5, 3, 7)
    if name == "cosine":
        unit_x, unit_y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
        expected = 1 - unit_x @ unit_y.T
    else:
        expected = np.linalg.norm(x[:, None] - y[None], axis=2)
        expected = expected**2 if name == "sqeuclidean" else expected
    result = vectors.pairwise_distances(jnp.asarray(x), jnp.asarray(y), name)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", vectors.METRICS)
def test_distance_of_equal_and_of_zero_rows_has_a_finite_gradient(name):
    x = jnp.array([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    gradient = jax.jit(jax.grad(lambda x: vectors.pairwise_distances(x, x, name).sum()))(x)
    assert np.isfinite(gradient).all()


def test_half_precision_features_are_compared_in_float32():
    x = jnp.asarray(_random(6, 4, 8)).astype(jnp.bfloat16)
    result = vectors.pairwise_distances(x, x, "euclidean")
    assert result.dtype == jnp.float32
    exact = np.asarray(x, np.float32)
    expected = np.linalg.norm(exact[:, None] - exact[None], axis=2)
    np.testing.assert_allclose(result, np.maximum(expected, 1e-6), rtol=1e-4, atol=2e-3)


def test_unknown_metric_is_named():
    with pytest.raises(InputError, match=r"manhattan.*euclidean"):
        vectors.pairwise_distances(jnp.zeros((1, 1)), jnp.zeros((1, 1)), "manhattan")
