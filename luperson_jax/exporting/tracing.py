"""A network as one function: from pictures as a program hands them over, to features."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luperson_jax import models
from luperson_jax.augment import recipes
from luperson_jax.augment.recipes import Statistics
from luperson_jax.exporting.conventions import Convention
from luperson_jax.exporting.graph import BATCH
from luperson_jax.serving.reid_model import ReidModel
from luperson_jax.vectors import l2_normalize


class Traced(NamedTuple):
    """A network to be written.

    Attributes:
        function: pictures [batch, ...] -> features [batch, D] float32 of unit length.
        example: shape and type of the pictures; the batch is the symbol `BATCH`.
    """

    function: Callable[[jax.Array], jax.Array]
    example: jax.ShapeDtypeStruct


def spec_of(model: ReidModel) -> models.NetworkSpec:
    """Which network it is."""
    return model.network.embedder.spec  # type: ignore[attr-defined]


def statistics_of(model: ReidModel) -> Statistics:
    """Mean and deviation of the pixels that its weights expect."""
    return recipes.statistics_of_each(model.network.recipe.augment.statistics)[0]


def trace(model: ReidModel, convention: Convention) -> Traced:
    """The network of a model in float32, with its weights inside, whatever device is here."""
    spec, wanted = spec_of(model), statistics_of(model)
    module = spec.build(compute_dtype="float32", form="convolution")
    state = model.network.state
    weights = (state.params, state.extra["stats"])
    params, stats = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), weights)

    def function(pictures: Any) -> jax.Array:
        images = convention.normalized(pictures, wanted)
        outputs, _ = models.apply(module, params, stats, images, train=False)
        return l2_normalize(spec.feature(outputs))

    (batch,) = jax.export.symbolic_shape(BATCH)
    shape = (batch, *convention.shape(model.size))
    return Traced(function, jax.ShapeDtypeStruct(shape, jnp.dtype(convention.type)))
