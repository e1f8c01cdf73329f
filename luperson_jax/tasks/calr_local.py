"""CALR's first stage: a network and clusters for the images of one camera.

Yunfei Li et al., "CALR: Camera-Aware Label Refinement for Unsupervised Person Re-Identification",
2024, arXiv 2403.16450. Within one camera the light and the background are the same, so clusters are
reliable; those of the epoch whose silhouette was best are the local labels. The loss is that of
Cluster Contrast. (The authors' program multiplies it by weights that are all zero, and trains on
NaN.) `luperson local-labels` runs it for one camera after the other.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax.clustering import grouping, linkage, quality
from luperson_jax.clustering.jaccard import jaccard_distance
from luperson_jax.config import Recipe
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import pseudo_labels
from luperson_jax.tasks.cluster_contrast import ClusterContrast, ClusterContrastOptions, num_rows

RANGE = (0.5, 2.0)
"""Numbers of clusters that are tried where the number is adaptive, as parts of the fixed one."""
NUM_TRIED = 9
NONE_YET = -2.0
"""Below every silhouette."""


@dataclasses.dataclass(frozen=True)
class CalrLocalOptions(ClusterContrastOptions):
    """Settings of the group `task`; eps and min_samples have no effect."""

    name: ClassVar[str] = "calr_local"
    images_per_cluster: int = 5  # so many clusters are made
    adaptive: bool = False  # half to twice as many, those of the best silhouette


@dataclasses.dataclass(frozen=True)
class CalrLocal(ClusterContrast):
    """As `ClusterContrast`; `extra` also holds `best_labels` [N] and their `best_silhouette` []."""

    Options = CalrLocalOptions

    @classmethod
    def build(
        cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0
    ) -> "CalrLocal":
        """See `Task.build`, also for what it raises."""
        if recipe.task.images_per_cluster < 1:
            raise InputError(
                f"task.images_per_cluster={recipe.task.images_per_cluster} must be at least 1"
            )
        if recipe.task.units != "images":
            raise InputError(
                f"task.units={recipe.task.units}: local labels are of images; expected images"
            )
        task = super().build(recipe, table, steps_per_epoch)
        assert isinstance(task, CalrLocal)
        if table is None or recipe.task.capacity:
            return task
        most = int(RANGE[1] * task.num_clusters(len(table)))
        return dataclasses.replace(task, capacity=num_rows(most))

    def num_clusters(self, num_images: int) -> int:
        """How many clusters that many images make, where the number is not adaptive."""
        return num_images // self.options.images_per_cluster

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`."""
        params, extra = super().init(key, example, table)
        return params, {
            **extra,
            "best_labels": jnp.full(len(table), -1, jnp.int32),
            "best_silhouette": jnp.full((), NONE_YET, jnp.float32),
        }

    def grouped(self, features: np.ndarray) -> grouping.Clusters:
        """Clusters of all images [N, D] by average linkage; none is an outlier."""
        options, num_images = self.options, len(features)
        k1, k2 = (min(k, num_images) for k in (options.k1, options.k2))
        pairs = jaccard_distance(features, k1=k1, k2=k2)
        fixed = self.num_clusters(num_images)
        if fixed < 2:
            raise InputError(
                f"{num_images} images make {fixed} clusters of task.images_per_cluster="
                f"{options.images_per_cluster}; expected 2 or more"
            )
        numbers = [fixed]
        if options.adaptive:
            tried = np.geomspace(RANGE[0] * fixed, RANGE[1] * fixed, NUM_TRIED).round()
            numbers = sorted({int(one) for one in np.clip(tried, 2, num_images)})
        found = linkage.average_linkage(pairs, numbers)
        if not options.adaptive:
            return grouping.Clusters(found[fixed], pairs)
        best = max(numbers, key=lambda one: quality.silhouette(pairs, found[one]).mean())
        return grouping.Clusters(found[best], pairs)

    def refined(
        self,
        found: grouping.Clusters,
        features: np.ndarray,
        extra: Tree,
        units: pseudo_labels.Units,
        epoch: int,
    ) -> tuple[np.ndarray, Tree, dict[str, float]]:
        """See `ClusterContrast.refined`: all stay, and the best so far are kept."""
        del features, units, epoch
        value = np.float32(quality.silhouette(found.pairs, found.labels).mean())
        if value <= np.asarray(extra["best_silhouette"]):
            return found.labels, {}, {}
        best = {"best_labels": found.labels.astype(np.int32), "best_silhouette": value}
        return found.labels, best, {}
