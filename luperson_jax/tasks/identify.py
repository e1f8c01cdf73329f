"""Supervised re-identification: BoT and its descendants (AGW, SBS, IDE), and LUPerson's MGN.

Hao Luo et al., "Bag of Tricks and A Strong Baseline for Deep Person Re-identification", CVPR
Workshops 2019, arXiv 1903.07071; Mang Ye et al., "Deep Learning for Person Re-identification: A
Survey and Outlook", 2021, arXiv 2001.04193 (AGW); Lingxiao He et al., "FastReID", 2020, arXiv
2006.02631 (SBS); Guanshuo Wang et al., "Learning Discriminative Features with Multiple
Granularities", 2018, arXiv 1804.01438, in the form that Fu et al., "Unsupervised Pre-training for
Person Re-identification", 2021, arXiv 2012.03753, fine-tune (MGN).

They differ in settings alone: what the network gives is a feature before and after the neck of
each head. Every head has a classifier; groups of heads, joined, have a triplet loss.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax import models, optim
from luperson_jax.config import Recipe
from luperson_jax.losses import center, classification, margins, metric
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base

ONE = "head"
"""What the only head of the baseline is called."""

Features = Mapping[str, jax.Array]

Mining = Literal["hard", "weighted", "weighted_fastreid"]

TRIPLETS: Mapping[Mining, Callable] = MappingProxyType(
    {
        "hard": metric.batch_hard_triplet,
        "weighted": metric.weighted_triplet,
        "weighted_fastreid": functools.partial(metric.weighted_triplet, as_fastreid=True),
    }
)
"""The loss of each word of `task.mining`."""


@dataclasses.dataclass(frozen=True)
class IdentifyOptions:
    """Settings of the group `task`."""

    name: ClassVar[str] = "identify"
    network: Literal["baseline", "mgn"] = "baseline"
    embedding_dim: int = 0  # width of the reduction before the neck; 0 = none
    extra_bn: bool = False  # BatchNorm on the feature map, for unsupervised backbones
    classifier: margins.ClassifierKind = "linear"
    classifier_scale: float = 64.0  # of the cosines; not of "linear"
    classifier_margin: float = 0.35
    label_smoothing: float = 0.1
    classification_weight: float = 1.0
    mining: Mining = "hard"  # how positives and negatives are chosen
    margin: float = 0.3  # of the triplets; 0 = soft margin
    triplet_weight: float = 1.0
    lone_images: bool = False  # of each person in a batch: an image is then its only positive
    triplet_feature: Literal["before", "after"] = "before"  # the neck
    circle_weight: float = 0.0  # of the pairwise circle loss, on the features of the triplets
    center_weight: float = 0.0  # of the center loss, on those of all groups joined
    center_alpha: float = 0.5  # how fast centers follow


@dataclasses.dataclass(frozen=True)
class Identify(base.Task):
    """Cross-entropy of every head, averaged, and triplets of every group of heads, averaged.

    `params` holds the network and `classifier`: `kernel` [D, C], or one below the name of each
    head of MGN. `extra` holds `stats`, and `centers` [C, D] where there is a center loss.
    """

    Options = IdentifyOptions
    labelled = True

    freeze: tuple[str, ...] = ()
    freeze_steps: int = 0
    """How long the BatchNorm of frozen parts stands still; the optimizer holds their parameters."""

    @classmethod
    def build(
        cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0
    ) -> "Identify":
        """See `Task.build`, also for what it raises."""
        _check(recipe, table)
        options = recipe.task
        spec = base.describe_network(
            recipe,
            "mgn" if options.network == "mgn" else "reid",
            extra_bn=options.extra_bn,
            embedding_dim=options.embedding_dim,
            num_classes=0 if table is None else table.num_ids,
        )
        return cls(
            options,
            spec,
            base.build_network(recipe, spec),
            base.Views.build(recipe, steps_per_epoch),
            base.make_sampler(recipe),
            freeze=recipe.optim.freeze,
            freeze_steps=(
                optim.num_frozen_steps(recipe.optim, steps_per_epoch)
                if recipe.optim.freeze_statistics
                else 0
            ),
        )

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads."""
        return models.MGN.heads if self.options.network == "mgn" else (ONE,)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Heads whose features are joined for one triplet loss."""
        return models.MGN.triplet_groups if self.options.network == "mgn" else ((ONE,),)

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`."""
        network_key, classifier_key = jax.random.split(key)
        params, stats = models.init(self.network, network_key, self.views.plain(example))
        kind = self.options.classifier
        width = self.options.embedding_dim or self.network.backbone.num_features
        keys = jax.random.split(classifier_key, len(self.heads))
        classifier = {
            name: {"kernel": margins.init_kernel(kind, key, width, table.num_ids)}
            for name, key in zip(self.heads, keys, strict=True)
        }
        extra = {"stats": stats}
        if self.options.center_weight:
            before = self.options.triplet_feature == "before"
            each = self.network.backbone.num_features if before else width
            extra["centers"] = jnp.zeros((table.num_ids, each * len(self.heads)), jnp.float32)
        return {**params, "classifier": classifier.get(ONE, classifier)}, extra

    def encode(self, params: Tree, extra: Tree, inputs: Tree, step: jax.Array) -> tuple[Tree, Tree]:
        """Features before and after the neck. Frozen parts keep their BatchNorm statistics."""
        outputs, stats = models.apply(
            self.network,
            _without_classifier(params),
            extra["stats"],
            self.views.draw(inputs, step),
            train=True,
            frozen=step < self.freeze_steps if self.freeze_steps else False,
            frozen_paths=self.freeze,
        )
        return outputs, {"stats": stats}

    def objective(
        self,
        params: Tree,
        extra: Tree,
        outputs: Tree,
        batch: Batch,
        key: jax.Array,
        step: jax.Array,
    ) -> base.Loss:
        """Weighted sum of the losses."""
        del key, step
        options, (before, after) = self.options, outputs
        identity, accuracy = self._classify(params["classifier"], _by_head(after), batch)
        features = _by_head(before if options.triplet_feature == "before" else after)
        joined = [jnp.concatenate([features[name] for name in group], 1) for group in self.groups]
        pairs, metrics = self._compare(joined, batch)
        loss = options.classification_weight * identity + pairs
        if options.center_weight:
            whole = jnp.concatenate(joined, 1)
            near = {"labels": batch.label, "mask": batch.mask}
            metrics["center"] = center.center_loss(whole, extra["centers"], **near)
            loss = loss + options.center_weight * metrics["center"]
            centers = center.move_centers(
                extra["centers"], whole, alpha=options.center_alpha, **near
            )
            extra = {**extra, "centers": centers}
        return loss, (
            extra,
            {"loss": loss, "cross_entropy": identity, "accuracy": accuracy, **metrics},
        )

    def _classify(
        self, classifier: Tree, after: Features, batch: Batch
    ) -> tuple[jax.Array, jax.Array]:
        """Cross-entropy and accuracy, averaged over the heads."""
        options, losses, accuracies = self.options, [], []
        kernels = {ONE: classifier} if self.heads == (ONE,) else classifier
        for name in self.heads:
            logits, plain = margins.classifier_logits(
                options.classifier,
                after[name],
                kernels[name]["kernel"],
                batch.label,
                scale=options.classifier_scale,
                margin=options.classifier_margin,
            )
            losses.append(
                classification.smoothed_cross_entropy(
                    logits, batch.label, epsilon=options.label_smoothing, mask=batch.mask
                )
            )
            accuracies.append(classification.accuracy(plain, batch.label, mask=batch.mask))
        return _mean(losses), _mean(accuracies)

    def _compare(
        self, features: list[jax.Array], batch: Batch
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Weighted losses over pairs, and their metrics, each averaged over the groups."""
        options, total, metrics = self.options, jnp.zeros((), jnp.float32), {}
        if options.triplet_weight:
            results = [
                TRIPLETS[options.mining](
                    one, batch.label, margin=options.margin or None, mask=batch.mask
                )
                for one in features
            ]
            metrics = {name: _mean([one[name] for _, one in results]) for name in results[0][1]}
            metrics["triplet"] = _mean([loss for loss, _ in results])
            total = total + options.triplet_weight * metrics["triplet"]
        if options.circle_weight:
            losses = [metric.circle_loss(one, batch.label, mask=batch.mask) for one in features]
            metrics["circle"] = _mean(losses)
            total = total + options.circle_weight * metrics["circle"]
        return total, metrics

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Features after the neck, those of all heads joined; not normalized."""
        (_, after), _ = models.apply(
            self.network,
            _without_classifier(params),
            extra["stats"],
            self.views.plain(batch),
            train=False,
        )
        features = _by_head(after)
        return jnp.concatenate([features[name] for name in self.heads], axis=1)


def _check(recipe: Recipe, table: Table | None) -> None:
    options = recipe.task
    base.check_identities(recipe, table)
    _check_pairs(recipe, table)
    if min(options.margin, options.embedding_dim) < 0 or not 0 <= options.label_smoothing < 1:
        raise InputError(
            f"task.margin={options.margin} and task.embedding_dim={options.embedding_dim} must "
            f"not be negative, and task.label_smoothing={options.label_smoothing} lies in 0..1"
        )
    if options.classifier_scale <= 0 or options.classifier_margin < 0:
        raise InputError(
            f"task.classifier_scale={options.classifier_scale} must be positive and "
            f"task.classifier_margin={options.classifier_margin} not negative"
        )
    if options.network == "mgn" and not options.embedding_dim:
        raise InputError("MGN reduces every head; task.embedding_dim=0 must be positive (256)")


def _check_pairs(recipe: Recipe, table: Table | None) -> None:
    """Raises InputError where the batches cannot hold the pairs that a loss compares."""
    options, data = recipe.task, recipe.data
    weights = f"task.triplet_weight={options.triplet_weight:g}"
    if options.circle_weight:
        weights += f" and task.circle_weight={options.circle_weight:g}"
    if table is None or not (options.triplet_weight or options.circle_weight):
        return
    if data.sampler != "shuffled" and data.batch_size == data.num_instances:
        raise InputError(
            f"data.batch_size={data.batch_size} with data.num_instances={data.num_instances} puts "
            f"one identity into a batch, and {weights} compares it with others: no negative would "
            f"ever be seen. Raise data.batch_size to at least {2 * data.num_instances}, or set the "
            "weights to 0"
        )
    alone = len(np.unique(table.pid)) == len(table)
    single = data.sampler != "shuffled" and data.num_instances == 1
    if (alone or single) and not options.lone_images:
        reason = "every identity has one training image" if alone else "data.num_instances=1"
        raise InputError(
            f"{reason}: no batch would hold two images of a person, and {weights} compares such "
            "pairs. Use data.sampler=pk with data.num_instances of 2 or more, or data with several "
            "images of a person, or set the weights to 0; task.lone_images=True trains all the same"
        )


def _by_head(features: jax.Array | Features) -> Features:
    return {ONE: features} if isinstance(features, jax.Array) else features


def _without_classifier(params: Tree) -> Tree:
    return {name: tree for name, tree in params.items() if name != "classifier"}


def _mean(values: list[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, values) / len(values)
