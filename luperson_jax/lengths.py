"""Rows of unit length, for features on the host; `vectors` has the same for JAX."""

import numpy as np
from jaxtyping import Float


def unit_rows(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows divided by their lengths; one of zeros stays."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
