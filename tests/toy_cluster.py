"""Cluster Contrast in small, to show what a method that clusters has to bring: this file, and one
line where it is registered.

Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", 2021, arXiv 2103.11568,
with k-means in place of DBSCAN.
"""

import dataclasses
import sys
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import cluster, metrics

from luperson_jax import main, models, tasks
from luperson_jax.tasks import base
from luperson_jax.vectors import l2_normalize


@dataclasses.dataclass(frozen=True)
class ToyOptions:
    name: ClassVar[str] = "toy_cluster"
    num_clusters: int = 4
    momentum: float = 0.5
    temperature: float = 0.1


class ToyCluster(base.Task):
    """`extra` holds `stats`, `labels` [N] and `memory` [num_clusters, D]."""

    Options = ToyOptions
    labelled = False
    sharded: ClassVar = {"memory": 0}

    @classmethod
    def build(cls, recipe, table=None, steps_per_epoch=0):
        del table
        spec = base.describe_network(recipe, "backbone")
        network = base.build_network(recipe, spec)
        views = base.Views.build(recipe, steps_per_epoch)
        return cls(recipe.task, spec, network, views, base.make_sampler(recipe))

    def init(self, key, example, table):
        params, stats = models.init(self.network, key, self.views.plain(example))
        shape = (self.options.num_clusters, self.network.backbone.num_features)
        labels = jnp.full(len(table), -1, jnp.int32)
        return params, {"stats": stats, "labels": labels, "memory": jnp.zeros(shape)}

    def encode(self, params, extra, inputs, step):
        views = self.views.draw(inputs, step)
        features, stats = models.apply(self.network, params, extra["stats"], views, train=True)
        return l2_normalize(features), {"stats": stats}

    def objective(self, params, extra, outputs, batch, key, step):
        labels, memory = extra["labels"][batch.index], extra["memory"]
        logits = outputs @ memory.T / self.options.temperature
        loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()
        hits = jax.nn.one_hot(labels, len(memory))
        means = hits.T @ jax.lax.stop_gradient(outputs) / jnp.maximum(hits.sum(0)[:, None], 1.0)
        moved = memory * self.options.momentum + means * (1 - self.options.momentum)
        memory = jnp.where(hits.sum(0)[:, None] > 0, l2_normalize(moved), memory)
        return loss, ({**extra, "memory": memory}, {"loss": loss})

    def embed(self, params, extra, batch):
        images = self.views.plain(batch)
        features, _ = models.apply(self.network, params, extra["stats"], images, train=False)
        return l2_normalize(features)

    def start_epoch(self, state, table, epoch, embed_all):
        features = embed_all(state, table).features
        found = cluster.KMeans(self.options.num_clusters, n_init=1, random_state=epoch)
        labels = found.fit_predict(features)
        memory = l2_normalize(jnp.asarray(found.cluster_centers_))
        extra = {**state.extra, "labels": labels.astype(np.int32), "memory": np.asarray(memory)}
        return extra, {"clusters/silhouette": float(metrics.silhouette_score(features, labels))}

    def plan(self, extra, table):
        return dataclasses.replace(table, pid=np.asarray(extra["labels"], np.int64)), self.sampler


def register(known=tasks.TASKS, options=tasks.OPTIONS) -> None:
    """The one line."""
    known["toy_cluster"], options["toy_cluster"] = ToyCluster, ToyOptions


if __name__ == "__main__":
    register()
    sys.exit(main.main(sys.argv[1:]))
