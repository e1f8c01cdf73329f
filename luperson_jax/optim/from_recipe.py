"""The optimizer and the schedule of a recipe."""

import functools
from collections.abc import Callable

import jax
import optax

from data_pipeline.errors import InputError
from luperson_jax.config import OptimConfig
from luperson_jax.optim import gradients, optimizers, parts, schedules
from luperson_jax.structs import Tree
from luperson_jax.trees import match_paths


def build(
    options: OptimConfig, params: Tree, *, epochs: int, steps_per_epoch: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer and the schedule that the group `optim` describes.

    Args:
        options: the group.
        params: the parameters, or their shapes; rules by path are checked against them.
        epochs: length of the run.
        steps_per_epoch: steps in one epoch.

    Returns:
        the transformation, and step -> learning rate.

    Raises:
        InputError: a rule for parts of the parameters that matches nothing.
    """
    schedule = _make_schedule(options, epochs, steps_per_epoch)
    if options.hold_lr_from_epoch:
        schedule = schedules.held_from(schedule, options.hold_lr_from_epoch * steps_per_epoch)
    make = _make_optimizer(options, params)
    frozen_steps = parts.num_frozen_steps(options, steps_per_epoch)
    frozen = jax.tree.map(lambda _: False, params)
    optimizer = make(schedule)
    if frozen_steps:
        for pattern in options.freeze:
            match_paths(params, pattern)  # an error where one of them matches nothing
        pattern = "|".join(f"(?:{one})" for one in options.freeze)
        frozen = match_paths(params, pattern)
        optimizer = parts.frozen_until(make, schedule, params, pattern, frozen_steps)
    # Each always, so that the state has one form: a run may go on with other rules.
    clipped = gradients.clipped(options.clip_norm, frozen, frozen_steps)
    scaled = parts.per_path_multiplier(params, options.lr_factors)
    return optax.chain(clipped, optimizer, scaled), schedule


def _make_optimizer(
    options: OptimConfig, params: Tree
) -> Callable[[optax.Schedule], optax.GradientTransformation]:
    decay = options.weight_decay
    factors = parts.factors(params, options.decay_factors)
    decays = {path: decay * factor for path, factor in factors.items()}
    if options.optimizer == "adam":
        return functools.partial(optimizers.adam, weight_decay=decays)
    shared = {"momentum": options.momentum, "clip_value": options.clip_value}
    if options.optimizer == "sgd":
        own = {"nesterov": options.nesterov, "weight_decay": decays}
        return functools.partial(optimizers.sgd, **shared, **own)
    if options.optimizer == "rmsprop":
        return functools.partial(optimizers.rmsprop, **shared, weight_decay=decays)
    match_paths(params, options.lars_excluded)  # an error here and not in the first step
    return functools.partial(
        optimizers.lars,
        excluded=options.lars_excluded,
        momentum=options.momentum,
        weight_decay=decay,
        decay_twice=options.lars_decay_twice,
    )


def _make_schedule(options: OptimConfig, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    warmup_steps = options.warmup_steps or options.warmup_epochs * steps_per_epoch
    _check_warmup(options, warmup_steps, epochs, steps_per_epoch)
    match options.schedule:
        case "warmup_multistep" | "multistep_after_warmup":
            shift = 0
            if options.schedule == "multistep_after_warmup":
                shift = max(-(-warmup_steps // steps_per_epoch) - 1, 0)
            milestones = [(epoch + shift) * steps_per_epoch for epoch in options.milestones]
            return schedules.warmup_multistep(
                options.lr, milestones, options.gamma, warmup_steps, options.warmup_factor
            )
        case "flat_cosine" | "flat_cosine_per_epoch":
            per_epoch = options.schedule == "flat_cosine_per_epoch"
            return schedules.flat_cosine(
                options.lr,
                flat_until=options.flat_epochs * steps_per_epoch,
                total_steps=epochs * steps_per_epoch,
                final=options.final_lr,
                warmup_steps=warmup_steps,
                warmup_factor=options.warmup_factor,
                every=steps_per_epoch if per_epoch else 1,
            )
        case "step_per_epoch":
            return schedules.step_per_epoch(
                options.lr,
                options.milestones,
                options.gamma,
                steps_per_epoch,
                warmup_epochs=options.warmup_epochs,
                peak_multiplier=options.peak_multiplier,
            )
        case "cosine_per_epoch":
            return schedules.cosine_per_epoch(
                options.lr,
                epochs,
                steps_per_epoch,
                warmup_epochs=options.warmup_epochs,
                peak_multiplier=options.peak_multiplier,
            )


def _check_warmup(
    options: OptimConfig, warmup_steps: int, epochs: int, steps_per_epoch: int
) -> None:
    """A warm-up in steps may be longer than an epoch of few images lets one think."""
    if not options.warmup_steps:
        return
    flat = options.schedule in ("flat_cosine", "flat_cosine_per_epoch")
    most = (options.flat_epochs if flat else epochs) * steps_per_epoch
    if warmup_steps > most:
        until = "until the cosine begins (optim.flat_epochs)" if flat else "in the run"
        raise InputError(
            f"optim.warmup_steps={warmup_steps} is more than the {most} steps {until}, at "
            f"{steps_per_epoch} steps an epoch; shorten the warm-up or train longer"
        )
