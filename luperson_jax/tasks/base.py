"""What a method is: functions over nested dicts of arrays.

    init(key, example, table)                    -> params, extra
    inputs(batch, key)                           -> what the network is to see of each image
    encode(params, extra, inputs, step)          -> outputs of each image, parts of extra'
    objective(params, extra, outputs, batch, key, step) -> scalar, (extra', metrics)
    embed(params, extra, batch)                  -> features [B, D]
    start_epoch(state, table, epoch, embed_all)  -> extra, metrics
    plan(extra, table)                           -> table, sampler
    doubts(table)                                -> lines

`loss` is `objective` of `encode` of `inputs`. Only `encode` runs the network, and on any part of a
batch: so a batch that does not fit into memory is encoded in parts and compared as a whole.

Every task keeps the network's trunk at `params["backbone"]` and its BatchNorm statistics at
`extra["stats"]["backbone"]`, so that one run can start from the backbone of any other.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table import samplers
from data_pipeline.table.records import Table
from luperson_jax import models
from luperson_jax.augment import recipes
from luperson_jax.config import Recipe
from luperson_jax.sharding import constrain_to_batch
from luperson_jax.structs import Batch, EmbeddingSet, Sampler, TrainState, Tree

Loss = tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]
"""A scalar, the next `extra` and scalar metrics."""

EmbedAll = Callable[[TrainState, Table], EmbeddingSet]
"""Features of every row of a table with the network of a state."""


class Pictures(NamedTuple):
    """Pictures to draw one view of each.

    Attributes:
        images: [B, H, W, 3] uint8 canvases.
        size: [B, 2] int32 height and width of the originals.
        keys: [B] random keys.
        source: [B] int32 which of several data sets; None where there is one.
    """

    images: jax.Array
    size: jax.Array
    keys: jax.Array
    source: jax.Array | None = None

    @classmethod
    def of(cls, batch: Batch, key: jax.Array) -> "Pictures":
        """Those of a batch; an image's key depends on its place in the batch."""
        keys = recipes.sample_keys(key, len(batch.images))
        return cls(batch.images, batch.size, keys, batch.source)

    def take(self, rows: jax.Array) -> "Pictures":
        """The given rows, cut over the devices as the batch is."""
        images, size = (constrain_to_batch(leaf[rows]) for leaf in (self.images, self.size))
        source = None if self.source is None else self.source[rows]
        return Pictures(images, size, self.keys[rows], source)


@dataclasses.dataclass(frozen=True)
class Views:
    """How the device turns a batch into what the network sees. `pixels` has the statistics of each
    data set that a batch may hold pictures of, or one for all."""

    law: recipes.ViewLaw
    size: tuple[int, int]
    pixels: tuple[recipes.Statistics, ...]
    total_steps: int = 1

    @classmethod
    def build(cls, recipe: Recipe, steps_per_epoch: int) -> "Views":
        """The views that a recipe asks for; 0 steps where nothing is trained."""
        pixels = recipes.statistics_of_each(recipe.augment.statistics)
        law, size = recipes.recipe(recipe.augment.recipe), recipe.data.size
        return cls(law, size, pixels, max(recipe.train.epochs * steps_per_epoch, 1))

    def draw(self, pictures: Pictures, step: jax.Array) -> jax.Array:
        """One random view of every image, as of a step: [B, h, w, 3] float32, normalised."""
        progress = jnp.asarray(step, jnp.float32) / self.total_steps
        return recipes.apply(
            self.law,
            pictures.keys,
            pictures.images,
            pictures.size,
            self.size,
            *self._pixels_of(pictures.source),
            progress,
        )

    def plain(self, batch: Batch) -> jax.Array:
        """The images as evaluation sees them: [B, h, w, 3] float32, normalised."""
        return recipes.prepare(batch.images, self.size, *self._pixels_of(batch.source))

    def _pixels_of(self, source: jax.Array | None) -> tuple[Any, Any]:
        """Mean and deviation: of all pictures, or those of each by its data set."""
        if source is None or len(self.pixels) == 1:
            return self.pixels[0]
        mean, std = (jnp.array(colors, jnp.float32) for colors in zip(*self.pixels, strict=True))
        return mean[source], std[source]


class Embedder(Protocol):
    """What computes features: every task, and a backbone alone. To be hashed, for `jax.jit`."""

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Features [B, D] float32 for evaluation, clustering and search. Pure."""
        ...


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A method with its hyper-parameters and parts. Methods are final; nothing is stored."""

    Options: ClassVar[type]
    labelled: ClassVar[bool]
    sharded: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """What is cut over the devices, see `sharding.placed`: classifiers and memories with many
    rows."""

    options: Any
    spec: models.NetworkSpec
    network: Any
    views: Views
    sampler: Sampler = dataclasses.field(compare=False)  # tasks of one program differ in it

    @classmethod
    @abc.abstractmethod
    def build(cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0) -> "Task":
        """The task of a recipe on a training table; without one it only embeds.

        Raises:
            InputError: settings that do not fit each other or the table.
        """

    @abc.abstractmethod
    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """Fresh parameters and everything else that the task keeps. Leaves are never shared."""

    def inputs(self, batch: Batch, key: jax.Array) -> Tree:
        """What `encode` takes: leaves [B, ...], an image's in its row. One view by default."""
        return Pictures.of(batch, key)

    @abc.abstractmethod
    def encode(self, params: Tree, extra: Tree, inputs: Tree, step: jax.Array) -> tuple[Tree, Tree]:
        """Runs the network on some rows of `inputs`, whole groups of `bn_group_size`. Pure.

        Returns:
            outputs: leaves [B, ...], in the rows of `inputs`.
            moved: entries of `extra` that only the network moves, such as `stats`: float averages
                over the groups, so that those of parts of a batch have a mean.
        """

    @abc.abstractmethod
    def objective(
        self,
        params: Tree,
        extra: Tree,
        outputs: Tree,
        batch: Batch,
        key: jax.Array,
        step: jax.Array,
    ) -> Loss:
        """The scalar to minimise, the task's next `extra` and scalar metrics. Pure.

        `extra` holds what `encode` has moved; `key` is that of `inputs`.
        """

    def loss(
        self, params: Tree, extra: Tree, batch: Batch, key: jax.Array, step: jax.Array
    ) -> Loss:
        """`objective` of the whole batch, encoded at once."""
        outputs, moved = self.encode(params, extra, self.inputs(batch, key), step)
        return self.objective(params, {**extra, **moved}, outputs, batch, key, step)

    @abc.abstractmethod
    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Features [B, D] float32 for evaluation, clustering and search. Pure."""

    def start_epoch(
        self, state: TrainState, table: Table, epoch: int, embed_all: EmbedAll
    ) -> tuple[Tree, dict[str, float]]:
        """What an epoch begins with: clusters, memories, pseudo labels. Runs on the host at the
        boundary of an epoch alone; a run that resumes inside one has its result in the checkpoint.

        Returns:
            `extra`, with arrays of the same shapes (what grows has a fixed capacity and a mask),
            and named numbers, `group/name`, to be logged.
        """
        del table, epoch, embed_all
        return state.extra, {}

    def doubts(self, table: Table) -> list[str]:
        """Settings that fit the training table badly and may be meant: lines, said at each start
        of a run."""
        del table
        return []

    def plan(self, extra: Tree, table: Table) -> tuple[Table, Sampler]:
        """What an epoch trains on: a table with the rows of `table`, whose identities may be
        pseudo labels from `extra`, and the sampler of its batches. Pure, on the host."""
        del extra
        return table, self.sampler


def make_sampler(recipe: Recipe) -> Sampler:
    """The sampler that `data.sampler` names, with this run's batch and seed."""
    data, seed = recipe.data, recipe.train.seed
    if data.weights:
        return functools.partial(_call, samplers.mixed, (data.batch_size, data.weights), seed)
    single = {"shuffled": samplers.shuffled, "tracklets": samplers.of_tracklets}
    if data.sampler in single:
        return functools.partial(_call, single[data.sampler], (data.batch_size,), seed)
    draw = {"pk": samplers.pk, "pk_camera": samplers.pk_camera, "pk_across": samplers.pk_across}
    numbers = (data.batch_size, data.num_instances)
    sampler = functools.partial(_call, draw[data.sampler], numbers, seed)
    if not (data.strided_groups and recipe.model.bn_group_size):
        return sampler
    return functools.partial(_strided, sampler, data.batch_size // recipe.model.bn_group_size)


def _call(
    draw: Callable[..., Any],
    numbers: tuple[Any, ...],
    seed: int,
    table: Table,
    epoch: int,
    num_steps: int,
) -> np.ndarray:
    return draw(table, *numbers, seed, epoch, num_steps)


def _strided(
    sampler: Sampler, num_groups: int, table: Table, epoch: int, num_steps: int
) -> np.ndarray:
    """The rows of a sampler, so that a BatchNorm group holds every `num_groups`-th of a batch."""
    rows = sampler(table, epoch, num_steps)
    return rows.reshape(len(rows), -1, num_groups).swapaxes(1, 2).reshape(rows.shape)


def check_identities(recipe: Recipe, table: Table | None) -> None:
    """Raises InputError where a table has too few identities to tell apart."""
    if table is None:
        return
    assert table.pid.min() >= 0, "rows without an identity"
    if table.num_ids < 2:
        raise InputError(
            f"training with identities needs at least 2 of them, the table of "
            f"{recipe.data.dataset} at {recipe.data.root!r} has {table.num_ids}"
        )


def check_nothing_frozen(recipe: Recipe) -> None:
    """Raises InputError where a pre-training is asked to hold parts of the network still."""
    if recipe.optim.freeze_epochs or recipe.optim.freeze_steps:
        raise InputError(
            "optim.freeze_epochs and optim.freeze_steps are for fine-tuning; set them to 0"
        )


def describe_network(recipe: Recipe, kind: models.Kind, **parts: Any) -> models.NetworkSpec:
    """The network that the group `model` describes, of a kind, with its other parts."""
    names = ("arch", "width", "stem", "ibn", "non_local", "last_stride", "strides", "pooling")
    shared = {name: getattr(recipe.model, name) for name in names}
    return models.NetworkSpec(kind, **shared, **parts)


def build_network(recipe: Recipe, spec: models.NetworkSpec) -> Any:
    """The module of a network, as the recipe trains it."""
    return spec.build(
        bn_group_size=recipe.model.bn_group_size,
        bn_momentum=recipe.model.bn_momentum,
        compute_dtype=recipe.model.compute_dtype,
    )
