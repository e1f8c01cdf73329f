"""Learning-rate schedules and optimizers, exactly as the published PyTorch recipes step them.

A schedule maps the number of finished steps (the optimizer's counter, from 0) to a learning rate.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from luperson_jax.config import OptimConfig
from luperson_jax.structs import Tree
from luperson_jax.trees import map_with_path, match_paths, path_names

Rate = float | optax.Schedule


def _num_passed(milestones: Sequence[int], position: jax.typing.ArrayLike) -> Float[Array, ""]:
    """How many milestones are reached; a milestone counts from its own position on."""
    passed = jnp.asarray(tuple(milestones), jnp.int32) <= jnp.asarray(position, jnp.int32)
    return jnp.sum(passed, dtype=jnp.float32)


def _per_epoch(
    base: float,
    peak_multiplier: float,
    steps_per_epoch: int,
    warmup_epochs: int,
    decay: Callable[[Float[Array, ""]], Float[Array, ""]],
) -> optax.Schedule:
    assert steps_per_epoch >= 1
    peak = base * peak_multiplier

    def schedule(count: jax.typing.ArrayLike) -> Float[Array, ""]:
        epoch = (jnp.asarray(count) // steps_per_epoch).astype(jnp.float32)
        warming = base + (peak - base) * epoch / max(warmup_epochs, 1)
        return jnp.where(epoch < warmup_epochs, warming, peak * decay(epoch))

    return schedule


def cosine_per_epoch(
    base: float,
    epochs: int,
    steps_per_epoch: int,
    *,
    warmup_epochs: int = 0,
    peak_multiplier: float = 1.0,
) -> optax.Schedule:
    """LUPerson's cosine: constant within an epoch.

    In epoch e: base + (L - base) e / warmup_epochs while e < warmup_epochs, then
    L (1 + cos(pi e / epochs)) / 2, where L = base * peak_multiplier. The cosine is counted from
    epoch 0, not from the end of the warm-up, so there is a small step down between the two; and
    the warm-up starts at `base`, so it falls where the multiplier is below 1. Both are as
    published (Fu et al., "Unsupervised Pre-training for Person Re-identification", 2021, and its
    code).

    Args:
        base: the rate of epoch 0 under a warm-up.
        epochs: length of the run.
        steps_per_epoch: steps in one epoch.
        warmup_epochs: 0 for none.
        peak_multiplier: batch / 256 for LARS, 1 for SGD.

    Returns:
        The schedule; 0 after the last epoch.
    """

    def decay(epoch: Float[Array, ""]) -> Float[Array, ""]:
        return 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(epoch, epochs) / epochs))

    return _per_epoch(base, peak_multiplier, steps_per_epoch, warmup_epochs, decay)


def step_per_epoch(
    base: float,
    milestones: Sequence[int],
    gamma: float,
    steps_per_epoch: int,
    *,
    warmup_epochs: int = 0,
    peak_multiplier: float = 1.0,
) -> optax.Schedule:
    """LUPerson's step schedule: times gamma from the start of every milestone epoch on.

    Args:
        base: the rate of epoch 0.
        milestones: epochs.
        gamma: factor at each of them.
        steps_per_epoch: steps in one epoch.
        warmup_epochs: as in `cosine_per_epoch`.
        peak_multiplier: as in `cosine_per_epoch`.
    """

    def decay(epoch: Float[Array, ""]) -> Float[Array, ""]:
        return gamma ** _num_passed(milestones, epoch)

    return _per_epoch(base, peak_multiplier, steps_per_epoch, warmup_epochs, decay)


def _warmup(count: Float[Array, ""], steps: int, factor: float) -> Float[Array, ""]:
    """From `factor` at step 0 on a straight line to 1 at step `steps`."""
    if steps == 0:
        return jnp.ones_like(count)
    return factor + (1 - factor) * jnp.minimum(count / steps, 1.0)


def warmup_multistep(
    base: float,
    milestones: Sequence[int],
    gamma: float,
    warmup_steps: int = 0,
    warmup_factor: float = 0.01,
) -> optax.Schedule:
    """BoT's schedule (Luo et al., 2019): linear warm-up by step, then times gamma at milestones.

    Args:
        base: the rate after the warm-up.
        milestones: steps, counted from the start of the run and not from the end of the warm-up.
        gamma: factor at each of them.
        warmup_steps: 0 for none.
        warmup_factor: share of the base at step 0.
    """

    def schedule(count: jax.typing.ArrayLike) -> Float[Array, ""]:
        warmup = _warmup(jnp.asarray(count, jnp.float32), warmup_steps, warmup_factor)
        return base * warmup * gamma ** _num_passed(milestones, count)

    return schedule


def flat_cosine(
    base: float,
    *,
    flat_until: int,
    total_steps: int,
    final: float,
    warmup_steps: int = 0,
    warmup_factor: float = 0.01,
) -> optax.Schedule:
    """The schedule of SBS and of LUPerson's MGN: warm-up, flat, then a cosine to `final`.

    He et al., "FastReID: A Pytorch Toolbox for General Instance Re-identification", 2020.

    Args:
        base: the flat rate.
        flat_until: step at which the cosine starts.
        total_steps: step at which it reaches `final`; more than `flat_until`.
        final: the last rate.
        warmup_steps: linear by step; at most `flat_until`.
        warmup_factor: share of the base at step 0.

    Returns:
        The schedule; `final` after `total_steps`.
    """
    assert warmup_steps <= flat_until < total_steps

    def schedule(count: jax.typing.ArrayLike) -> Float[Array, ""]:
        step = jnp.asarray(count, jnp.float32)
        progress = jnp.clip((step - flat_until) / (total_steps - flat_until), 0.0, 1.0)
        cosine = final + (base - final) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return cosine * _warmup(step, warmup_steps, warmup_factor)

    return schedule


def sgd(
    rate: Rate, *, momentum: float = 0.9, weight_decay: float = 0.0, nesterov: bool = False
) -> optax.GradientTransformation:
    """SGD as in PyTorch.

    The decay is added to the gradient before the momentum, on every leaf, and the rate multiplies
    the momentum buffer instead of what enters it; the two differ when the rate changes.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum, nesterov),
        optax.scale_by_learning_rate(rate),
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
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Adam as in PyTorch, with coupled decay.

    The decay is added to the gradient and goes through the moments (L2 regularization), which is
    what re-identification recipes were tuned with; AdamW (`optax.adamw`) is another algorithm.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
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


def per_path_multiplier(
    tree: Tree, rules: Sequence[tuple[str, float]]
) -> optax.GradientTransformation:
    """Scales the learning rate of some leaves; stands after the optimizer in a chain.

    Args:
        tree: the parameters, to check the rules against.
        rules: pairs of a regular expression for paths and a factor. A leaf takes the product of
            the factors of all rules that match it.

    Raises:
        InputError: a rule matches no leaf.
    """
    factors = dict.fromkeys(path_names(tree), 1.0)
    for pattern, factor in rules:
        for path, hit in zip(factors, jax.tree.leaves(match_paths(tree, pattern)), strict=True):
            factors[path] *= factor if hit else 1.0
    return optax.stateless(
        lambda updates, _: map_with_path(lambda path, update: update * factors[path], updates)
    )


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


def build(
    options: OptimConfig, params: Tree, *, epochs: int, steps_per_epoch: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer and the schedule that the group `optim` describes.

    Args:
        options: the group.
        params: the parameters, or their shapes; rules by path are checked against them.
        epochs: length of the run.
        steps_per_epoch: steps in one epoch.

    Raises:
        InputError: a freezing rule that matches nothing.
    """
    schedule = _build_schedule(options, epochs, steps_per_epoch)
    make = functools.partial(adam, weight_decay=options.weight_decay)
    if options.optimizer == "sgd":
        make = functools.partial(sgd, momentum=options.momentum, weight_decay=options.weight_decay)
    optimizer = make(schedule)
    if options.freeze_backbone_epochs:
        steps = options.freeze_backbone_epochs * steps_per_epoch
        optimizer = frozen_until(make, schedule, params, "^backbone/", steps)
    if options.bias_lr_multiplier != 1.0:
        faster = per_path_multiplier(params, (("bias$", options.bias_lr_multiplier),))
        optimizer = optax.chain(optimizer, faster)
    return optimizer, schedule


def _build_schedule(options: OptimConfig, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    if options.schedule == "warmup_multistep":
        milestones = [epoch * steps_per_epoch for epoch in options.milestones]
        warmup_steps = options.warmup_epochs * steps_per_epoch
        return warmup_multistep(
            options.lr, milestones, options.gamma, warmup_steps, options.warmup_factor
        )
    if options.schedule == "step_per_epoch":
        return step_per_epoch(
            options.lr,
            options.milestones,
            options.gamma,
            steps_per_epoch,
            warmup_epochs=options.warmup_epochs,
        )
    return cosine_per_epoch(
        options.lr, epochs, steps_per_epoch, warmup_epochs=options.warmup_epochs
    )
