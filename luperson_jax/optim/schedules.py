"""Learning-rate schedules, exactly as the published PyTorch recipes step them.

A schedule maps the number of finished steps (the optimizer's counter, from 0) to a learning rate.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def _num_passed(milestones: Sequence[int], position: jax.typing.ArrayLike) -> Float[Array, ""]:
    """How many milestones are reached; a milestone counts from its own position on."""
    passed = jnp.asarray(tuple(milestones), jnp.int32) <= jnp.asarray(position, jnp.int32)
    return jnp.sum(passed, dtype=jnp.float32)


def _per_epoch(
    base: float,
    peak: float,
    num_epochs: int,
    steps_per_epoch: int,
    warmup_epochs: int,
    decay: Callable[[int], float],
) -> optax.Schedule:
    """The rate of each epoch, worked out beforehand; that of the last one holds ever after."""
    assert steps_per_epoch >= 1
    rates = [
        base + (peak - base) * epoch / warmup_epochs
        if epoch < warmup_epochs
        else peak * decay(epoch)
        for epoch in range(num_epochs)
    ]

    def schedule(count: jax.typing.ArrayLike) -> Float[Array, "..."]:
        epoch = jnp.minimum(jnp.asarray(count) // steps_per_epoch, num_epochs - 1)
        return jnp.asarray(rates, jnp.float32)[epoch]

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

    def decay(epoch: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * epoch / epochs))

    peak = base * peak_multiplier
    return _per_epoch(base, peak, epochs + 1, steps_per_epoch, warmup_epochs, decay)


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

    def decay(epoch: int) -> float:
        return gamma ** sum(milestone <= epoch for milestone in milestones)

    peak, num_epochs = base * peak_multiplier, max((*milestones, warmup_epochs)) + 1
    return _per_epoch(base, peak, num_epochs, steps_per_epoch, warmup_epochs, decay)


def held_from(schedule: optax.Schedule, step: int) -> optax.Schedule:
    """A schedule that stands still from a step on, at the rate of the step before it.

    LUPerson-NL's LARS loses its schedule where a run is resumed: it goes on with the rate that the
    checkpoint was saved with.
    """
    return lambda count: schedule(jnp.minimum(jnp.asarray(count), step - 1))


def _warmup(count: Float[Array, "..."], steps: int, factor: float) -> Float[Array, "..."]:
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

    def schedule(count: jax.typing.ArrayLike) -> Float[Array, "..."]:
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
    every: int = 1,
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
        every: the cosine takes the value of each so many-th step and keeps it to the next.

    Returns:
        The schedule; `final` after `total_steps`.
    """
    assert warmup_steps <= flat_until < total_steps

    def schedule(count: jax.typing.ArrayLike) -> Float[Array, "..."]:
        step = jnp.asarray(count, jnp.float32)
        whole = (jnp.asarray(count) // every * every).astype(jnp.float32)
        progress = jnp.clip((whole - flat_until) / (total_steps - flat_until), 0.0, 1.0)
        cosine = final + (base - final) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return cosine * _warmup(step, warmup_steps, warmup_factor)

    return schedule
