"""AugMix: a picture mixed with the ends of several short random chains of operations."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from luperson_jax.augment.geometry import interpolate_range
from luperson_jax.augment.operations import SIGNED, Color, Operation, apply_operations
from luperson_jax.augment.policy import ENHANCE, SHEAR, Scale

_O = Operation
LEAST_LEVEL = 0.1
_TRANSLATE = Scale(0.0, 1 / 3)
# Unlike AutoAugment's, the operations get stronger with the level; only the factors do not.
SCALES: Mapping[Operation, Scale] = MappingProxyType(
    {
        _O.SHEAR_X: SHEAR,
        _O.SHEAR_Y: SHEAR,
        _O.TRANSLATE_X: _TRANSLATE,
        _O.TRANSLATE_Y: _TRANSLATE,
        _O.ROTATE: Scale(0.0, 30.0, whole=True),
        _O.COLOR: ENHANCE,
        _O.CONTRAST: ENHANCE,
        _O.SHARPNESS: ENHANCE,
        _O.BRIGHTNESS: ENHANCE,
        _O.POSTERIZE: Scale(4.0, -4.0, whole=True),
        _O.SOLARIZE: Scale(256.0, -256.0, whole=True),
    }
)

# The paper leaves out what the corruptions of its test sets are made of.
PAPER_OPERATIONS = (
    _O.AUTO_CONTRAST,
    _O.EQUALIZE,
    _O.POSTERIZE,
    _O.ROTATE,
    _O.SOLARIZE,
    _O.SHEAR_X,
    _O.SHEAR_Y,
    _O.TRANSLATE_X,
    _O.TRANSLATE_Y,
)
# FastReID's choice for people.
REID_OPERATIONS = (
    _O.AUTO_CONTRAST,
    _O.EQUALIZE,
    _O.POSTERIZE,
    _O.SHEAR_X,
    _O.SHEAR_Y,
    _O.COLOR,
    _O.CONTRAST,
    _O.BRIGHTNESS,
    _O.SHARPNESS,
)


@dataclasses.dataclass(frozen=True)
class AugMix:
    """The law of chains and mixture.

    Attributes:
        probability: share of the pictures that are mixed.
        width: number of chains.
        depth: least and greatest number of operations in a chain, uniform.
        severity: greatest level, 0.1..10; each operation's is uniform in [0.1, severity].
        alpha: of the Dirichlet distribution of the chains' weights and of the Beta distribution of
            their share in the result; 1 makes both uniform.
        operations: what is drawn from, each equally likely.
        fill: red, green and blue of what comes in from outside.
    """

    probability: float = 1.0
    width: int = 3
    depth: tuple[int, int] = (1, 3)
    severity: float = 3.0
    alpha: float = 1.0
    operations: tuple[Operation, ...] = PAPER_OPERATIONS
    fill: Color = (0.0, 0.0, 0.0)


def draw_chains(key: Key[Array, ""], law: AugMix) -> tuple[Array, Array]:
    """Draws the operations of all chains and their magnitudes.

    Returns:
        [width, depth] int32 operations, filled up with `Operation.IDENTITY`, and [width, depth]
        float32 magnitudes.
    """
    step_key, depth_key = jax.random.split(key)
    shape = (law.width, law.depth[1])
    which, level_share, side = jax.random.uniform(step_key, (3, *shape))
    scales = [SCALES.get(operation, Scale(0.0, 0.0)) for operation in law.operations]
    start, slope, whole = (jnp.array(part) for part in zip(*scales, strict=True))
    signed = jnp.array([operation in SIGNED for operation in law.operations])
    index = jnp.floor(which * len(law.operations)).astype(jnp.int32)
    added = slope[index] * interpolate_range(level_share, (LEAST_LEVEL, law.severity)) / 10.0
    magnitude = start[index] + jnp.where(whole[index], jnp.trunc(added), added)
    magnitude = jnp.where(signed[index] & (side < 0.5), -magnitude, magnitude)
    depth = jax.random.randint(depth_key, (law.width, 1), law.depth[0], law.depth[1] + 1)
    operations = jnp.asarray(np.array(law.operations, np.int32))[index]
    in_chain = jnp.arange(law.depth[1])[None, :] < depth
    return jnp.where(in_chain, operations, int(_O.IDENTITY)), magnitude


def draw_weights(key: Key[Array, ""], law: AugMix) -> tuple[Array, Array]:
    """Draws how much each chain counts, and all of them together.

    Returns:
        [width] float32 weights of a symmetric Dirichlet distribution, and the share of the mixture
        in the result, of a symmetric Beta distribution; both are quotients of Gamma variables.
    """
    gammas = jax.random.loggamma(key, law.alpha, (law.width + 2,))
    return jax.nn.softmax(gammas[:-2]), jax.nn.sigmoid(gammas[-2] - gammas[-1])


def random_augmix(
    key: Key[Array, ""], image: Float[Array, "h w 3"], law: AugMix
) -> Float[Array, "h w 3"]:
    """Mixes a share of the pictures with the ends of their chains.

    Args:
        key: random key.
        image: values 0..255; the chains start from whole levels.
        law: of chains and mixture.

    Returns:
        Values 0..255, not rounded.

    Source: Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan, "AugMix: A Simple Data Processing
        Method to Improve Robustness and Uncertainty", 2020, arXiv:1912.02781. The paper mixes
        normalized pictures, which is the same up to rounding; its consistency loss is no part of
        this.
    """
    chance_key, chain_key, weight_key = jax.random.split(key, 3)
    operations, magnitudes = draw_chains(chain_key, law)
    weights, share = draw_weights(weight_key, law)

    def add_chain(mixed: Array, chain: tuple[Array, Array, Array]) -> tuple[Array, None]:
        weight, steps, amounts = chain
        return mixed + weight * apply_operations(image, steps, amounts, law.fill), None

    # One chain after the other: all at once would hold `width` times the batch.
    chains = (weights, operations, magnitudes)
    mixed = jax.lax.scan(add_chain, jnp.zeros_like(image), chains)[0]
    mixed = (1.0 - share) * image + share * mixed
    return jnp.where(jax.random.bernoulli(chance_key, law.probability), mixed, image)
