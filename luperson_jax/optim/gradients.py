"""What happens to gradients before the optimizer sees them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from luperson_jax.structs import Tree

NORM_MARGIN = 1e-6
"""PyTorch's `clip_grad_norm_` adds it to the norm."""


class ClippedState(NamedTuple):
    """count: [] int32, updates so far."""

    count: Array


class AccumulatedState(NamedTuple):
    """count: [] int32, gradients in `mean`; mean: of these; inner: state of the optimizer."""

    count: Array
    mean: Tree
    inner: optax.OptState


def clipped(max_norm: float, frozen: Tree, frozen_updates: int) -> optax.GradientTransformation:
    """Shrinks the whole gradient where its norm is above `max_norm`; stands before the optimizer.

    Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, as PyTorch's
    `clip_grad_norm_` computes it. A frozen leaf has no gradient there, so it is not in the norm.

    Args:
        max_norm: Euclidean norm over all leaves.
        frozen: tree of bools, True for the leaves that are frozen at first.
        frozen_updates: how many updates they are.
    """

    def init(params: Tree) -> ClippedState:
        del params
        return ClippedState(jnp.zeros((), jnp.int32))

    def update(
        updates: Tree, state: optax.OptState, params: Tree | None = None
    ) -> tuple[Tree, ClippedState]:
        del params
        assert isinstance(state, ClippedState)
        is_frozen = state.count < frozen_updates

        def square(gradient: Array, is_first_frozen: bool) -> Array:
            total = jnp.sum(jnp.square(gradient))
            return jnp.where(is_frozen, 0.0, total) if is_first_frozen else total

        squares = jax.tree.leaves(jax.tree.map(square, updates, frozen))
        norm = jnp.sqrt(jnp.sum(jnp.stack(squares)))
        factor = jnp.minimum(max_norm / (norm + NORM_MARGIN), 1.0)
        shrunk = jax.tree.map(lambda gradient: gradient * factor, updates)
        return shrunk, ClippedState(jnp.asarray(optax.safe_increment(state.count)))

    return optax.GradientTransformation(init, update)


def accumulated(
    optimizer: optax.GradientTransformation, num_steps: int
) -> optax.GradientTransformation:
    """Gives an optimizer the mean gradient of every `num_steps` steps as one update.

    Between updates the parameters stand still, and the optimizer does not run. (`optax.MultiSteps`
    runs it in every step, and fails under strict type promotion.)
    """

    def init(params: Tree) -> AccumulatedState:
        mean = jax.tree.map(jnp.zeros_like, params)
        return AccumulatedState(jnp.zeros((), jnp.int32), mean, optimizer.init(params))

    def update(
        updates: Tree, state: optax.OptState, params: Tree | None = None
    ) -> tuple[Tree, AccumulatedState]:
        assert isinstance(state, AccumulatedState)
        count = state.count + 1
        share = 1.0 / count.astype(jnp.float32)
        mean = jax.tree.map(lambda m, gradient: m + (gradient - m) * share, state.mean, updates)
        zeros = jax.tree.map(jnp.zeros_like, mean)

        def step() -> tuple[Tree, AccumulatedState]:
            moves, inner = optimizer.update(mean, state.inner, params)
            return moves, AccumulatedState(jnp.zeros_like(count), zeros, inner)

        def wait() -> tuple[Tree, AccumulatedState]:
            return zeros, AccumulatedState(count, mean, state.inner)

        return jax.lax.cond(count == num_steps, step, wait)

    return optax.GradientTransformation(init, update)
