"""Parts of the parameters that are treated apart: by other rates, or left alone at first."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool

from luperson_jax.config import OptimConfig
from luperson_jax.structs import Tree
from luperson_jax.trees import map_with_path, match_paths, path_names

HEADS = "^(classifier|neck|pool|head|[^/]+_head)/"
"""What follows the feature map, in any network: pooling, reduction, neck, projection, classifiers.
Not the extra normalization, which belongs to the feature map."""


def num_frozen_steps(options: OptimConfig, steps_per_epoch: int) -> int:
    """How many steps the parts in `optim.freeze` stand still.

    One more than `optim.freeze_epochs` have, because FastReID counted iterations from 0 and thawed
    behind the one numbered `freeze_iters`; `optim.freeze_steps` as they are, as it counts at
    present.
    """
    if options.freeze_epochs:
        return options.freeze_epochs * steps_per_epoch + 1
    return options.freeze_steps


def factors(tree: Tree, rules: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The factor of every leaf, by its path.

    Args:
        tree: the parameters.
        rules: pairs of a regular expression for paths and a factor. A leaf takes the product of
            the factors of all rules that match it.

    Raises:
        InputError: a rule matches no leaf.
    """
    found = dict.fromkeys(path_names(tree), 1.0)
    for pattern, factor in rules:
        for path, hit in zip(found, jax.tree.leaves(match_paths(tree, pattern)), strict=True):
            found[path] *= factor if hit else 1.0
    return found


def per_path_multiplier(
    tree: Tree, rules: Sequence[tuple[str, float]]
) -> optax.GradientTransformation:
    """Scales the learning rate of some leaves by `factors`; stands after the optimizer in a
    chain."""
    found = factors(tree, rules)

    def scale(path: str, update: Array) -> Array:
        return update if found[path] == 1.0 else update * found[path]

    return optax.stateless(lambda updates, _: map_with_path(scale, updates))


def frozen_until(
    make_optimizer: Callable[[optax.Schedule], optax.GradientTransformation],
    schedule: optax.Schedule,
    params: Tree,
    pattern: str,
    steps: int,
) -> optax.GradientTransformation:
    """An optimizer that leaves some parameters alone at first.

    While fewer than `steps` steps are finished, leaves that match keep their value, and their
    moments and their Adam counter do not move: PyTorch passes over a parameter without gradient
    altogether. So their bias correction starts when they thaw; their learning rate is that of
    everyone else. (Masking the updates alone would let decay and moments build up meanwhile.)

    Args:
        make_optimizer: schedule -> optimizer, e.g. `functools.partial(adam, weight_decay=5e-4)`.
        schedule: of the whole run.
        params: the parameters.
        pattern: regular expression for the paths to freeze.
        steps: how many steps they are frozen.

    Returns:
        The transformation for all parameters.

    Raises:
        InputError: the pattern matches no leaf.
    """
    labels = jax.tree.map(lambda hit: "frozen" if hit else "free", match_paths(params, pattern))

    def is_thawed(step: jax.typing.ArrayLike, **_: Any) -> Bool[Array, ""]:
        return jnp.asarray(step) >= steps

    # The inner counter of the frozen group starts at 0 when it thaws, and so does its schedule.
    thawed = make_optimizer(lambda count: schedule(count + steps))
    return optax.partition(
        {
            "free": make_optimizer(schedule),
            "frozen": optax.transforms.conditionally_mask(thawed, is_thawed),
        },
        labels,
    )
