"""What a method is: four functions over nested dicts of arrays.

    init(key, example, table)               -> params, extra
    loss(params, extra, batch, key, step)   -> scalar, (extra', metrics)
    embed(params, extra, batch)             -> features [B, D]
    begin_epoch(state, table, epoch, embed_all) -> EpochPlan

Every task keeps the network's trunk at `params["backbone"]` and its BatchNorm statistics at
`extra["stats"]["backbone"]`, so that one run can start from the backbone of any other.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table import samplers
from data_pipeline.table.records import Table
from luperson_jax import models
from luperson_jax.augment import recipes
from luperson_jax.config import Recipe
from luperson_jax.structs import Batch, EmbeddingSet, EpochPlan, Sampler, TrainState, Tree

EmbedAll = Callable[[TrainState, Table], EmbeddingSet]
"""Features of every row of a table with the network of a state."""


@dataclasses.dataclass(frozen=True)
class Views:
    """How the device turns a batch into what the network sees."""

    recipe: recipes.Recipe
    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    total_steps: int = 1

    @classmethod
    def build(cls, recipe: Recipe, table: Table | None) -> "Views":
        """The views that a recipe asks for; `table` is what the run trains on, if it trains."""
        mean, std = recipes.statistics(recipe.augment.statistics)
        law, size = recipes.recipe(recipe.augment.recipe), recipe.data.size
        steps = recipe.train.epochs * (len(table or ()) // recipe.data.batch_size)
        return cls(law, size, mean, std, max(steps, 1))

    def draw(self, keys: jax.Array, batch: Batch, step: jax.Array) -> jax.Array:
        """One random view of every image, as of a step: [B, h, w, 3] float32, normalised."""
        progress = jnp.asarray(step, jnp.float32) / self.total_steps
        return recipes.apply(
            self.recipe,
            keys,
            batch.images[:, 0],
            batch.size,
            self.size,
            self.mean,
            self.std,
            progress,
        )

    def plain(self, batch: Batch) -> jax.Array:
        """The images as evaluation sees them: [B, h, w, 3] float32, normalised."""
        return recipes.prepare(batch.images[:, 0], self.size, self.mean, self.std)


class Embedder(Protocol):
    """What computes features: every task, and a backbone alone. To be hashed, for `jax.jit`."""

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Features [B, D] float32 for evaluation, clustering and search. Pure."""
        ...


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A method with its hyper-parameters and parts. Final subclasses only; nothing is stored."""

    Options: ClassVar[type]
    labelled: ClassVar[bool]

    options: Any
    network: Any
    views: Views
    sampler: Sampler

    @property
    def moves_with_every_step(self) -> tuple[str, ...]:
        """What `loss` moves besides BatchNorm statistics and what later losses depend on. It would
        move with each of the batches that `optim.accumulate_steps` takes for one."""
        return ()

    def check_accumulation(self, recipe: Recipe) -> None:
        """Raises InputError where several batches would not be one large batch for the task."""
        every, moved = recipe.optim.accumulate_steps, self.moves_with_every_step
        if every > 1 and moved:
            raise InputError(
                f"optim.accumulate_steps={every} with task.name={recipe.task.name!r}: "
                f"{' and '.join(moved)} would move with each of the {every} batches, and not once "
                "with every update as in one large batch; set optim.accumulate_steps=1 and the "
                "largest data.batch_size that fits"
            )

    @classmethod
    @abc.abstractmethod
    def build(cls, recipe: Recipe, table: Table | None) -> "Task":
        """The task of a recipe on a training table; None where it only embeds.

        Raises:
            InputError: settings that do not fit each other or the table.
        """

    @abc.abstractmethod
    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """Fresh parameters and everything else that the task keeps. Leaves are never shared."""

    @abc.abstractmethod
    def loss(
        self, params: Tree, extra: Tree, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
        """The scalar to minimise, the task's next `extra` and scalar metrics. Pure."""

    @abc.abstractmethod
    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Features [B, D] float32 for evaluation, clustering and search. Pure."""

    def begin_epoch(
        self, state: TrainState, table: Table, epoch: int, embed_all: EmbedAll
    ) -> EpochPlan:
        """What the epoch trains on. Runs on the host, at the start of an epoch and again where a
        run resumes inside one: a plan that depends on the weights is kept in `state.extra` and
        returned from there the second time."""
        del epoch, embed_all
        return EpochPlan(state, table, self.sampler)


def make_sampler(recipe: Recipe) -> Sampler:
    """The sampler that `data.sampler` names, with this run's batch and seed."""
    data, seed = recipe.data, recipe.train.seed
    if data.sampler == "shuffled":
        return functools.partial(_call, samplers.shuffled, (data.batch_size,), seed)
    draw = samplers.pk if data.sampler == "pk" else samplers.pk_camera
    sampler = functools.partial(_call, draw, (data.batch_size, data.num_instances), seed)
    if not (data.strided_groups and recipe.model.bn_group_size):
        return sampler
    return functools.partial(_strided, sampler, data.batch_size // recipe.model.bn_group_size)


def _call(draw: Callable[..., Any], numbers: tuple[int, ...], seed: int, table: Table, epoch: int):
    return draw(table, *numbers, seed, epoch)


def _strided(sampler: Sampler, num_groups: int, table: Table, epoch: int) -> np.ndarray:
    """The rows of a sampler, so that a BatchNorm group holds every `num_groups`-th of a batch."""
    rows = sampler(table, epoch)
    return rows.reshape(len(rows), -1, num_groups).swapaxes(1, 2).reshape(rows.shape)


def make_backbone(recipe: Recipe) -> models.ResNet:
    """The trunk that the group `model` describes."""
    model = recipe.model
    on_cpu = jax.default_backend() == "cpu"
    chosen = ("float32" if on_cpu else "bfloat16") if model.compute_dtype == "auto" else ""
    return models.resnet(
        model.arch,
        width=model.width,
        stem=model.stem,
        last_stride=model.last_stride,
        ibn=model.ibn,
        non_local=model.non_local,
        bn_group_size=model.bn_group_size,
        compute_dtype=chosen or model.compute_dtype,
    )
