"""AutoAugment: one of a list of learned pairs of operations for each picture."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from luperson_jax.augment.operations import SIGNED, Color, Operation, apply_operations

_O = Operation
Step = tuple[Operation, float, int]
"""What is done, with which probability, at which level 0..10."""

# The 25 pairs that the paper found on ImageNet; five stand there twice. Operations without a
# magnitude have level 0 here.
IMAGENET: tuple[tuple[Step, Step], ...] = (
    ((_O.POSTERIZE, 0.4, 8), (_O.ROTATE, 0.6, 9)),
    ((_O.SOLARIZE, 0.6, 5), (_O.AUTO_CONTRAST, 0.6, 0)),
    ((_O.EQUALIZE, 0.8, 0), (_O.EQUALIZE, 0.6, 0)),
    ((_O.POSTERIZE, 0.6, 7), (_O.POSTERIZE, 0.6, 6)),
    ((_O.EQUALIZE, 0.4, 0), (_O.SOLARIZE, 0.2, 4)),
    ((_O.EQUALIZE, 0.4, 0), (_O.ROTATE, 0.8, 8)),
    ((_O.SOLARIZE, 0.6, 3), (_O.EQUALIZE, 0.6, 0)),
    ((_O.POSTERIZE, 0.8, 5), (_O.EQUALIZE, 1.0, 0)),
    ((_O.ROTATE, 0.2, 3), (_O.SOLARIZE, 0.6, 8)),
    ((_O.EQUALIZE, 0.6, 0), (_O.POSTERIZE, 0.4, 6)),
    ((_O.ROTATE, 0.8, 8), (_O.COLOR, 0.4, 0)),
    ((_O.ROTATE, 0.4, 9), (_O.EQUALIZE, 0.6, 0)),
    ((_O.EQUALIZE, 0.0, 0), (_O.EQUALIZE, 0.8, 0)),
    ((_O.INVERT, 0.6, 0), (_O.EQUALIZE, 1.0, 0)),
    ((_O.COLOR, 0.6, 4), (_O.CONTRAST, 1.0, 8)),
    ((_O.ROTATE, 0.8, 8), (_O.COLOR, 1.0, 2)),
    ((_O.COLOR, 0.8, 8), (_O.SOLARIZE, 0.8, 7)),
    ((_O.SHARPNESS, 0.4, 7), (_O.INVERT, 0.6, 0)),
    ((_O.SHEAR_X, 0.6, 5), (_O.EQUALIZE, 1.0, 0)),
    ((_O.COLOR, 0.4, 0), (_O.EQUALIZE, 0.6, 0)),
    ((_O.EQUALIZE, 0.4, 0), (_O.SOLARIZE, 0.2, 4)),
    ((_O.SOLARIZE, 0.6, 5), (_O.AUTO_CONTRAST, 0.6, 0)),
    ((_O.INVERT, 0.6, 0), (_O.EQUALIZE, 1.0, 0)),
    ((_O.COLOR, 0.6, 4), (_O.CONTRAST, 1.0, 8)),
    ((_O.EQUALIZE, 0.8, 0), (_O.EQUALIZE, 0.6, 0)),
)


class Scale(NamedTuple):
    """How a level 0..10 becomes a magnitude: start + slope * level / 10.

    Attributes:
        start: magnitude of level 0.
        slope: what level 10 adds.
        whole: the added part is cut to a whole number.
    """

    start: float
    slope: float
    whole: bool = False


ENHANCE = Scale(0.1, 1.8)
SHEAR = Scale(0.0, 0.3)
_TRANSLATE = Scale(0.0, 150 / 331)
# The ranges of the paper, read as FastReID reads them: the magnitude grows with the level, so that
# a higher level posterizes and solarizes less, and color and contrast always go one way. Another
# reading (torchvision) lets the strength grow with the level, to either side.
SCALES: Mapping[Operation, Scale] = MappingProxyType(
    {
        _O.SHEAR_X: SHEAR,
        _O.SHEAR_Y: SHEAR,
        _O.TRANSLATE_X: _TRANSLATE,
        _O.TRANSLATE_Y: _TRANSLATE,
        _O.ROTATE: Scale(0.0, 30.0),
        _O.COLOR: ENHANCE,
        _O.CONTRAST: ENHANCE,
        _O.SHARPNESS: ENHANCE,
        _O.BRIGHTNESS: ENHANCE,
        _O.POSTERIZE: Scale(4.0, 4.0, whole=True),
        _O.SOLARIZE: Scale(0.0, 256.0, whole=True),
    }
)


def magnitude_of(operation: Operation, level: int) -> float:
    """The magnitude of one of AutoAugment's levels; 0 for operations that have none."""
    if operation not in SCALES:
        return 0.0
    scale = SCALES[operation]
    added = scale.slope * (level / 10)
    return scale.start + (int(added) if scale.whole else added)


@dataclasses.dataclass(frozen=True)
class AutoAugment:
    """A policy and how often it is asked.

    FastReID's present versions ask it for a tenth of the pictures, always. Its first versions,
    LUPerson's copy among them, begin with every picture: each loading process counts the pictures
    that it has changed, and after n of them changes the next one with probability 1 - n / T, T the
    iterations of the run. Of the pictures that a process has seen, m, it has then changed about
    T (1 - exp(-m / T)), and the next with probability exp(-m / T); m / T is the share of the run
    that is done, times the pictures of a batch that fall to one process. Over a whole run with
    batches of 64 that is 12.5 % of the pictures for 8 processes on one GPU, 43 % for 32 on four.

    Attributes:
        probability: share of the pictures that get a pair of the policy, at the start of a run.
        images_per_process: pictures of a batch for each process that counts; 0: the share stays.
        policy: pairs, each equally likely; either operation of a pair is done with its probability.
        fill: red, green and blue of what comes in from outside.
    """

    probability: float = 1.0
    images_per_process: float = 0.0
    policy: tuple[tuple[Step, Step], ...] = IMAGENET
    fill: Color = (128.0, 128.0, 128.0)


def chance(law: AutoAugment, progress: Float[Array, "*s"] | float) -> Float[Array, "*s"]:
    """The probability that a picture gets a pair of the policy.

    Args:
        law: the policy.
        progress: share of the steps of the run that are done, 0..1.
    """
    progress = jnp.asarray(progress, jnp.float32)
    return law.probability * jnp.exp(-law.images_per_process * progress)


def random_policy(
    key: Key[Array, ""],
    image: Float[Array, "h w 3"],
    law: AutoAugment,
    progress: Float[Array, ""] | float = 0.0,
) -> Float[Array, "h w 3"]:
    """Applies a random pair of operations to a share of the pictures.

    Args:
        key: random key.
        image: values 0..255.
        law: the policy.
        progress: share of the steps of the run that are done, 0..1; for a share that falls.

    Returns:
        Whole levels 0..255 where a pair was drawn, else `image` itself.

    Source: Cubuk, Zoph, Mane, Vasudevan, Le, "AutoAugment: Learning Augmentation Policies from
        Data", 2019, arXiv:1805.09501. Pillow's bicubic filter, which FastReID draws for half of the
        warps, is left out: all are bilinear.
    """
    draws = jax.random.uniform(key, (6,))
    operations = np.array([[step[0] for step in pair] for pair in law.policy], np.int32)
    probabilities = np.array([[step[1] for step in pair] for pair in law.policy], np.float32)
    magnitudes = np.array(
        [[magnitude_of(step[0], step[2]) for step in pair] for pair in law.policy], np.float32
    )
    signed = np.isin(operations, list(SIGNED))
    chosen = draws[0] < chance(law, progress)
    pair = jnp.floor(draws[1] * len(law.policy)).astype(jnp.int32)
    done = chosen & (draws[2:4] < jnp.asarray(probabilities)[pair])
    sign = jnp.where(jnp.asarray(signed)[pair] & (draws[4:6] < 0.5), -1.0, 1.0)
    changed = apply_operations(
        image,
        jnp.where(done, jnp.asarray(operations)[pair], int(_O.IDENTITY)),
        sign * jnp.asarray(magnitudes)[pair],
        law.fill,
    )
    return jnp.where(chosen, changed, image)
