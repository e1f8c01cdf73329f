"""Optimizers, exactly as PyTorch and the published recipes step them."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from luperson_jax.structs import Tree
from luperson_jax.trees import map_with_path, match_paths

Rate = float | optax.Schedule
Decay = float | Mapping[str, float]
"""Of all leaves, or of each by its path."""


def _decayed(decay: Decay, largest: float = 0.0) -> optax.GradientTransformation:
    """Adds the decayed parameters to the gradient, as PyTorch does; then cuts its entries to
    [-largest, largest], where that is not 0."""

    def add(path: str, update: Array, parameter: Array) -> Array:
        whole = update + (decay[path] if isinstance(decay, Mapping) else decay) * parameter
        return jnp.clip(whole, -largest, largest) if largest else whole

    return optax.stateless(lambda updates, params: map_with_path(add, updates, params))


def sgd(
    rate: Rate,
    *,
    momentum: float = 0.9,
    weight_decay: Decay = 0.0,
    nesterov: bool = False,
    clip_value: float = 0.0,
) -> optax.GradientTransformation:
    """SGD as in PyTorch.

    The decay is added to the gradient before the momentum, on every leaf, and the rate multiplies
    the momentum buffer instead of what enters it; the two differ when the rate changes. Entries of
    the decayed gradient are cut to `clip_value`, where it is not 0.
    """
    return optax.chain(
        _decayed(weight_decay, clip_value),
        optax.trace(momentum, nesterov),
        optax.scale_by_learning_rate(rate),
    )


def rmsprop(
    rate: Rate, *, momentum: float = 0.9, weight_decay: Decay = 0.0, clip_value: float = 0.0
) -> optax.GradientTransformation:
    """RMSProp as in TensorFlow 1, with the constants of its image models.

    s <- 0.9 s + 0.1 g^2 from s = 1; m <- momentum m + rate g / sqrt(s + 1); p <- p - m. With an
    epsilon of 1 it soon acts like SGD. Decay and `clip_value` as of `sgd`.
    Source: T. Tieleman, G. Hinton, "Lecture 6.5: RMSProp", 2012.
    """
    return optax.chain(
        _decayed(weight_decay, clip_value),
        optax.scale_by_rms(decay=0.9, eps=1.0, initial_scale=1.0, eps_in_sqrt=True),
        optax.scale_by_learning_rate(rate),
        optax.trace(momentum),
    )


def _scale_by_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """`optax.scale_by_adam`, with 1 - b ** count taken without cancellation.

    In float32 the difference 1 - 0.999 is off by 1e-5, and so would be the first steps.
    """
    assert 0 < b1 < 1, f"b1 is {b1}"
    assert 0 < b2 < 1, f"b2 is {b2}"

    def update(
        updates: Tree, state: optax.OptState, params: Tree | None = None
    ) -> tuple[Tree, optax.ScaleByAdamState]:
        assert isinstance(state, optax.ScaleByAdamState)
        count = jnp.asarray(optax.safe_increment(state.count))
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        mu_weight, nu_weight = (
            -jnp.expm1(count.astype(jnp.float32) * math.log(decay)) for decay in (b1, b2)
        )
        directions = jax.tree.map(
            lambda m, v: m / mu_weight / (jnp.sqrt(v / nu_weight) + eps), mu, nu
        )
        return directions, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2, eps).init, update)


def adam(
    rate: Rate,
    *,
    weight_decay: Decay = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Adam as in PyTorch, with coupled decay.

    The decay is added to the gradient and goes through the moments (L2 regularization), which is
    what re-identification recipes were tuned with; AdamW (`optax.adamw`) is another algorithm.
    """
    return optax.chain(
        _decayed(weight_decay),
        _scale_by_adam(b1, b2, eps),
        optax.scale_by_learning_rate(rate),
    )


def _scale_by_lars(
    weight_decay: float, trust: float, eps: float, decay_twice: bool, excluded: str
) -> optax.GradientTransformation:
    def adapt(is_excluded: bool, update: Array, parameter: Array) -> Array:
        if is_excluded:
            return update
        gradient = update + weight_decay * parameter if decay_twice else update
        parameter_norm, gradient_norm = jnp.linalg.norm(parameter), jnp.linalg.norm(gradient)
        ratio = trust * parameter_norm / (gradient_norm + weight_decay * parameter_norm + eps)
        moving = (parameter_norm > 0) & (gradient_norm > 0)
        return (gradient + weight_decay * parameter) * jnp.where(moving, ratio, 1.0)

    def update(updates: Tree, params: Tree | None) -> Tree:
        assert params is not None, "LARS needs the parameters"
        return jax.tree.map(adapt, match_paths(params, excluded), updates, params)

    return optax.stateless(update)


def lars(
    rate: Rate,
    *,
    excluded: str,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    trust: float = 0.001,
    eps: float = 1e-8,
    decay_twice: bool = True,
) -> optax.GradientTransformation:
    """Layer-wise adaptive SGD (You et al., "Large Batch Training of Convolutional Networks", 2017).

    Every leaf's decayed gradient is scaled by trust |p| / (|g| + weight_decay |p| + eps) before the
    momentum; by 1 where either norm is 0.

    Args:
        rate: learning rate or schedule.
        excluded: regular expression for the paths of the leaves that are neither decayed nor
            scaled, usually normalization and biases.
        momentum: of the SGD behind it.
        weight_decay: see `decay_twice`.
        trust: the trust coefficient.
        eps: in the denominator.
        decay_twice: LUPerson's code adds the decay to the gradient once before and once after the
            norms are taken, so that its 1e-4 acts as 2e-4; False is the paper's rule.

    Returns:
        The transformation. Its `update` raises InputError where nothing is excluded.
    """
    return optax.chain(
        _scale_by_lars(weight_decay, trust, eps, decay_twice, excluded),
        optax.trace(momentum),
        optax.scale_by_learning_rate(rate),
    )
