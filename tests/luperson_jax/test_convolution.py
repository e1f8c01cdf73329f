"""The gradients of convolutions in the forms that a CPU takes, beside XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import platforms
from luperson_jax.models import convolution

SIDES = {"torch": ((1, 1), (1, 1)), "same": ((0, 1), (0, 1)), "wide": ((3, 3), (3, 3))}


@pytest.mark.parametrize("size", [3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("shape", [(8, 8), (9, 8), (33, 35)])
def test_gradients_of_a_convolution_are_those_of_xla(size, stride, sides, shape):
    """Phases of every stride, odd and even maps; the kernel's image by image on the largest."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((2, *shape, 3)), jnp.float32)
    kernel = jnp.asarray(random.standard_normal((size, size, 3, 32)), jnp.float32)
    results = []
    for function in (convolution._convolved_on_cpu, convolution._convolved):
        y, pull = jax.vjp(lambda *both, f=function: f(*both, stride, SIDES[sides]), x, kernel)
        gradient = jnp.asarray(np.random.default_rng(1).standard_normal(y.shape), y.dtype)
        results.append((y, *pull(gradient)))
    for one, other in zip(*results, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * np.abs(other).max())


def test_barriers_hold_on_a_cpu():
    """What stands behind one is computed once, and not again for each use."""

    def function(a, b):
        total = jax.lax.optimization_barrier(a + b)
        return jnp.where(a > 0, total, 0)[1:] + jnp.where(b > 0, total, 0)[:-1]

    shape = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    options = platforms.compiler_options("cpu")
    compiled = jax.jit(function, compiler_options=options).lower(shape, shape).compile()
    assert "opt-barrier(" in (compiled.as_text() or "")
