"""PNL: pre-training with noisy labels, the method of LUPerson-NL.

Dengpan Fu et al., "Large-Scale Pre-training for Person Re-identification with Noisy Labels", CVPR
2022, arXiv 2203.16533.

A tracker gave the labels: one person may have several, and one label several persons. A classifier
learns them, a prototype of each label follows its features, and where both agree against a label it
is replaced, for that step alone. Contrast with a queue takes the keys of the same label as
positives.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax import models
from luperson_jax.augment import recipes
from luperson_jax.config import Recipe
from luperson_jax.losses import contrastive, noisy_labels
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base, key_encoder
from luperson_jax.vectors import l2_normalize

PROTOTYPE_EPOCH = 1
"""From which epoch on the prototypes are learned from: they are zero at the start."""

CLASSIFIER_DEVIATION = 0.001


@dataclasses.dataclass(frozen=True)
class PnlOptions:
    """Settings of the group `task`; epochs count from 0."""

    name: ClassVar[str] = "pnl"
    queue_size: int = 65536
    momentum: float = 0.999
    temperature: float = 0.07
    feature_dim: int = 128
    cls_dim: int = 256  # width of the layer before the classifier; 0 = none
    class_multiple: int = 1  # classes are filled up to a multiple, to be cut over devices
    prototype_momentum: float = 0.999
    alpha: float = 0.5  # weight of the classifier beside the prototypes, where labels are replaced
    pseudo_threshold: float = 0.8  # probability above which they are
    start_clean_epoch: int = 11  # from which on
    start_supcont_epoch: int = 15  # from which on keys of the same label are positives
    instance_weight: float = 1.0
    prototype_weight: float = 1.0
    form: noisy_labels.Form = "code"  # of the contrast, see losses/noisy_labels.py
    shuffle_bn: bool = True
    query_recipe: str = "weak"  # views of the queries; augment.recipe is that of the keys
    embedding: Literal["projection", "backbone"] = "backbone"
    reference_quirks: bool = False  # prototypes of unit length, so that the first feature stays


@dataclasses.dataclass(frozen=True)
class Pnl(base.Task):
    """Cross-entropy of classifier and prototypes, and contrast guided by labels.

    `params` holds the network and `classifier` (`kernel` [cls_dim or D, C], `bias` [C]). `extra` is
    that of `key_encoder`, whose copy has a classifier too, with `queue_id` [K] int32, the labels of
    the queue, -1 at first, and `prototypes` [C, d], zero at first.
    """

    Options = PnlOptions
    labelled = True
    sharded: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"classifier/kernel": 1, "classifier/bias": 0, "prototypes": 0}
    )

    query_views: base.Views | None = None
    shuffle: key_encoder.Shuffle | None = None
    num_ids: int = 0
    steps_per_epoch: int = 1

    @classmethod
    def build(cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0) -> "Pnl":
        """See `Task.build`, also for what it raises."""
        base.check_identities(recipe, table)
        options = recipe.task
        key_encoder.check(recipe)
        _check(options)
        num_ids = 0 if table is None else table.num_ids
        parts = {name: getattr(options, name) for name in ("feature_dim", "queue_size")}
        spec = base.describe_network(
            recipe,
            "pnl",
            embedding_dim=options.cls_dim,
            num_classes=-(-num_ids // options.class_multiple) * options.class_multiple,
            **parts,
        )
        views = base.Views.build(recipe, steps_per_epoch)
        return cls(
            options,
            spec,
            base.build_network(recipe, spec),
            views,
            base.make_sampler(recipe),
            query_views=dataclasses.replace(views, law=recipes.recipe(options.query_recipe)),
            shuffle=key_encoder.Shuffle.build(recipe),
            num_ids=num_ids,
            steps_per_epoch=max(steps_per_epoch, 1),
        )

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`."""
        del table
        options, num_classes = self.options, self.spec.num_classes
        network_key, queue_key, class_key = jax.random.split(key, 3)
        params, stats = models.init(self.network, network_key, self.views.plain(example))
        width = options.cls_dim or self.network.num_pooled
        kernel = jax.random.normal(class_key, (width, num_classes), jnp.float32)
        classifier = {"kernel": CLASSIFIER_DEVIATION * kernel, "bias": jnp.zeros(num_classes)}
        params = {**params, "classifier": classifier}
        size, dim = options.queue_size, options.feature_dim
        return params, {
            **key_encoder.begin(queue_key, params, stats, size, dim),
            "queue_id": jnp.full(size, -1, jnp.int32),
            "prototypes": jnp.zeros((num_classes, dim), jnp.float32),
        }

    def inputs(self, batch: Batch, key: jax.Array) -> Tree:
        """See `key_encoder.inputs`."""
        return key_encoder.inputs(batch, key, self.shuffle)

    def encode(self, params: Tree, extra: Tree, inputs: Tree, step: jax.Array) -> tuple[Tree, Tree]:
        """Unit vectors [B, d] of the two encoders, keys without gradient, and what the classifier
        takes [B, cls_dim or D]."""
        assert self.query_views is not None
        views = self.query_views.draw(inputs["query"], step)
        (_, query, before_classes), stats = models.apply(
            self.network, _network(params), extra["stats"], views, train=True
        )
        key_params = key_encoder.follow(
            _network(params), _key_network(extra), self.options.momentum
        )
        views = self.views.draw(inputs["key"], step)
        (_, keys, _), key_stats = models.apply(
            *(self.network, key_params, extra["key_stats"], views),
            train=True,
            group=inputs.get("group"),
        )
        outputs = {
            "query": l2_normalize(query),
            "key": jax.lax.stop_gradient(l2_normalize(keys)),
            "before_classes": before_classes,
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
        """The three losses, and the memories after this batch.

        The contrast compares labels as given with labels in the queue as they were replaced then.
        """
        options, epoch, query = self.options, step // self.steps_per_epoch, outputs["query"]
        keys = key_encoder.in_batch_order(outputs["key"], key, self.shuffle)
        by_class = self._class_logits(params["classifier"], outputs["before_classes"])
        by_prototype = self._prototype_logits(extra["prototypes"], query)
        given = batch.label
        rectified = noisy_labels.rectify(
            by_class, by_prototype, given, alpha=options.alpha, threshold=options.pseudo_threshold
        )
        labels = jnp.where(epoch >= options.start_clean_epoch, rectified, given)
        instance, metrics = noisy_labels.label_guided_contrast(
            query,
            keys,
            extra["queue"],
            extra["queue_id"],
            given,
            epoch >= options.start_supcont_epoch,
            temperature=options.temperature,
            form=options.form,
        )
        parts = {
            "cross_entropy": noisy_labels.cross_entropy(by_class, labels),
            "instance": instance,
            "prototype": jnp.where(
                epoch >= PROTOTYPE_EPOCH, noisy_labels.cross_entropy(by_prototype, labels), 0.0
            ),
        }
        loss = parts["cross_entropy"] + options.instance_weight * instance
        loss = loss + options.prototype_weight * parts["prototype"]
        metrics |= {"rectified": jnp.mean((labels != given).astype(jnp.float32))}
        metrics |= {"queue_age": key_encoder.queue_age(batch, options.queue_size, step)}
        moved = self._memories(extra, query, keys, labels)
        moved["key_params"] = key_encoder.follow(params, extra, options.momentum)
        return loss, ({**extra, **moved}, {"loss": loss, **parts, **metrics})

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Unit vectors of the query encoder: the pooled backbone feature, or the projection."""
        images = self.views.plain(batch)
        (pooled, projection, _), _ = models.apply(
            self.network, _network(params), extra["stats"], images, train=False
        )
        return l2_normalize(projection if self.options.embedding == "projection" else pooled)

    def _class_logits(self, classifier: Tree, features: jax.Array) -> jax.Array:
        """[B, C] of the classifier."""
        logits = features.astype(jnp.float32) @ classifier["kernel"] + classifier["bias"][None]
        return self._only_classes(logits)

    def _prototype_logits(self, prototypes: jax.Array, query: jax.Array) -> jax.Array:
        """[B, C] of the prototypes; 0 of a class that had no picture yet."""
        rows = prototypes if self.options.reference_quirks else l2_normalize(prototypes)
        similarity = jnp.matmul(query, rows.T, precision=jax.lax.Precision.HIGHEST)
        return self._only_classes(similarity / self.options.temperature)

    def _only_classes(self, logits: jax.Array) -> jax.Array:
        """-inf for the classes that only fill up."""
        if logits.shape[1] == self.num_ids:
            return logits
        fills = jnp.arange(logits.shape[1]) >= self.num_ids
        return jnp.where(fills[None, :], -jnp.inf, logits)

    def _memories(self, extra: Tree, query: jax.Array, keys: jax.Array, labels: jax.Array) -> Tree:
        """Queue, its labels and the prototypes after a batch."""
        options, pointer = self.options, extra["queue_pointer"]
        queue_id = contrastive.enqueue_labels(extra["queue_id"], pointer, labels)
        queue, following = contrastive.enqueue(extra["queue"], pointer, keys)
        prototypes = noisy_labels.move_prototypes(
            extra["prototypes"],
            query,
            labels,
            momentum=options.prototype_momentum,
            unit=options.reference_quirks,
        )
        memories = {"queue": queue, "queue_id": queue_id, "queue_pointer": following}
        return {**memories, "prototypes": prototypes}


def _check(options: PnlOptions) -> None:
    if options.start_clean_epoch < PROTOTYPE_EPOCH:
        raise InputError(
            f"task.start_clean_epoch={options.start_clean_epoch} must be at least "
            f"{PROTOTYPE_EPOCH}: labels are replaced by what prototypes say, and before the first "
            "epoch is over there is none of some identities"
        )
    if options.start_supcont_epoch < 0 or options.cls_dim < 0 or options.class_multiple < 1:
        raise InputError(
            f"task.start_supcont_epoch={options.start_supcont_epoch} and "
            f"task.cls_dim={options.cls_dim} must not be negative, and "
            f"task.class_multiple={options.class_multiple} at least 1"
        )
    for name in ("prototype_momentum", "alpha", "pseudo_threshold"):
        value = getattr(options, name)
        if not 0 <= value <= 1:
            raise InputError(f"task.{name}={value} must be from 0 to 1")
    if min(options.instance_weight, options.prototype_weight) < 0:
        raise InputError(
            f"task.instance_weight={options.instance_weight} and "
            f"task.prototype_weight={options.prototype_weight} must not be negative"
        )


def _network(params: Tree) -> Tree:
    return {name: tree for name, tree in params.items() if name != "classifier"}


def _key_network(extra: Tree) -> Tree:
    return {"key_params": _network(extra["key_params"])}
