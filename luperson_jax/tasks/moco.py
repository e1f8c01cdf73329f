"""Momentum contrast as LUPerson pre-trains with it.

Dengpan Fu et al., "Unsupervised Pre-training for Person Re-identification", CVPR 2021,
arXiv 2012.03753; Kaiming He et al., "Momentum Contrast for Unsupervised Visual Representation
Learning", CVPR 2020, arXiv 1911.05722; Xinlei Chen et al., "Improved Baselines with Momentum
Contrastive Learning", 2020, arXiv 2003.04297.
"""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax import models
from luperson_jax.config import Recipe
from luperson_jax.losses import contrastive
from luperson_jax.sharding import constrain_to_batch
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base
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

    `extra` holds `stats` and `key_stats` (BatchNorm of either encoder: the key encoder's is its
    own and not averaged), `key_params`, `queue` [K, d] and `queue_pointer`.
    """

    Options = MocoOptions
    labelled = False

    @classmethod
    def build(cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0) -> "Moco":
        """See `Task.build`, also for what it raises."""
        del table
        options = recipe.task
        if options.temperature <= 0 or options.feature_dim < 1 or not 0 <= options.momentum <= 1:
            raise InputError(
                f"task.temperature={options.temperature} must be above 0, "
                f"task.feature_dim={options.feature_dim} at least 1, and "
                f"task.momentum={options.momentum} from 0 to 1"
            )
        if recipe.optim.freeze_epochs or recipe.optim.freeze_steps:
            raise InputError(
                "optim.freeze_epochs and optim.freeze_steps are for fine-tuning; set them to 0"
            )
        if options.queue_size < recipe.data.batch_size:
            raise InputError(
                f"task.queue_size={options.queue_size} is smaller than "
                f"data.batch_size={recipe.data.batch_size}: one batch of keys must fit; "
                "enlarge the queue or shrink the batch"
            )
        parts = {name: getattr(options, name) for name in ("feature_dim", "head", "queue_size")}
        spec = base.describe_network(recipe, "moco", **parts)
        views = base.Views.build(recipe, steps_per_epoch)
        network = base.build_network(recipe, spec)
        return cls(options, spec, network, views, base.make_sampler(recipe))

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`. Both encoders start equal; the queue is random unit vectors."""
        del table
        network_key, queue_key = jax.random.split(key)
        params, stats = models.init(self.network, network_key, self.views.plain(example))
        extra = {
            "stats": stats,
            "key_params": jax.tree.map(jnp.copy, params),
            "key_stats": jax.tree.map(jnp.copy, stats),
            "queue": contrastive.init_queue(
                queue_key, self.options.queue_size, self.options.feature_dim
            ),
            "queue_pointer": jnp.zeros((), jnp.int32),
        }
        return params, extra

    def inputs(self, batch: Batch, key: jax.Array) -> Tree:
        """Two views of every picture; those for the key encoder stand in another order.

        Shuffled BatchNorm: a key is normalised in another group of `bn_group_size` images than its
        query, so that the statistics of the group do not give the pair away. The pictures are
        permuted as uint8, before the views are drawn: a quarter of the traffic between devices.
        """
        query_key, view_key, _ = jax.random.split(key, 3)
        order = self._order(key, len(batch.images))
        return {
            "query": base.Pictures.of(batch, query_key),
            "key": base.Pictures.of(batch, view_key).take(order),
        }

    def encode(self, params: Tree, extra: Tree, inputs: Tree, step: jax.Array) -> tuple[Tree, Tree]:
        """Unit vectors [B, d] of the two encoders; keys have no gradient."""
        views = self.views.draw(inputs["query"], step)
        (_, query), stats = models.apply(self.network, params, extra["stats"], views, train=True)
        key_params, views = self._key_params(params, extra), self.views.draw(inputs["key"], step)
        (_, keys), key_stats = models.apply(
            self.network, key_params, extra["key_stats"], views, train=True
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
        del step
        order = self._order(key, len(batch.images))
        keys = constrain_to_batch(outputs["key"][jnp.argsort(order)])
        loss, metrics = contrastive.info_nce(
            outputs["query"], keys, extra["queue"], temperature=self.options.temperature
        )
        queue, pointer = contrastive.enqueue(extra["queue"], extra["queue_pointer"], keys)
        moved = {"key_params": self._key_params(params, extra)}
        moved |= {"queue": queue, "queue_pointer": pointer}
        return loss, ({**extra, **moved}, {"loss": loss, **metrics})

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Unit vectors of the query encoder: the projection, or the pooled backbone feature."""
        images = self.views.plain(batch)
        (pooled, projection), _ = models.apply(
            self.network, params, extra["stats"], images, train=False
        )
        chosen = projection if self.options.embedding == "projection" else pooled
        return l2_normalize(chosen)

    def _order(self, key: jax.Array, num: int) -> jax.Array:
        """In which order the key encoder sees the pictures of a batch."""
        if not self.options.shuffle_bn:
            return jnp.arange(num)
        return jax.random.permutation(jax.random.split(key, 3)[2], num)

    def _key_params(self, params: Tree, extra: Tree) -> Tree:
        """Those of this step: the key encoder follows before it is used."""
        return contrastive.ema(
            extra["key_params"], jax.lax.stop_gradient(params), self.options.momentum
        )
