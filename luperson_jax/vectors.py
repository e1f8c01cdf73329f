"""Lengths of feature vectors and distances between them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from data_pipeline.errors import InputError

METRICS = ("cosine", "euclidean", "sqeuclidean")


def l2_normalize(x: Float[Array, "*b d"], eps: float = 1e-12) -> Float[Array, "*b d"]:
    """Rows divided by max(norm, eps), in float32; a zero row stays zero with a finite gradient."""
    x = x.astype(jnp.float32)
    # The clamp stands under the root: the gradient of a norm is nan at zero.
    squared_norm = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(squared_norm, eps**2))


def pairwise_distances(
    x: Float[Array, "m d"], y: Float[Array, "n d"], metric: str = "euclidean"
) -> Float[Array, "m n"]:
    """Distances of every row of x to every row of y.

    Args:
        x: [m, d], any float type; computed in float32 with full-precision products.
        y: [n, d].
        metric: "euclidean"; "sqeuclidean", its square; "cosine", 1 - cosine similarity (0..2).

    Returns:
        [m, n] float32, >= 0 but for rounding in "cosine". The Euclidean distance is at least 1e-6:
        its square is clamped at 1e-12 under the root, so that the gradient at 0 is 0, not nan.

    Raises:
        InputError: unknown metric.
    """
    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    if metric == "cosine":
        x, y = l2_normalize(x), l2_normalize(y)
    product = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    if metric == "cosine":
        return 1 - product
    norms = jnp.sum(jnp.square(x), axis=1)[:, None] + jnp.sum(jnp.square(y), axis=1)[None, :]
    squared = norms - 2 * product
    if metric == "sqeuclidean":
        return jnp.maximum(squared, 0)
    return jnp.sqrt(jnp.maximum(squared, 1e-12))
