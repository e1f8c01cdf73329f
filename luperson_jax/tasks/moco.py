"""Momentum contrast as LUPerson pre-trains with it.

Dengpan Fu et al., "Unsupervised Pre-training for Person Re-identification", CVPR 2021,
arXiv 2012.03753; Kaiming He et al., "Momentum Contrast for Unsupervised Visual Representation
Learning", CVPR 2020, arXiv 1911.05722; Xinlei Chen et al., "Improved Baselines with Momentum
Contrastive Learning", 2020, arXiv 2003.04297.
"""

import dataclasses
from typing import ClassVar, Literal

import jax

from data_pipeline.table.records import Table
from luperson_jax import models
from luperson_jax.config import Recipe
from luperson_jax.losses import contrastive
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base, key_encoder
from luperson_jax.vectors import l2_normalize


@dataclasses.dataclass(frozen=True)
class MocoOptions:
    """Settings of the group `task`."""

    name: ClassVar[str] = "moco"
    queue_size: int = 65536
    momentum: float = 0.999
    temperature: float = 0.1
    feature_dim: int = 128
    head: Literal["mlp", "linear"] = "mlp"  # of MoCo v2, of MoCo v1
    shuffle_bn: bool = True
    embedding: Literal["projection", "backbone"] = "projection"


@dataclasses.dataclass(frozen=True)
class Moco(base.Task):
    """Query encoder with gradient, key encoder as its moving average, queue of past keys.

    `extra` is that of `key_encoder`.
    """

    Options = MocoOptions
    labelled = False

    shuffle: key_encoder.Shuffle | None = None

    @classmethod
    def build(cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0) -> "Moco":
        """See `Task.build`, also for what it raises."""
        del table
        options = recipe.task
        key_encoder.check(recipe)
        parts = {name: getattr(options, name) for name in ("feature_dim", "head", "queue_size")}
        spec = base.describe_network(recipe, "moco", **parts)
        views = base.Views.build(recipe, steps_per_epoch)
        network = base.build_network(recipe, spec)
        shuffle = key_encoder.Shuffle.build(recipe)
        return cls(options, spec, network, views, base.make_sampler(recipe), shuffle)

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`. Both encoders start equal; the queue is random unit vectors."""
        del table
        network_key, queue_key = jax.random.split(key)
        params, stats = models.init(self.network, network_key, self.views.plain(example))
        options = self.options
        size, dim = options.queue_size, options.feature_dim
        return params, key_encoder.begin(queue_key, params, stats, size, dim)

    def doubts(self, table: Table) -> list[str]:
        """See `Task.doubts`. Of a queue of K keys and N < K pictures, all of a picture's own keys
        but the newest are among its negatives: K / N of them."""
        size, num = self.options.queue_size, len(table)
        if size <= num:
            return []
        return [
            f"task.queue_size={size} keys of {num} pictures: each picture is told to be unlike "
            f"itself, in {size / num:.1f} keys of its own; let the queue hold fewer keys than "
            "there are pictures, such as a quarter"
        ]

    def inputs(self, batch: Batch, key: jax.Array) -> Tree:
        """See `key_encoder.inputs`."""
        return key_encoder.inputs(batch, key, self.shuffle)

    def encode(self, params: Tree, extra: Tree, inputs: Tree, step: jax.Array) -> tuple[Tree, Tree]:
        """Unit vectors [B, d] of the two encoders; keys have no gradient."""
        views = self.views.draw(inputs["query"], step)
        (_, query), stats = models.apply(self.network, params, extra["stats"], views, train=True)
        key_params = key_encoder.follow(params, extra, self.options.momentum)
        views = self.views.draw(inputs["key"], step)
        (_, keys), key_stats = models.apply(
            *(self.network, key_params, extra["key_stats"], views),
            train=True,
            group=inputs.get("group"),
        )
        outputs = {
            "query": l2_normalize(query),
            "key": jax.lax.stop_gradient(l2_normalize(keys)),
        }
        return outputs, {"stats": stats, "key_stats": key_stats}

    def objective(
        self,
        params: Tree,
        extra: Tree,
        outputs: Tree,
        batch: Batch,
        key: jax.Array,
        step: jax.Array,
    ) -> base.Loss:
        """InfoNCE of each query against its key and the queue (the queue before this batch)."""
        keys = key_encoder.in_batch_order(outputs["key"], key, self.shuffle)
        loss, metrics = contrastive.info_nce(
            outputs["query"], keys, extra["queue"], temperature=self.options.temperature
        )
        queue, pointer = contrastive.enqueue(extra["queue"], extra["queue_pointer"], keys)
        moved = {"key_params": key_encoder.follow(params, extra, self.options.momentum)}
        moved |= {"queue": queue, "queue_pointer": pointer}
        metrics |= {"queue_age": key_encoder.queue_age(batch, self.options.queue_size, step)}
        return loss, ({**extra, **moved}, {"loss": loss, **metrics})

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Unit vectors of the query encoder: the projection, or the pooled backbone feature."""
        images = self.views.plain(batch)
        (pooled, projection), _ = models.apply(
            self.network, params, extra["stats"], images, train=False
        )
        chosen = projection if self.options.embedding == "projection" else pooled
        return l2_normalize(chosen)
