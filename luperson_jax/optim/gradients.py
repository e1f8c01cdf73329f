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
    """count: [] int32, steps so far."""

    count: Array


def clipped(max_norm: float, frozen: Tree, frozen_steps: int) -> optax.GradientTransformation:
    """Shrinks the whole gradient where its norm is above `max_norm`; stands before the optimizer.

    Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, as PyTorch's
    `clip_grad_norm_` computes it. A frozen leaf has no gradient there, so it is not in the norm.

    Args:
        max_norm: Euclidean norm over all leaves; 0 = as they are.
        frozen: tree of bools, True for the leaves that are frozen at first.
        frozen_steps: how many steps they are.
    """

    def init(params: Tree) -> ClippedState:
        del params
        return ClippedState(jnp.zeros((), jnp.int32))

    def update(
        updates: Tree, state: optax.OptState, params: Tree | None = None
    ) -> tuple[Tree, ClippedState]:
        del params
        assert isinstance(state, ClippedState)
        following = ClippedState(jnp.asarray(optax.safe_increment(state.count)))
        if not max_norm:
            return updates, following
        is_frozen = state.count < frozen_steps

        def square(gradient: Array, is_first_frozen: bool) -> Array:
            total = jnp.sum(jnp.square(gradient))
            return jnp.where(is_frozen, 0.0, total) if is_first_frozen else total

        squares = jax.tree.leaves(jax.tree.map(square, updates, frozen))
        norm = jnp.sqrt(jnp.sum(jnp.stack(squares)))
        factor = jnp.minimum(max_norm / (norm + NORM_MARGIN), 1.0)
        shrunk = jax.tree.map(lambda gradient: gradient * factor, updates)
        return shrunk, following

    return optax.GradientTransformation(init, update)
