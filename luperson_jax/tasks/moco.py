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
from luperson_jax.augment import recipes
from luperson_jax.config import Recipe
from luperson_jax.losses import contrastive
from luperson_jax.sharding import constrain_to_batch
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base


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

    @property
    def moves_with_every_step(self) -> tuple[str, ...]:
        """See `Task.moves_with_every_step`."""
        return ("the key encoder", "the queue")

    @classmethod
    def build(cls, recipe: Recipe, table: Table | None) -> "Moco":
        """See `Task.build`."""
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
        backbone = base.make_backbone(recipe)
        network = models.MocoEncoder(
            backbone=backbone,
            pooling=recipe.model.pooling,
            feature_dim=options.feature_dim,
            head=options.head,
        )
        return cls(options, network, base.Views.build(recipe, table), base.make_sampler(recipe))

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

    def loss(
        self, params: Tree, extra: Tree, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
        """InfoNCE of each query against its key and the queue (the queue before this batch)."""
        query_key, view_key, shuffle_key = jax.random.split(key, 3)
        num = len(batch.images)
        query_views = self.views.draw(recipes.sample_keys(query_key, num), batch, step)
        (_, query), stats = models.apply(
            self.network, params, extra["stats"], query_views, train=True
        )
        query = contrastive.l2_normalize(query)

        key_params = contrastive.ema(
            extra["key_params"], jax.lax.stop_gradient(params), self.options.momentum
        )
        keys, key_stats = self._encode_keys(
            key_params,
            extra["key_stats"],
            batch,
            recipes.sample_keys(view_key, num),
            shuffle_key,
            step,
        )
        loss, metrics = contrastive.info_nce(
            query, keys, extra["queue"], temperature=self.options.temperature
        )
        queue, pointer = contrastive.enqueue(extra["queue"], extra["queue_pointer"], keys)
        following = {
            "stats": stats,
            "key_params": key_params,
            "key_stats": key_stats,
            "queue": queue,
            "queue_pointer": pointer,
        }
        return loss, (following, {"loss": loss, **metrics})

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Unit vectors of the query encoder: the projection, or the pooled backbone feature."""
        images = self.views.plain(batch)
        (pooled, projection), _ = models.apply(
            self.network, params, extra["stats"], images, train=False
        )
        chosen = projection if self.options.embedding == "projection" else pooled
        return contrastive.l2_normalize(chosen)

    def _encode_keys(
        self,
        key_params: Tree,
        key_stats: Tree,
        batch: Batch,
        keys: jax.Array,
        shuffle: jax.Array,
        step: jax.Array,
    ) -> tuple[jax.Array, Tree]:
        """Unit key vectors [B, d] in the order of the batch, without a gradient.

        Shuffled BatchNorm: a key is normalised in another group of `bn_group_size` images than its
        query, so that the statistics of the group do not give the pair away. The pictures are
        permuted as uint8, before the views are drawn: a quarter of the traffic between devices.
        """
        num = len(keys)
        order = jnp.arange(num)
        if self.options.shuffle_bn:
            order = jax.random.permutation(shuffle, num)
        shuffled = dataclasses.replace(
            batch,
            images=constrain_to_batch(batch.images[order]),
            size=constrain_to_batch(batch.size[order]),
        )
        views = self.views.draw(keys[order], shuffled, step)
        (_, encoded), key_stats = models.apply(
            self.network, key_params, key_stats, views, train=True
        )
        restored = constrain_to_batch(encoded[jnp.argsort(order)])
        return jax.lax.stop_gradient(contrastive.l2_normalize(restored)), key_stats
