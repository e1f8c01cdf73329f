"""Supervised contrast of tracklets, as LUPerson-NL compares its method with it.

Prannay Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv 2004.11362; Dengpan Fu
et al., "Large-Scale Pre-training for Person Re-identification with Noisy Labels", CVPR 2022, arXiv
2203.16533.
"""

import dataclasses
from typing import ClassVar, Literal

import jax

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax.config import Recipe
from luperson_jax.losses import view_contrast
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base, view_pair


@dataclasses.dataclass(frozen=True)
class SupContOptions:
    """Settings of the group `task`."""

    name: ClassVar[str] = "supcont"
    temperature: float = 0.1
    base_temperature: float = 0.07  # the loss is multiplied by temperature / base_temperature
    feature_dim: int = 2048
    head: Literal["mlp_bn", "mlp", "linear"] = "mlp_bn"  # with BatchNorm between the layers
    embedding: Literal["projection", "backbone"] = "projection"
    reference_quirks: bool = False  # gradients divided by reference_devices, as published
    reference_devices: int = 8  # GPUs of the authors


@dataclasses.dataclass(frozen=True)
class SupCont(view_pair.ViewPair):
    """Every view is to find its partner and all views of the same label in the batch."""

    Options = SupContOptions
    labelled = True

    @classmethod
    def build(
        cls, recipe: Recipe, table: Table | None = None, steps_per_epoch: int = 0
    ) -> "SupCont":
        """See `Task.build`, also for what it raises."""
        base.check_identities(recipe, table)
        if recipe.task.base_temperature <= 0:
            raise InputError(
                f"task.base_temperature={recipe.task.base_temperature} must be above 0"
            )
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
        """Supervised contrast over the whole batch."""
        del params, key, step
        options = self.options
        loss, metrics = view_contrast.supervised_contrast(
            outputs["query"],
            outputs["key"],
            batch.label,
            temperature=options.temperature,
            base_temperature=options.base_temperature,
        )
        if options.reference_quirks:
            loss = view_contrast.with_gradient_times(loss, 1 / options.reference_devices)
        return loss, (extra, {"loss": loss, **metrics})
