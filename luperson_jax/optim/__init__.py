"""Schedules, optimizers and what a recipe says of parts of the parameters."""

from luperson_jax.optim.from_recipe import build
from luperson_jax.optim.gradients import clipped
from luperson_jax.optim.optimizers import adam, lars, rmsprop, sgd
from luperson_jax.optim.parts import (
    HEADS,
    frozen_until,
    num_frozen_steps,
    per_path_multiplier,
)
from luperson_jax.optim.schedules import (
    cosine_per_epoch,
    flat_cosine,
    step_per_epoch,
    warmup_multistep,
)

__all__ = [
    "HEADS",
    "adam",
    "build",
    "clipped",
    "cosine_per_epoch",
    "flat_cosine",
    "frozen_until",
    "lars",
    "num_frozen_steps",
    "per_path_multiplier",
    "rmsprop",
    "sgd",
    "step_per_epoch",
    "warmup_multistep",
]
