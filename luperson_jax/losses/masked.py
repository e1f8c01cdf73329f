"""The rows of a batch that count, and averages over them."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def counted(labels: Int[Array, "b"], mask: Bool[Array, "b"] | None) -> Bool[Array, "b"]:
    """Rows that are no padding and whose identity is known, which is what a label >= 0 says.

    As an index -1 would mean the last identity, and two unknown ones would be the same person.
    """
    known = labels >= 0
    return known if mask is None else known & mask


def is_class(labels: Int[Array, "b"], num_classes: int) -> Bool[Array, "b c"]:
    """Where the class of each row stands; a comparison takes any label of a padded row, where
    indexing would wrap around."""
    return labels[:, None] == jnp.arange(num_classes, dtype=labels.dtype)[None, :]


def masked_mean(values: Float[Array, "b"], mask: Bool[Array, "b"] | None) -> Float[Array, ""]:
    """Mean of the values where the mask is True (everywhere without one); 0 where nothing is."""
    if mask is None:
        return jnp.mean(values)
    # `where` and not a product: a row that does not count may hold nan.
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1)
