"""Supervised re-identification with the BNNeck baseline.

Hao Luo et al., "Bag of Tricks and A Strong Baseline for Deep Person Re-identification", CVPR
Workshops 2019, arXiv 1903.07071; Alexander Hermans et al., "In Defense of the Triplet Loss for
Person Re-Identification", 2017, arXiv 1703.07737.
"""

import dataclasses
from typing import ClassVar, Literal

import jax

from data_pipeline.errors import InputError
from data_pipeline.records import Table
from luperson_jax import models, optim
from luperson_jax.augment import recipes
from luperson_jax.config import Recipe
from luperson_jax.losses import classification, metric
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base


@dataclasses.dataclass(frozen=True)
class IdentifyOptions:
    """Settings of the group `task`."""

    name: ClassVar[str] = "identify"
    label_smoothing: float = 0.1
    margin: float = 0.3  # 0 = soft margin
    classification_weight: float = 1.0
    triplet_weight: float = 1.0
    triplet_feature: Literal["before", "after"] = "before"  # the neck
    embedding_dim: int = 0  # width of the reduction before the neck; 0 = none
    extra_bn: bool = False  # BatchNorm on the feature map, for unsupervised backbones


@dataclasses.dataclass(frozen=True)
class Identify(base.Task):
    """Smoothed cross-entropy after the neck and batch-hard triplet before it.

    `params` holds the network and `classifier` [D, C]; `extra` holds `stats`.
    """

    Options = IdentifyOptions
    labelled = True

    freeze_steps: int = 0

    @classmethod
    def build(cls, recipe: Recipe, table: Table | None) -> "Identify":
        """See `Task.build`."""
        if table is not None and table.num_ids < 2:
            raise InputError(
                f"training with identities needs at least 2 of them, the table of "
                f"{recipe.data.dataset} at {recipe.data.root!r} has {table.num_ids}"
            )
        options = recipe.task
        if min(options.margin, options.embedding_dim) < 0 or not 0 <= options.label_smoothing < 1:
            raise InputError(
                f"task.margin={options.margin} and task.embedding_dim={options.embedding_dim} must "
                f"not be negative, and task.label_smoothing={options.label_smoothing} lies in 0..1"
            )
        network = models.ReidNet(
            backbone=base.make_backbone(recipe),
            pooling=recipe.model.pooling,
            extra_bn=options.extra_bn,
            embedding_dim=options.embedding_dim,
        )
        steps_per_epoch = len(table or ()) // recipe.data.batch_size
        return cls(
            options,
            network,
            base.Views.build(recipe),
            base.make_sampler(recipe),
            freeze_steps=optim.num_frozen_steps(recipe.optim, steps_per_epoch),
        )

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`. The classifier starts at a deviation of 0.001."""
        network_key, classifier_key = jax.random.split(key)
        images = self.views.plain(example)
        params, stats = models.init(self.network, network_key, images)
        width = self.network.embedding_dim or self.network.backbone.num_features
        classifier = 0.001 * jax.random.normal(classifier_key, (width, table.num_ids))
        return {**params, "classifier": {"kernel": classifier}}, {"stats": stats}

    def loss(
        self, params: Tree, extra: Tree, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
        """Weighted sum of the two losses. A frozen backbone also keeps its BatchNorm statistics."""
        options = self.options
        network = {name: tree for name, tree in params.items() if name != "classifier"}
        images = self.views.draw(recipes.sample_keys(key, len(batch.images)), batch)
        (before, after), stats = models.apply(
            self.network,
            network,
            extra["stats"],
            images,
            train=True,
            frozen=step < self.freeze_steps if self.freeze_steps else False,
        )
        logits = after @ params["classifier"]["kernel"]
        identity = classification.smoothed_cross_entropy(
            logits, batch.label, epsilon=options.label_smoothing, mask=batch.mask
        )
        feature = before if options.triplet_feature == "before" else after
        triplet, details = metric.batch_hard_triplet(
            feature, batch.label, margin=options.margin or None, mask=batch.mask
        )
        loss = options.classification_weight * identity + options.triplet_weight * triplet
        metrics = {
            "loss": loss,
            "cross_entropy": identity,
            "triplet": triplet,
            "accuracy": classification.accuracy(logits, batch.label, mask=batch.mask),
            **details,
        }
        return loss, ({"stats": stats}, metrics)

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Features after the neck, not normalised."""
        network = {name: tree for name, tree in params.items() if name != "classifier"}
        (_, after), _ = models.apply(
            self.network, network, extra["stats"], self.views.plain(batch), train=False
        )
        return after
