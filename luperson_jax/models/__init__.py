"""Networks. The one room that knows Flax; the program sees nested dicts of arrays.

`init` and `apply` are the door: a module is an immutable description, its parameters and
statistics are plain trees that the caller owns.
"""

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from luperson_jax.models.baseline import MocoEncoder, PnlEncoder, PooledBackbone, ReidNet
from luperson_jax.models.heads import BNNeck, CameraHead, ProjectionHead
from luperson_jax.models.mgn import MGN
from luperson_jax.models.moments import Flag
from luperson_jax.models.norm import GroupedBatchNorm
from luperson_jax.models.pooling import POOLING_KINDS, Pooling
from luperson_jax.models.resnet import ResNet, resnet
from luperson_jax.models.spec import ARCHITECTURES, ENCODERS, TRUNK_PARTS, Kind, NetworkSpec
from luperson_jax.structs import Tree

__all__ = [
    "ARCHITECTURES",
    "ENCODERS",
    "MGN",
    "MISFIT",
    "POOLING_KINDS",
    "TRUNK_PARTS",
    "BNNeck",
    "CameraHead",
    "GroupedBatchNorm",
    "Kind",
    "MocoEncoder",
    "NetworkSpec",
    "PnlEncoder",
    "PooledBackbone",
    "Pooling",
    "ProjectionHead",
    "ReidNet",
    "ResNet",
    "apply",
    "init",
    "resnet",
]

MISFIT = (
    flax.errors.ScopeParamNotFoundError,
    flax.errors.ScopeParamShapeError,
    flax.errors.ScopeVariableNotFoundError,
    flax.errors.ScopeCollectionNotFound,
)
"""What `apply` raises where the trees are not those of the module."""


def init(
    module: nn.Module, key: PRNGKeyArray, images: Float[Array, "b h w 3"]
) -> tuple[Tree, Tree]:
    """Draws the parameters of a network.

    Args:
        module: any; where it has `alike`, these subtrees start equal: [name] -> whose values.
        key: random key; equal keys give equal parameters.
        images: [B, H, W, 3] float32. Only its shape matters, and B may be 1.

    Returns:
        params and stats (running statistics), nested dicts of float32 arrays. The forward pass
        that finds the shapes is traced and never executed.
    """
    shape = jax.ShapeDtypeStruct(images.shape, images.dtype)
    variables = module.lazy_init(key, shape, train=False)
    params, stats = variables["params"], variables.get("batch_stats", {})
    for name, source in getattr(module, "alike", {}).items():
        params = {**params, name: jax.tree.map(jnp.copy, params[source])}
    return params, stats


def apply(
    module: nn.Module,
    params: Tree,
    stats: Tree,
    images: Float[Array, "b h w 3"],
    *,
    train: bool,
    frozen: Flag = False,
    frozen_paths: Sequence[str] = (),
    group: Int[Array, "b"] | None = None,
) -> tuple[Any, Tree]:
    """Runs a network.

    Args:
        module: the one that `init` was given.
        params: its parameters.
        stats: its running statistics.
        images: [B, H, W, 3] float32, normalized RGB.
        train: False = normalize with the running statistics.
        frozen: in training, where True the batch normalizations at `frozen_paths` normalize with
            their running statistics and keep them. May be traced. Stopping parameters is the
            optimizer's part.
        frozen_paths: regular expressions, to be found in the paths of their parameters.
        group: in training, the number of the group of each image whose images share statistics;
            None = the groups are images that follow each other.

    Returns:
        the outputs of the module, and the updated statistics (`stats` itself if not `train`).

    Raises:
        ValueError: in training, the batch is no multiple of the module's `bn_group_size`.
    """
    assert images.dtype == jnp.float32, images.dtype
    variables = {"params": params, "batch_stats": stats}
    if not train:
        return module.apply(variables, images, train=False), stats
    with _told(frozen_paths, frozen, group):
        outputs, updated = module.apply(variables, images, train=True, mutable=["batch_stats"])
    return outputs, updated["batch_stats"]


def _told(
    patterns: Sequence[str], frozen: Flag, group: Array | None
) -> contextlib.AbstractContextManager[None]:
    """Within, batch normalizations are called with `group`, and those whose path a pattern is found
    in with `frozen`."""

    def call(following: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        if isinstance(context.module, GroupedBatchNorm) and context.method_name == "__call__":
            path = "/".join((*context.module.path, "scale"))
            kwargs = {**kwargs, "group": group}
            if any(re.search(pattern, path) for pattern in patterns):
                kwargs["frozen"] = frozen
        return following(*args, **kwargs)

    return nn.intercept_methods(call)
