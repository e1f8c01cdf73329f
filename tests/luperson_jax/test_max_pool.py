"""Max-pooling equals XLA's window and its gradient, also where values are equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.models.max_pool import max_pool


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (2, 7, 5, 3)])
@pytest.mark.parametrize("around", [((1, 1), (1, 1)), ((0, 1), (0, 1))])
def test_equals_the_window_of_xla(shape, around):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 5, shape), jnp.float32)  # most windows have a tie

    def window(x):
        sides = ((0, 0), *around, (0, 0))
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), sides)

    value, back = jax.vjp(lambda x: max_pool(x, around), x)
    wanted, wanted_back = jax.vjp(window, x)
    np.testing.assert_array_equal(value, wanted)
    gradient = jnp.asarray(rng.normal(size=value.shape), jnp.float32)
    np.testing.assert_allclose(back(gradient)[0], wanted_back(gradient)[0], atol=1e-6)
