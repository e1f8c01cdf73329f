"""Averages over the rows of a batch that count."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def masked_mean(values: Float[Array, "b"], mask: Bool[Array, "b"] | None) -> Float[Array, ""]:
    """Mean of the values where the mask is True (everywhere without one); 0 where nothing is."""
    if mask is None:
        return jnp.mean(values)
    # `where` and not a product: a row that does not count may hold nan.
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1)
