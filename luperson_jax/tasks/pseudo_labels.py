"""What methods share that train on clusters of their own features.

`extra["labels"]` [N] int32 holds the cluster of every training image, -1 for none. It is made at
the start of an epoch and stands in the checkpoint, so that a run that resumes inside the epoch
draws the same batches. True identities are for the logged figures alone.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.frames import Tracklets
from data_pipeline.table.records import Table
from luperson_jax import models
from luperson_jax.clustering import grouping, quality
from luperson_jax.clustering.dbscan import NOISE
from luperson_jax.clustering.jaccard import SparseJaccard
from luperson_jax.config import Recipe
from luperson_jax.structs import Batch, Sampler, Tree
from luperson_jax.tasks import base
from luperson_jax.vectors import l2_normalize

UnitKind = Literal["images", "tracklets"]


@dataclasses.dataclass(frozen=True)
class ClusterOptions:
    """Settings of the clustering and of the memory, in the group `task`."""

    k1: int = 30  # neighbors whose lists are compared
    k2: int = 6  # neighborhoods that are averaged
    eps: float = 0.6  # Jaccard distance up to which images are neighbors
    min_samples: int = 4  # neighbors of a core, itself included
    temperature: float = 0.05
    momentum: float = 0.2  # share of itself that a row of the memory keeps


def parts(recipe: Recipe, steps_per_epoch: int) -> tuple[Any, ...]:
    """What `base.Task` is made of, in its order, checked.

    Raises:
        InputError: settings that do not fit each other.
    """
    base.check_nothing_frozen(recipe)
    _check(recipe.task)
    spec = base.describe_network(recipe, "reid")
    views, network = base.Views.build(recipe, steps_per_epoch), base.build_network(recipe, spec)
    return recipe.task, spec, network, views, base.make_sampler(recipe)


def _check(options: ClusterOptions) -> None:
    if not 0 < options.eps < 1:
        raise InputError(
            f"task.eps={options.eps} must be above 0 and below 1: a Jaccard distance, usually 0.4 "
            "to 0.7"
        )
    if not 1 <= options.k2 <= options.k1:
        raise InputError(f"task.k2={options.k2} must be from 1 to task.k1={options.k1}")
    if options.min_samples < 1:
        raise InputError(f"task.min_samples={options.min_samples} must be at least 1")
    if options.temperature <= 0 or not 0 <= options.momentum <= 1:
        raise InputError(
            f"task.temperature={options.temperature} must be above 0 and "
            f"task.momentum={options.momentum} from 0 to 1"
        )


@dataclasses.dataclass(frozen=True)
class Clustered(base.Task):
    """The network and the batches; methods bring their memory, their loss and `start_epoch`."""

    def init_network(self, key: jax.Array, example: Batch) -> tuple[Tree, Tree]:
        """Parameters and statistics. The scale of the neck starts at 1, as the authors of these
        methods have it."""
        params, stats = models.init(self.network, key, self.views.plain(example))
        neck = params["neck"]["bn"]
        scale = {**neck, "scale": jnp.ones_like(neck["scale"])}
        return {**params, "neck": {**params["neck"], "bn": scale}}, stats

    def encode(self, params: Tree, extra: Tree, inputs: Tree, step: jax.Array) -> tuple[Tree, Tree]:
        """Unit vectors [B, D] after the neck."""
        views = self.views.draw(inputs, step)
        (_, after), stats = models.apply(self.network, params, extra["stats"], views, train=True)
        return l2_normalize(after), {"stats": stats}

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Unit vectors [B, D] after the neck."""
        images = self.views.plain(batch)
        (_, after), _ = models.apply(self.network, params, extra["stats"], images, train=False)
        return l2_normalize(after)

    def plan(self, extra: Tree, table: Table) -> tuple[Table, Sampler]:
        """See `Task.plan`: clusters are the identities, and outliers have none."""
        pid = np.asarray(extra["labels"], np.int64)
        return dataclasses.replace(table, pid=pid), self.sampler


@dataclasses.dataclass(frozen=True)
class Units:
    """What is grouped: images, or whole tracklets.

    Attributes:
        table: a row for each, of a tracklet its first frame.
        first: [units] its row among the images.
        of_row: [N] the unit of each image, -1 for none.
    """

    table: Table
    first: np.ndarray
    of_row: np.ndarray

    @classmethod
    def of(cls, table: Table, kind: UnitKind) -> "Units":
        """The units of the training images.

        Raises:
            InputError: tracklets are asked for, and no image belongs to one.
        """
        if kind == "images":
            every = np.arange(len(table))
            return cls(table, every, every)
        found = Tracklets.of(table)
        return cls(found.heads, found.rows[found.start], found.of_row)

    def pooled(self, features: np.ndarray) -> np.ndarray:
        """[units, D]: the features [N, D] of images, or the mean of each tracklet."""
        if np.array_equal(self.first, self.of_row):
            return features
        return grouping.centers(features, self.of_row, len(self.first))

    def spread(self, labels: np.ndarray) -> np.ndarray:
        """[N] the label of its unit for every image, -1 where it has none."""
        return np.append(labels, NOISE)[self.of_row]


def check_found(labels: np.ndarray, options: ClusterOptions) -> None:
    """Raises InputError where clusters [N] are too few to tell apart."""
    number = int(labels.max(initial=-1)) + 1
    if number < 2:
        found = "no cluster" if number == 0 else "one cluster"
        change = "raise" if number == 0 else "lower"
        raise InputError(
            f"the clustering found {found} among {len(labels)} images, and at least 2 are needed: "
            f"{change} task.eps={options.eps}, or start from weights that tell persons apart "
            "(train.init_from)"
        )


def figures(
    pairs: SparseJaccard, labels: np.ndarray, before: Tree, table: Table
) -> dict[str, float]:
    """What is logged of the clusters of an epoch, as `clusters/NAME`; see `quality.figures`.

    Args:
        pairs: distances of the training images.
        labels: [N] clusters that are trained on, -1 for an image in none.
        before: labels of the epoch before.
        table: the training images.
    """
    values = quality.figures(pairs, labels, np.asarray(before), table.camera, table.pid)
    return {f"clusters/{name}": value for name, value in values.items()}
