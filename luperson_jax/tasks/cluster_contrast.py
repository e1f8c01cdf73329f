"""Cluster Contrast: unsupervised re-identification with a memory of one vector a cluster.

Zuozhuo Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", ACCV 2022,
arXiv 2103.11568.

Every epoch begins with clusters of the features of all training images. Their means are the memory;
a batch of images of P clusters is contrasted with it, and moves it.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax.clustering import grouping, infomap_modules
from luperson_jax.config import Recipe
from luperson_jax.losses import cluster_memory
from luperson_jax.structs import Batch, TrainState, Tree
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
    clustering: grouping.Method = "dbscan"
    resolution: float = 0.1  # of "communities": mean similarity of the pairs of one
    min_similarity: float = 0.5  # of "infomap": cosine of an edge
    num_clusters: int = 0  # of "average" and "kmeans"; 0 = a twentieth of the training images
    momentum: float = 0.1
    update: Literal["all", "hard"] = "all"  # features that move it: each in turn, or the farthest
    capacity: int = 0  # most clusters; 0 = a quarter of the training images
    units: pseudo_labels.UnitKind = "images"  # what is grouped; tracklets by their mean features

    @property
    def grouping(self) -> grouping.Grouping:
        """How images are grouped."""
        fields = dataclasses.fields(grouping.Grouping)
        own = {field.name: getattr(self, field.name) for field in fields if field.name != "method"}
        return grouping.Grouping(self.clustering, **own)


@dataclasses.dataclass(frozen=True)
class ClusterContrast(pseudo_labels.Clustered):
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
        parts = pseudo_labels.parts(recipe, steps_per_epoch)
        num_images = None if table is None else len(table)
        _check(recipe.task, num_images)
        if table is not None:
            pseudo_labels.Units.of(table, recipe.task.units)  # raises where there are none
        capacity = 0 if num_images is None else _capacity(recipe.task.capacity, num_images)
        return cls(*parts, capacity=capacity)

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`. Random directions stand in the memory until there are clusters."""
        network_key, memory_key = jax.random.split(key)
        params, stats = self.init_network(network_key, example)
        shape = (self.capacity, *params["neck"]["bn"]["scale"].shape)
        return params, {
            "stats": stats,
            "labels": jnp.full(len(table), -1, jnp.int32),
            "memory": l2_normalize(jax.random.normal(memory_key, shape, jnp.float32)),
            "num_clusters": jnp.full((), self.capacity, jnp.int32),
        }

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
            weights=extra.get("weights"),
            **near,
        )
        move = MOVES[options.update]
        memory = move(extra["memory"], outputs, momentum=options.momentum, **near)
        return loss, ({**extra, "memory": memory}, {"loss": loss, **metrics})

    def start_epoch(
        self, state: TrainState, table: Table, epoch: int, embed_all: base.EmbedAll
    ) -> tuple[Tree, dict[str, float]]:
        """See `Task.start_epoch`: clusters and their means.

        Raises:
            InputError: fewer than two clusters, or more than the memory has rows; no tracklets.
        """
        units = pseudo_labels.Units.of(table, self.options.units)
        of_images, extra = embed_all(state, table).features, state.extra
        features = units.pooled(of_images)
        found = self.grouped(features)
        pseudo_labels.check_found(found.labels, self.options)
        number = int(found.labels.max()) + 1
        if number > self.capacity:
            raise InputError(
                f"the clustering found {number} clusters, and the memory has rows for "
                f"{self.capacity} (task.capacity={self.options.capacity}): raise task.capacity in "
                "another workdir, where train.init_from may name this one"
            )
        labels, more, counted = self.refined(found, features, extra, units, epoch)
        before = np.asarray(extra["labels"])[units.first]
        figures = pseudo_labels.figures(found.pairs, labels, before, units.table)
        labels = units.spread(labels)
        memory = grouping.centers(of_images, labels, self.capacity)
        begun = {"labels": labels.astype(np.int32), "memory": memory, **more}
        return {**extra, **begun, "num_clusters": np.int32(number)}, figures | counted

    def grouped(self, features: np.ndarray) -> grouping.Clusters:
        """Clusters of all units by their features [units, D]."""
        return grouping.group(features, self.options.grouping)

    def refined(
        self,
        found: grouping.Clusters,
        features: np.ndarray,
        extra: Tree,
        units: pseudo_labels.Units,
        epoch: int,
    ) -> tuple[np.ndarray, Tree, dict[str, float]]:
        """What an epoch makes of the clusters that were found, by the features of the units.

        Returns:
            labels of the units that are trained on, with one of every cluster; other entries of
            `extra`; and numbers to be logged.
        """
        del features, extra, units, epoch
        return found.labels, {}, {}


def _check(options: ClusterContrastOptions, num_images: int | None) -> None:
    if min(options.capacity, options.num_clusters) < 0:
        raise InputError(
            f"task.capacity={options.capacity} and task.num_clusters={options.num_clusters} must "
            "not be negative"
        )
    if num_images is not None and options.num_clusters > num_images:
        raise InputError(
            f"task.num_clusters={options.num_clusters} is more than the {num_images} training "
            "images"
        )
    if not 0 < options.resolution < 1 or not -1 <= options.min_similarity <= 1:
        raise InputError(
            f"task.resolution={options.resolution} must be above 0 and below 1, and "
            f"task.min_similarity={options.min_similarity} from -1 to 1"
        )
    if options.clustering == "infomap":
        infomap_modules.package()


def _capacity(given: int, num_images: int) -> int:
    return max(given, 2) if given else num_rows(num_images // IMAGES_PER_ROW)


def num_rows(num_clusters: int) -> int:
    """Rows of a memory for that many clusters, or for 2, which devices can share."""
    return -(-max(num_clusters, 2) // ROW_MULTIPLE) * ROW_MULTIPLE
