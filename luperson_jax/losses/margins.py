"""Classifiers whose logits a softmax cross-entropy is taken over: linear, or cosines with a margin.

With c the cosine between a feature and the weight of a class, a margin classifier changes c so that
the true class has to win by a margin. The changed logits are only for the loss; hits are counted
over scale * c. Kernels are [D, C], one column a class. All is float32: what is rounding in a cosine
is multiplied by the scale before the softmax.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from data_pipeline.errors import InputError
from luperson_jax.losses.masked import is_class
from luperson_jax.vectors import l2_normalize

ClassifierKind = Literal["linear", "circle", "arcface", "cosface"]


def _cosine(features: Float[Array, "b d"], kernel: Float[Array, "d c"]) -> Float[Array, "b c"]:
    # Rounding may carry it past 1; who takes a root of it has to clamp.
    return jnp.matmul(
        l2_normalize(features), l2_normalize(kernel.T).T, precision=jax.lax.Precision.HIGHEST
    )


def linear_logits(
    features: Float[Array, "b d"], kernel: Float[Array, "d c"]
) -> Float[Array, "b c"]:
    """Products of features [b, d] and classes [d, c] in float32; no bias."""
    features, kernel = features.astype(jnp.float32), kernel.astype(jnp.float32)
    return jnp.matmul(features, kernel, precision=jax.lax.Precision.HIGHEST)


def cosine_logits(
    features: Float[Array, "b d"], kernel: Float[Array, "d c"], *, scale: float = 64.0
) -> Float[Array, "b c"]:
    """scale * cosine: the logits of a margin classifier without its margin."""
    return scale * _cosine(features, kernel)


def circle_logits(
    features: Float[Array, "b d"],
    kernel: Float[Array, "d c"],
    labels: Int[Array, "b"],
    *,
    scale: float = 64.0,
    margin: float = 0.35,
) -> Float[Array, "b c"]:
    """Logits of the circle loss with class labels.

    With m the margin, scale * max(1 + m - c, 0) * (c - (1 - m)) for the true class and
    scale * max(c + m, 0) * (c - m) for each other. The weights max(...) are constants of the step:
    no gradient runs through them, so a class with c < -m has none at all.

    Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", 2020
    (arXiv:2002.10857), section 3; scale 64 and margin 0.35 as FastReID's SBS and MGN have them.

    Args:
        features: [b, d], any length, zero included.
        kernel: [d, c], columns of any length.
        labels: [b] true class, 0..c-1; any other where the row does not count.
        scale: factor of all logits.
        margin: m, 0..1.

    Returns:
        [b, c] float32, for a cross-entropy.
    """
    cosine = _cosine(features, kernel)
    constant = jax.lax.stop_gradient(cosine)
    true = jax.nn.relu(1 + margin - constant) * (cosine - (1 - margin))
    other = jax.nn.relu(constant + margin) * (cosine - margin)
    return scale * jnp.where(is_class(labels, kernel.shape[1]), true, other)


def arcface_logits(
    features: Float[Array, "b d"],
    kernel: Float[Array, "d c"],
    labels: Int[Array, "b"],
    *,
    scale: float = 64.0,
    margin: float = 0.5,
) -> Float[Array, "b c"]:
    """Logits with a margin in the angle: scale * cos(angle + margin) for the true class.

    An angle beyond pi - margin would be rewarded for growing. There the logit is
    scale * (c - margin * sin(margin)), which still falls, with a small step down at the seam, as in
    the FastReID that LUPerson builds on (its "easy margin" off).

    Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019
    (arXiv:1801.07698), equation 3.

    Args:
        features: [b, d], any length, zero included.
        kernel: [d, c], columns of any length.
        labels: [b] true class, 0..c-1; any other where the row does not count.
        scale: factor of all logits.
        margin: radians, 0..pi.

    Returns:
        [b, c] float32, for a cross-entropy. Other classes have scale * c.
    """
    cosine = _cosine(features, kernel)
    # cos(angle + m) without an arccos. (1 - c)(1 + c) and not 1 - c * c, which cancels near 1; the
    # clamp stands under the root, so that a feature along its weight has a finite gradient.
    sine = jnp.sqrt(jnp.maximum((1 - cosine) * (1 + cosine), 1e-12))
    turned = cosine * math.cos(margin) - sine * math.sin(margin)
    beyond = cosine - margin * math.sin(margin)
    true = jnp.where(cosine > -math.cos(margin), turned, beyond)
    return scale * jnp.where(is_class(labels, kernel.shape[1]), true, cosine)


def cosface_logits(
    features: Float[Array, "b d"],
    kernel: Float[Array, "d c"],
    labels: Int[Array, "b"],
    *,
    scale: float = 64.0,
    margin: float = 0.35,
) -> Float[Array, "b c"]:
    """Logits with a margin in the cosine: scale * (c - margin) for the true class, else scale * c.

    Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", 2018
    (arXiv:1801.09414), equation 4.

    Args:
        features: [b, d], any length, zero included.
        kernel: [d, c], columns of any length.
        labels: [b] true class, 0..c-1; any other where the row does not count.
        scale: factor of all logits.
        margin: in units of cosine.

    Returns:
        [b, c] float32, for a cross-entropy.
    """
    cosine = _cosine(features, kernel)
    return scale * jnp.where(is_class(labels, kernel.shape[1]), cosine - margin, cosine)


MARGINS = {"circle": circle_logits, "arcface": arcface_logits, "cosface": cosface_logits}


def classifier_logits(
    kind: str,
    features: Float[Array, "b d"],
    kernel: Float[Array, "d c"],
    labels: Int[Array, "b"],
    *,
    scale: float = 64.0,
    margin: float = 0.35,
) -> tuple[Float[Array, "b c"], Float[Array, "b c"]]:
    """The logits to train with and those to count hits over, of a classifier given by name.

    Args:
        kind: a `ClassifierKind`.
        features: [b, d].
        kernel: [d, c].
        labels: [b] true class; any other number where the row does not count.
        scale: of a margin classifier; "linear" has none.
        margin: of a margin classifier.

    Returns:
        Two arrays [b, c] float32; the same one twice for "linear".

    Raises:
        InputError: unknown kind.
    """
    if kind == "linear":
        logits = linear_logits(features, kernel)
        return logits, logits
    if kind not in MARGINS:
        expected = ", ".join(("linear", *MARGINS))
        raise InputError(f"unknown classifier {kind!r}; expected one of {expected}")
    logits = MARGINS[kind](features, kernel, labels, scale=scale, margin=margin)
    return logits, cosine_logits(features, kernel, scale=scale)


def init_kernel(kind: str, key: PRNGKeyArray, width: int, num_classes: int) -> Float[Array, "d c"]:
    """Random kernel [width, num_classes] float32 as FastReID starts its classifiers.

    "linear" is normal with deviation 0.001, "circle" uniform up to 1 / sqrt(width), the others
    uniform up to sqrt(6 / (width + num_classes)). A margin classifier ignores the length of its
    columns, but an optimizer's steps turn a long column less.
    """
    shape = (width, num_classes)
    if kind == "linear":
        return 0.001 * jax.random.normal(key, shape, jnp.float32)
    bound = width**-0.5 if kind == "circle" else math.sqrt(6 / (width + num_classes))
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
