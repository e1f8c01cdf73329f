"""What methods that compare the two views of a batch with each other share: SimCLR and SupCont.

Both views go through one network, one after the other, so that each is normalized with its own
BatchNorm statistics. With `model.bn_group_size=0` these are of the whole batch on all devices.
"""

import dataclasses
from typing import Any

import jax

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax import models
from luperson_jax.config import Recipe
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base
from luperson_jax.vectors import l2_normalize


def parts(recipe: Recipe, steps_per_epoch: int) -> tuple[Any, ...]:
    """What `base.Task` is made of, in its order, checked.

    Raises:
        InputError: settings that do not fit each other.
    """
    options = recipe.task
    if options.temperature <= 0 or options.feature_dim < 1 or options.reference_devices < 1:
        raise InputError(
            f"task.temperature={options.temperature} must be above 0, and "
            f"task.feature_dim={options.feature_dim} and "
            f"task.reference_devices={options.reference_devices} at least 1"
        )
    base.check_nothing_frozen(recipe)
    spec = base.describe_network(
        recipe, "simclr", feature_dim=options.feature_dim, head=options.head
    )
    views, network = base.Views.build(recipe, steps_per_epoch), base.build_network(recipe, spec)
    return options, spec, network, views, base.make_sampler(recipe)


@dataclasses.dataclass(frozen=True)
class ViewPair(base.Task):
    """All but what is compared. `extra` holds `stats` alone."""

    def init(self, key: jax.Array, example: Batch, table: Table) -> tuple[Tree, Tree]:
        """See `Task.init`."""
        del table
        params, stats = models.init(self.network, key, self.views.plain(example))
        return params, {"stats": stats}

    def inputs(self, batch: Batch, key: jax.Array) -> Tree:
        """Two views of every picture."""
        keys = zip(("query", "key"), jax.random.split(key), strict=True)
        return {name: base.Pictures.of(batch, one) for name, one in keys}

    def encode(self, params: Tree, extra: Tree, inputs: Tree, step: jax.Array) -> tuple[Tree, Tree]:
        """Projections [B, d] of both views, both with gradient, not of unit norm."""
        outputs, stats = {}, extra["stats"]
        for name in ("query", "key"):
            views = self.views.draw(inputs[name], step)
            (_, outputs[name]), stats = models.apply(self.network, params, stats, views, train=True)
        return outputs, {"stats": stats}

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Unit vectors: the projection, or the pooled backbone feature."""
        images = self.views.plain(batch)
        (pooled, projection), _ = models.apply(
            self.network, params, extra["stats"], images, train=False
        )
        return l2_normalize(projection if self.options.embedding == "projection" else pooled)
