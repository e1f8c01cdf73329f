"""Cluster Contrast: unsupervised re-identification with a memory of one vector a cluster.

Zuozhuo Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", ACCV 2022,
arXiv 2103.11568.

Every epoch begins with clusters of the features of all training images. Their means are the memory;
a batch of images of P clusters is contrasted with it, and moves it.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax import models
from luperson_jax.clustering import grouping
from luperson_jax.config import Recipe
from luperson_jax.losses import cluster_memory
from luperson_jax.structs import Batch, Sampler, TrainState, Tree
from luperson_jax.tasks import base, pseudo_labels
from luperson_jax.vectors import l2_normalize

IMAGES_PER_ROW = 4
"""Training images for each row of a memory whose capacity is not given."""
ROW_MULTIPLE = 64
"""So that devices can share the rows."""

MOVES = MappingProxyType(
    {"all": cluster_memory.move_memory, "hard": cluster_memory.move_memory_hard}
)
"""By the word of `task.update`."""


@dataclasses.dataclass(frozen=True)
class ClusterContrastOptions(pseudo_labels.ClusterOptions):
    """Settings of the group `task`."""

    name: ClassVar[str] = "cluster_contrast"
    temperature: float = 0.05
    momentum: float = 0.1  # share of itself that a row of the memory keeps
    update: Literal["all", "hard"] = "all"  # features that move it: each in turn, or the farthest
    capacity: int = 0  # most clusters; 0 = a quarter of the training images


@dataclasses.dataclass(frozen=True)
class ClusterContrast(base.Task):
    """`params` holds the network. `extra` holds `stats`, `labels` [N], `memory` [capacity, D], and
    `num_clusters` [], the rows of it that are in use."""

    Options = ClusterContrastOptions
    labelled = False
    sharded: ClassVar[Mapping[str, int]] = MappingProxyType({"memory": 0})

    capacity: int = 0

    @classmethod
    def build(
        cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0
    ) -> "ClusterContrast":
        """See `Task.build`, also for what it raises."""
        options = recipe.task
        base.check_nothing_frozen(recipe)
        pseudo_labels.check(options)
        check_memory(options)
        spec = base.describe_network(recipe, "reid")
        return cls(
            options,
            spec,
            base.build_network(recipe, spec),
            base.Views.build(recipe, steps_per_epoch),
            base.make_sampler(recipe),
            capacity=0 if table is None else _capacity(options.capacity, len(table)),
        )

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`. Random directions stand in the memory until there are clusters."""
        network_key, memory_key = jax.random.split(key)
        params, stats = init_network(self.network, network_key, self.views.plain(example))
        shape = (self.capacity, *params["neck"]["bn"]["scale"].shape)
        return params, {
            "stats": stats,
            "labels": jnp.full(len(table), -1, jnp.int32),
            "memory": l2_normalize(jax.random.normal(memory_key, shape, jnp.float32)),
            "num_clusters": jnp.full((), self.capacity, jnp.int32),
        }

    def encode(self, params: Tree, extra: Tree, inputs: Tree, step: jax.Array) -> tuple[Tree, Tree]:
        """Unit vectors [B, D] after the neck."""
        views = self.views.draw(inputs, step)
        (_, after), stats = models.apply(self.network, params, extra["stats"], views, train=True)
        return l2_normalize(after), {"stats": stats}

    def objective(
        self,
        params: Tree,
        extra: Tree,
        outputs: Tree,
        batch: Batch,
        key: jax.Array,
        step: jax.Array,
    ) -> base.Loss:
        """Contrast with the memory as it was before the batch, and the memory after it."""
        del params, key, step
        options, near = self.options, {"labels": batch.label, "mask": batch.mask}
        loss, metrics = cluster_memory.cluster_contrast(
            outputs,
            extra["memory"],
            num_clusters=extra["num_clusters"],
            temperature=options.temperature,
            **near,
        )
        move = MOVES[options.update]
        memory = move(extra["memory"], outputs, momentum=options.momentum, **near)
        return loss, ({**extra, "memory": memory}, {"loss": loss, **metrics})

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Unit vectors [B, D] after the neck."""
        images = self.views.plain(batch)
        (_, after), _ = models.apply(self.network, params, extra["stats"], images, train=False)
        return l2_normalize(after)

    def start_epoch(
        self, state: TrainState, table: Table, epoch: int, embed_all: base.EmbedAll
    ) -> tuple[Tree, dict[str, float]]:
        """See `Task.start_epoch`: clusters and their means.

        Raises:
            InputError: fewer than two clusters, or more than the memory has rows.
        """
        del epoch
        features, extra = embed_all(state, table).features, state.extra
        found = grouping.group(features, self.options.grouping)
        pseudo_labels.check_found(found.labels, self.options)
        number = int(found.labels.max()) + 1
        if number > self.capacity:
            raise InputError(
                f"the clustering found {number} clusters, and the memory has rows for "
                f"{self.capacity} (task.capacity={self.options.capacity}): raise task.capacity in "
                "another workdir, where train.init_from may name this one"
            )
        figures = pseudo_labels.figures(found, found.labels, extra["labels"], table)
        memory = grouping.centers(features, found.labels, self.capacity)
        begun = {"labels": found.labels.astype(np.int32), "memory": memory}
        return {**extra, **begun, "num_clusters": np.int32(number)}, figures

    def plan(self, extra: Tree, table: Table) -> tuple[Table, Sampler]:
        """See `Task.plan`: clusters are the identities, and outliers have none."""
        return pseudo_labels.labelled(table, extra["labels"]), self.sampler


def init_network(network: Any, key: jax.Array, images: jax.Array) -> tuple[Tree, Tree]:
    """`models.init` with a scale of the neck that starts at 1, as the authors of clustering methods
    have it."""
    params, stats = models.init(network, key, images)
    neck = params["neck"]["bn"]
    scale = {**neck, "scale": jnp.ones_like(neck["scale"])}
    return {**params, "neck": {**params["neck"], "bn": scale}}, stats


def check_memory(options: ClusterContrastOptions) -> None:
    """Raises InputError where the settings of the memory cannot be meant."""
    if options.temperature <= 0 or not 0 <= options.momentum <= 1:
        raise InputError(
            f"task.temperature={options.temperature} must be above 0 and "
            f"task.momentum={options.momentum} from 0 to 1"
        )
    if options.capacity < 0:
        raise InputError(f"task.capacity={options.capacity} must not be negative")


def _capacity(given: int, num_images: int) -> int:
    least = max(given or num_images // IMAGES_PER_ROW, 2)
    return least if given else -(-least // ROW_MULTIPLE) * ROW_MULTIPLE
