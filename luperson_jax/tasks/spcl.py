"""SpCL: unsupervised re-identification with a memory of one vector an image, and clusters that have
to earn their images.

Yixiao Ge et al., "Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive Object
Re-ID", NeurIPS 2020, arXiv 2006.02713; the purely unsupervised form, without a source domain.

Clusters are made of the memory at the start of every epoch. Where a tighter and a looser clustering
contradict one, its images are taken out of it. Every image is trained on: outliers and images that
were taken out are classes of their own.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax import sharding
from luperson_jax.clustering.dbscan import NOISE, dbscan
from luperson_jax.clustering.jaccard import jaccard_distance
from luperson_jax.clustering.self_paced import self_paced
from luperson_jax.config import Recipe
from luperson_jax.losses import cluster_memory, hybrid_memory
from luperson_jax.structs import Batch, TrainState, Tree
from luperson_jax.tasks import base, pseudo_labels
from luperson_jax.vectors import l2_normalize


@dataclasses.dataclass(frozen=True)
class SpclOptions(pseudo_labels.ClusterOptions):
    """Settings of the group `task`."""

    name: ClassVar[str] = "spcl"
    eps_gap: float = 0.02  # how much smaller and larger the eps of the other two clusterings is


@dataclasses.dataclass(frozen=True)
class Spcl(pseudo_labels.Clustered):
    """`params` holds the network. `extra` holds `stats`, `labels` [N], here never -1, `memory`
    [N, D] and `threshold` [], the independence that a class needs; fixed by the first epoch."""

    Options = SpclOptions
    labelled = False
    sharded: ClassVar[Mapping[str, int]] = MappingProxyType({"memory": 0})

    @classmethod
    def build(cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0) -> "Spcl":
        """See `Task.build`, also for what it raises."""
        del table
        parts = pseudo_labels.parts(recipe, steps_per_epoch)
        eps, gap = recipe.task.eps, recipe.task.eps_gap
        if not 0 <= gap < min(eps, 1 - eps):
            raise InputError(
                f"task.eps_gap={gap} with task.eps={eps}: both eps - eps_gap and eps + eps_gap "
                "must be Jaccard distances above 0 and below 1; the authors take 0.6 and 0.02"
            )
        return cls(*parts)

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`. Until there are clusters every image is a class."""
        network_key, memory_key = jax.random.split(key)
        params, stats = self.init_network(network_key, example)
        shape = (len(table), *params["neck"]["bn"]["scale"].shape)
        return params, {
            "stats": stats,
            "labels": jnp.arange(len(table), dtype=jnp.int32),
            "memory": l2_normalize(jax.random.normal(memory_key, shape, jnp.float32)),
            "threshold": jnp.zeros((), jnp.float32),
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
        options = self.options
        loss, metrics = hybrid_memory.hybrid_contrast(
            outputs,
            extra["memory"],
            extra["labels"],
            batch.label,
            temperature=options.temperature,
            mask=batch.mask,
        )
        memory = cluster_memory.move_memory(
            extra["memory"], outputs, batch.index, momentum=options.momentum, mask=batch.mask
        )
        return loss, ({**extra, "memory": memory}, {"loss": loss, **metrics})

    def start_epoch(
        self, state: TrainState, table: Table, epoch: int, embed_all: base.EmbedAll
    ) -> tuple[Tree, dict[str, float]]:
        """See `Task.start_epoch`: three clusterings of the memory, which the first epoch fills.

        Raises:
            InputError: fewer than two clusters.
        """
        options, extra = self.options, state.extra
        memory = (
            embed_all(state, table).features if epoch == 0 else sharding.on_host(extra["memory"])
        )
        loosest = options.eps + options.eps_gap
        pairs = jaccard_distance(memory, k1=options.k1, k2=options.k2, max_distance=loosest)
        labels, tight, loose = (
            dbscan(pairs.graph(eps), min_samples=options.min_samples)
            for eps in (options.eps, options.eps - options.eps_gap, loosest)
        )
        pseudo_labels.check_found(labels, options)
        threshold = None if epoch == 0 else np.float32(extra["threshold"])
        found = self_paced(labels, tight, loose, threshold)
        # Numbers of classes that lost all their images would be rows of the step for nothing.
        classes = np.unique(found.labels, return_inverse=True)[1]
        several, before = (_several(np.asarray(one)) for one in (classes, extra["labels"]))
        figures = pseudo_labels.figures(pairs, several, before, table)
        figures["clusters/taken_out"] = float(np.sum((labels != NOISE) & (several == NOISE)))
        begun = {"labels": classes.astype(np.int32), "memory": memory}
        return {**extra, **begun, "threshold": found.threshold}, figures


def _several(classes: np.ndarray) -> np.ndarray:
    """Classes [N], and -1 for an image that is alone in its class."""
    sizes = np.bincount(classes)
    return np.where(sizes[classes] > 1, classes, NOISE)
