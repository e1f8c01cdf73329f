"""CALR: clusters over all cameras, refined by those that each camera alone has found.

Yunfei Li et al., "CALR: Camera-Aware Label Refinement for Unsupervised Person Re-Identification",
2024, arXiv 2403.16450. This is its second stage, Cluster Contrast with three additions: images
that their own camera parts from the pivot of a cluster leave it, clusters count by how many cameras
see them, and for the first epochs a classifier of cameras behind a reversed gradient makes features
forget the camera. `tasks.calr_local` is the first stage, which makes the local labels.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax.clustering import grouping, local_labels, refinement
from luperson_jax.config import Recipe
from luperson_jax.losses import camera
from luperson_jax.models import CameraHead
from luperson_jax.retrieval import neighbors
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base, pseudo_labels
from luperson_jax.tasks.cluster_contrast import ClusterContrast, ClusterContrastOptions

HEAD = "camera_head"
"""Where the classifier of cameras lies in `params` and in `extra["stats"]`."""
DROPOUT = 0x5EED
"""Folded into the key of an image, whose other uses are its views."""


@dataclasses.dataclass(frozen=True)
class CalrOptions(ClusterContrastOptions):
    """Settings of the group `task`; epochs count from 0."""

    name: ClassVar[str] = "calr"
    local_labels: str = ""  # file or folder of local labels; empty = clusters are not refined
    pivot: refinement.PivotRule = "best"  # which image speaks for a cluster
    pivot_similarity: float = 0.5  # least cosine of the neighbors by which it is chosen
    reassign: bool = False  # images that leave join the cluster of most of their local cluster
    weights_from_epoch: int = 5  # from which on clusters count by their cameras; -1 = never
    least_weight: float = 0.1  # of a cluster of one camera; the authors have 0
    camera_epochs: int = 3  # how long features unlearn the camera; 0 = never
    camera_weight: float = 1.0
    camera_reversal: float = 1.0  # alpha, strength of the reversed gradient
    camera_twice: bool = False  # the loss of probabilities taken for logits, as the authors have it


@dataclasses.dataclass(frozen=True)
class Calr(ClusterContrast):
    """As `ClusterContrast`; `extra` also holds `weights` [capacity] of the clusters and `local`
    [N], the cluster of each image in its camera, and `params` and `stats` a `camera_head`."""

    Options = CalrOptions

    cameras: tuple[int, ...] = ()
    """Numbers of the cameras."""
    head: CameraHead | None = None
    steps_per_epoch: int = 1

    @classmethod
    def build(cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0) -> "Calr":
        """See `Task.build`, also for what it raises."""
        options = recipe.task
        _check(options)
        task = super().build(recipe, table, steps_per_epoch)
        assert isinstance(task, Calr)
        if table is None:
            return task
        cameras = tuple(map(int, np.unique(table.camera[table.camera >= 0])))
        if len(cameras) < 2:
            raise InputError(
                f"CALR needs images of two cameras or more; {recipe.data.dataset} at "
                f"{recipe.data.root!r} has {len(cameras)}. task.name=cluster_contrast needs none"
            )
        head = CameraHead(len(cameras), bn_group_size=recipe.model.bn_group_size)
        return dataclasses.replace(
            task,
            cameras=cameras,
            head=head if options.camera_epochs else None,
            steps_per_epoch=max(steps_per_epoch, 1),
        )

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`.

        Raises:
            InputError: local labels that are damaged or of other images.
        """
        network_key, head_key = jax.random.split(key)
        params, extra = super().init(network_key, example, table)
        given, local = self.options.local_labels, np.full(len(table), -1)
        if given:
            local = local_labels.read(given, table)
        extra |= {
            "local": jnp.asarray(local, jnp.int32),
            "weights": jnp.ones(self.capacity, jnp.float32),
        }
        if self.head is None:
            return params, extra
        feature = jax.ShapeDtypeStruct((1, params["neck"]["bn"]["scale"].shape[0]), jnp.float32)
        variables = self.head.lazy_init(head_key, feature, None, train=False)
        stats = {**extra["stats"], HEAD: variables["batch_stats"]}
        return {**params, HEAD: variables["params"]}, {**extra, "stats": stats}

    def encode(self, params: Tree, extra: Tree, inputs: Tree, step: jax.Array) -> tuple[Tree, Tree]:
        """Unit vectors [B, D] after the neck, and beside them the logits of the cameras."""
        network, stats = _without_head(params), _without_head(extra["stats"])
        features, moved = super().encode(network, {"stats": stats}, inputs, step)
        if self.head is None:
            return {"features": features}, moved
        turned = camera.reverse_gradient(features, self.options.camera_reversal)
        kept = jax.vmap(functools.partial(_kept, self.head.hidden))
        logits, updated = self.head.apply(
            {"params": params[HEAD], "batch_stats": extra["stats"][HEAD]},
            turned,
            kept(inputs.keys),
            train=True,
            mutable=["batch_stats"],
        )
        stats = {**moved["stats"], HEAD: updated["batch_stats"]}
        return {"features": features, "cameras": logits}, {"stats": stats}

    def objective(
        self,
        params: Tree,
        extra: Tree,
        outputs: Tree,
        batch: Batch,
        key: jax.Array,
        step: jax.Array,
    ) -> base.Loss:
        """Contrast with the memory and, for the first epochs, the loss of the cameras."""
        options = self.options
        loss, (extra, metrics) = super().objective(
            params, extra, outputs["features"], batch, key, step
        )
        if self.head is None:
            return loss, (extra, metrics)
        known = jnp.asarray(self.cameras, jnp.int32)
        place = jnp.searchsorted(known, batch.camera).astype(jnp.int32)
        place = jnp.where(known.at[place].get(mode="clip") == batch.camera, place, -1)
        of_camera = camera.camera_loss(
            outputs["cameras"], place, twice=options.camera_twice, mask=batch.mask
        )
        counts = step // self.steps_per_epoch < options.camera_epochs
        loss = loss + jnp.where(counts, options.camera_weight * of_camera, 0.0)
        return loss, (extra, {**metrics, "loss": loss, "camera": of_camera})

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Unit vectors [B, D] after the neck."""
        stats = _without_head(extra["stats"])
        return super().embed(_without_head(params), {**extra, "stats": stats}, batch)

    def refined(
        self,
        found: grouping.Clusters,
        features: np.ndarray,
        extra: Tree,
        units: pseudo_labels.Units,
        epoch: int,
    ) -> tuple[np.ndarray, Tree, dict[str, float]]:
        """See `ClusterContrast.refined`: images leave clusters, and clusters have weights."""
        options, labels = self.options, found.labels
        local, cameras = np.asarray(extra["local"], np.int64)[units.first], units.table.camera
        changed = {}
        if options.local_labels:
            labels = self._refined_by_cameras(labels, features, cameras, local)
            left = np.count_nonzero(labels != found.labels)
            changed = {"clusters/refined": float(left)}
        weights = np.ones(self.capacity, np.float32)
        if 0 <= options.weights_from_epoch <= epoch:
            own = refinement.camera_weights(labels, cameras, floor=options.least_weight)
            weights[: len(own)] = own
        return labels, {"weights": weights}, changed

    def _refined_by_cameras(
        self, labels: np.ndarray, features: np.ndarray, cameras: np.ndarray, local: np.ndarray
    ) -> np.ndarray:
        options = self.options
        near = neighbors.nearest(features, features, min(options.k1, len(labels)), self_first=True)
        score = refinement.centrality(
            near.distance, near.rows, min_similarity=options.pivot_similarity
        )
        pivot = refinement.pivots(labels, score, cameras, options.pivot)
        refined = refinement.refine(labels, cameras, local, pivot)
        if options.reassign:
            return refinement.reassign(labels, refined, cameras, local)
        return refined


def _kept(number: int, key: jax.Array) -> jax.Array:
    """Half of the features of an image, by its key: [number] bool."""
    return jax.random.bernoulli(jax.random.fold_in(key, DROPOUT), 0.5, (number,))


def _without_head(tree: Tree) -> Any:
    return {name: part for name, part in tree.items() if name != HEAD}


def _check(options: CalrOptions) -> None:
    if min(options.least_weight, options.camera_weight, options.camera_reversal) < 0:
        raise InputError(
            f"task.least_weight={options.least_weight}, task.camera_weight="
            f"{options.camera_weight} and task.camera_reversal={options.camera_reversal} must not "
            "be negative"
        )
    if options.camera_epochs < 0 or options.weights_from_epoch < -1:
        raise InputError(
            f"task.camera_epochs={options.camera_epochs} must not be negative, and "
            f"task.weights_from_epoch={options.weights_from_epoch} not below -1"
        )
    if not -1 <= options.pivot_similarity <= 1:
        raise InputError(f"task.pivot_similarity={options.pivot_similarity} must be a cosine")
