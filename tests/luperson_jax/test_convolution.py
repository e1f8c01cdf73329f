"""Convolutions in the forms that a CPU takes, and their gradients, beside XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import platforms
from luperson_jax.models import convolution

SIDES = {"torch": ((1, 1), (1, 1)), "same": ((0, 1), (0, 1)), "wide": ((3, 3), (3, 3))}


def check(function, shape, size, stride, sides, features=24):
    """Result and gradients are those of XLA's convolution."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((2, *shape)), jnp.float32)
    kernel = jnp.asarray(random.standard_normal((size, size, shape[-1], features)), jnp.float32)
    results = []
    for one in (function, convolution.convolved):
        y, pull = jax.vjp(lambda *both, f=one: f(*both, stride, sides), x, kernel)
        gradient = jnp.asarray(np.random.default_rng(1).standard_normal(y.shape), y.dtype)
        results.append((y, *pull(gradient)))
    for one, other in zip(*results, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * np.abs(other).max())


@pytest.mark.parametrize("size", [3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("shape", [(8, 8, 3), (9, 8, 5), (33, 35, 3)])
def test_a_convolution_is_that_of_xla(size, stride, sides, shape):
    """Phases of every stride, odd and even maps; pictures by columns."""
    check(convolution._convolved_on_cpu, shape, size, stride, SIDES[sides])


@pytest.mark.parametrize("features", [1, 8, 16, 32, 64])
@pytest.mark.parametrize("width", [7, 8, 9, 10])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_columns_at_once_are_those_of_xla(features, width, stride):
    """Pairs of columns that end with the picture, and beyond it."""
    check(convolution._by_columns, (9, width, 3), 7, stride, SIDES["wide"], features)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 7])
@pytest.mark.parametrize("padding", ["torch", "same"])
@pytest.mark.parametrize("shape", [(4, 2, 8), (2, 8, 3), (1, 1, 5), (3, 1, 2)])
def test_rows_at_once_are_those_of_xla(stride, size, padding, shape):
    sides = convolution.around(shape[:2], size, stride, padding)
    check(convolution._by_rows, shape, size, stride, sides)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("shape", [(4, 2, 8), (5, 7, 48)])
def test_pixels_are_those_of_xla(stride, shape):
    """More channels than those of the result, and fewer: the gradient turns the narrower matrix."""

    def of_pixels(x, kernel, stride, sides):
        return convolution._of_pixels(x, kernel, stride)

    check(of_pixels, shape, 1, stride, ((0, 0), (0, 0)))


def test_barriers_hold_on_a_cpu():
    """What stands behind one is computed once, and not again for each use."""

    def function(a, b):
        total = jax.lax.optimization_barrier(a + b)
        return jnp.where(a > 0, total, 0)[1:] + jnp.where(b > 0, total, 0)[:-1]

    shape = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    options = platforms.compiler_options("cpu")
    compiled = jax.jit(function, compiler_options=options).lower(shape, shape).compile()
    assert "opt-barrier(" in (compiled.as_text() or "")


def test_an_option_that_jax_does_not_know_is_left_out(monkeypatch):
    assert set(platforms.NEW_LIBRARY) < set(platforms.compiler_options("cpu"))
    assert not platforms.compiler_options("gpu")
    monkeypatch.setattr(platforms, "NEW_LIBRARY", {"xla_of_tomorrow": "yes"})
    assert platforms.compiler_options("cpu") == platforms.KEPT_BARRIERS
