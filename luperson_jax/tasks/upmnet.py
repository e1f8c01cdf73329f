"""uPMnet and DAL: unsupervised re-identification from the tracklets of each camera.

X. Zang, G. Li, W. Gao, X. Shu, "Exploiting Robust Unsupervised Video Person Re-identification",
2022, arXiv 2111.05170; Y. Chen, X. Zhu, S. Gong, "Deep Association Learning for Unsupervised Video
Person Re-identification", BMVC 2018, arXiv 1808.07301, which is one part and local features.

All that is known of a frame is its camera and its tracklet there. Every part of a person learns by
itself: a frame is to be nearer to the anchor of its tracklet than to the others of its camera, and
anchors of two cameras that find each other are drawn together.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.frames import Tracklets
from data_pipeline.table.records import Table
from luperson_jax import models, optim
from luperson_jax.config import Recipe
from luperson_jax.losses import association
from luperson_jax.models.parts import PartHead, descriptor
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base


@dataclasses.dataclass(frozen=True)
class UpmnetOptions:
    """Settings of the group `task`."""

    name: ClassVar[str] = "upmnet"
    parts: int = 8  # stripes of a person
    head: PartHead = "fused"
    relation_dim: int = 256  # features of the head that knows of the whole person
    margin: float = 0.5  # of squared distances
    rate: float = 0.5  # of the anchors
    update: association.Update = "reference"
    empty_rows: association.EmptyRows = "masked"
    warm_up_epochs: int = 2  # before cameras are matched


@dataclasses.dataclass(frozen=True)
class Upmnet(base.Task):
    """`params` holds the network. `extra` holds `stats`, `tracklet` [N] of every frame, -1 for
    none, `row_camera` [T], and `banks`: of each branch `intra` and `cross` [P, T, D]."""

    Options = UpmnetOptions
    labelled = False

    steps_per_epoch: int = 1
    freeze: tuple[str, ...] = ()
    freeze_steps: int = 0
    """How long the BatchNorm of frozen parts stands still; the optimizer holds their parameters."""

    @classmethod
    def build(
        cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0
    ) -> "Upmnet":
        """See `Task.build`, also for what it raises."""
        options = recipe.task
        _check(recipe, table)
        spec = base.describe_network(
            recipe,
            "parts",
            num_parts=options.parts,
            part_head=options.head,
            hidden=options.relation_dim,
        )
        network, views = base.build_network(recipe, spec), base.Views.build(recipe, steps_per_epoch)
        frozen = optim.num_frozen_steps(recipe.optim, steps_per_epoch)
        return cls(
            options,
            spec,
            network,
            views,
            base.make_sampler(recipe),
            steps_per_epoch=max(steps_per_epoch, 1),
            freeze=recipe.optim.freeze,
            freeze_steps=frozen if recipe.optim.freeze_statistics else 0,
        )

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`. The banks are empty: zeros."""
        images = self.views.plain(example)
        params, stats = models.init(self.network, key, images)
        outputs = jax.eval_shape(
            lambda: self.network.apply(_variables(params, stats), images, train=False)
        )
        tracklets = Tracklets.of(table)
        number = len(tracklets.length)
        banks = {
            branch: {
                bank: jnp.zeros((leaf.shape[1], number, leaf.shape[2]), jnp.float32)
                for bank in ("intra", "cross")
            }
            for branch, leaf in outputs.items()
        }
        return params, {
            "stats": stats,
            "banks": banks,
            "tracklet": jnp.asarray(tracklets.of_row, jnp.int32),
            "row_camera": jnp.asarray(tracklets.heads.camera, jnp.int32),
        }

    def encode(self, params: Tree, extra: Tree, inputs: Tree, step: jax.Array) -> tuple[Tree, Tree]:
        """Features [B, P, D] of every branch, each part of unit length."""
        outputs, stats = models.apply(
            self.network,
            params,
            extra["stats"],
            self.views.draw(inputs, step),
            train=True,
            frozen=step < self.freeze_steps if self.freeze_steps else False,
            frozen_paths=self.freeze,
        )
        return jax.tree.map(association.normalized, outputs), {"stats": stats}

    def objective(
        self,
        params: Tree,
        extra: Tree,
        outputs: Tree,
        batch: Batch,
        key: jax.Array,
        step: jax.Array,
    ) -> base.Loss:
        """The losses of all branches by the banks as they were, and the banks after the batch."""
        del params, key
        options, metrics, banks = self.options, {}, {}
        total = jnp.zeros((), jnp.float32)
        where = (extra["tracklet"][batch.index], extra["row_camera"])
        started = step >= options.warm_up_epochs * self.steps_per_epoch
        shared = {"empty_rows": options.empty_rows, "mask": batch.mask}
        for branch, features in outputs.items():
            bank = extra["banks"][branch]
            loss, found = association.association_loss(
                features, bank["intra"], bank["cross"], *where, margin=options.margin, **shared
            )
            total = total + loss
            metrics |= {f"{branch}_{name}": found[name] for name in ("intra", "cross", "own_first")}
            intra, cross = association.move_banks(
                bank["intra"],
                bank["cross"],
                features,
                *where,
                started,
                rate=options.rate,
                update=options.update,
                **shared,
            )
            banks[branch] = {"intra": intra, "cross": cross}
        return total, ({**extra, "banks": banks}, {"loss": total, **metrics})

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """The descriptor of each frame [B, P D], of unit length."""
        images = self.views.plain(batch)
        outputs, _ = models.apply(self.network, params, extra["stats"], images, train=False)
        return descriptor(outputs)


def _variables(params: Tree, stats: Tree) -> Tree:
    return {"params": params, "batch_stats": stats}


def _check(recipe: Recipe, table: Table | None) -> None:
    options = recipe.task
    if options.parts < 1 or options.relation_dim < 1:
        raise InputError(
            f"task.parts={options.parts} and task.relation_dim={options.relation_dim} must be at "
            "least 1"
        )
    if options.margin < 0 or not 0 < options.rate <= 1 or options.warm_up_epochs < 0:
        raise InputError(
            f"task.margin={options.margin} and task.warm_up_epochs={options.warm_up_epochs} must "
            f"not be negative, and task.rate={options.rate} above 0 and at most 1"
        )
    if table is None:
        return
    if not np.any(table.track >= 0):
        raise InputError(
            f"{recipe.data.dataset} at {recipe.data.root!r} has no tracklets, and uPMnet learns "
            "from nothing else; take a video data set, such as mars or prid2011"
        )
    if np.any(table.camera[table.track >= 0] < 0):
        raise InputError(
            f"{recipe.data.dataset} at {recipe.data.root!r} has tracklets of unknown cameras"
        )
