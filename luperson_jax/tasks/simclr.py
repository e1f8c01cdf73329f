"""SimCLR, as LUPerson-NL compares its method with it.

Ting Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML
2020, arXiv 2002.05709; Dengpan Fu et al., "Large-Scale Pre-training for Person Re-identification
with Noisy Labels", CVPR 2022, arXiv 2203.16533.
"""

import dataclasses
from typing import ClassVar, Literal

import jax

from data_pipeline.table.records import Table
from luperson_jax.config import Recipe
from luperson_jax.losses import view_contrast
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base, view_pair


@dataclasses.dataclass(frozen=True)
class SimClrOptions:
    """Settings of the group `task`."""

    name: ClassVar[str] = "simclr"
    temperature: float = 0.1
    feature_dim: int = 128
    head: Literal["mlp_bn", "mlp", "linear"] = "mlp_bn"  # with BatchNorm between the layers
    loss_weight: float = 2.0  # the authors of LUPerson-NL double the mean; 1 = the paper's
    embedding: Literal["projection", "backbone"] = "projection"
    reference_quirks: bool = False  # gradients divided by reference_devices, as published
    reference_devices: int = 8  # GPUs of the authors


@dataclasses.dataclass(frozen=True)
class SimClr(view_pair.ViewPair):
    """Every view is to find its partner among all other views of the batch."""

    Options = SimClrOptions
    labelled = False

    @classmethod
    def build(
        cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0
    ) -> "SimClr":
        """See `Task.build`, also for what it raises."""
        del table
        return cls(*view_pair.parts(recipe, steps_per_epoch))

    def objective(
        self,
        params: Tree,
        extra: Tree,
        outputs: Tree,
        batch: Batch,
        key: jax.Array,
        step: jax.Array,
    ) -> base.Loss:
        """NT-Xent over the whole batch."""
        del params, batch, key, step
        options = self.options
        mean, metrics = view_contrast.nt_xent(
            outputs["query"], outputs["key"], temperature=options.temperature
        )
        loss = options.loss_weight * mean
        if options.reference_quirks:
            loss = view_contrast.with_gradient_times(loss, 1 / options.reference_devices)
        return loss, (extra, {"loss": loss, **metrics})
