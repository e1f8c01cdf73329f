"""A network that compiles at once, in place of a ResNet: heads on the mean colors of a picture.

As a program, `python -m tests.stand_in`, it is `luperson_jax.main` with that network.
"""

import sys
from typing import Any

import flax.linen as nn
import pytest

from luperson_jax import main
from luperson_jax.models import BNNeck, ProjectionHead
from luperson_jax.models.baseline import pnl_heads
from luperson_jax.models.norm import GroupedBatchNorm
from luperson_jax.models.parts import PartNet
from luperson_jax.tasks import base

NUM_POOLED = 24


class StandIn(nn.Module):
    """What the encoders of pre-training give: pooled feature [B, 24], projection, and of PNL what
    its classifier takes; or the feature before and after a BNNeck."""

    spec: Any
    bn_group_size: int
    num_pooled: int = NUM_POOLED

    @nn.compact
    def __call__(self, images: Any, *, train: bool) -> tuple[Any, ...]:
        """Images [B, h, w, 3], h and w divisible by 4 and 2."""
        height, width = images.shape[1] // 4, images.shape[2] // 2
        cells = images.reshape(-1, 4, height, 2, width, 3)
        pooled = cells.mean(axis=(2, 4)).reshape(-1, NUM_POOLED)
        # Without the curve, a head that begins with BatchNorm would undo the bias of this one.
        pooled = nn.tanh(GroupedBatchNorm(self.bn_group_size, name="norm")(pooled, train=train))
        if self.spec.kind == "pnl":
            return pnl_heads(pooled, 16, self.spec.feature_dim, self.spec.embedding_dim)
        kind, group_size = self.spec.head, self.bn_group_size
        if self.spec.kind == "reid":
            before = ProjectionHead(16, NUM_POOLED, name="head")(pooled, train=train)
            return before, BNNeck(bn_group_size=group_size, name="neck")(before, train=train)
        head = ProjectionHead(16, self.spec.feature_dim, kind, group_size, name="head")
        return pooled, head(pooled, train=train)


class StandInMap(nn.Module):
    """A trunk: a feature map [B, 4, 2, 16] of the mean colors of as many cells."""

    bn_group_size: int
    bn_momentum: float = 0.1
    num_features: int = 16

    @nn.compact
    def __call__(self, images: Any, *, train: bool) -> Any:
        """Images [B, h, w, 3], h and w divisible by 4 and 2."""
        height, width = images.shape[1] // 4, images.shape[2] // 2
        cells = images.reshape(-1, 4, height, 2, width, 3).mean(axis=(2, 4))
        x = nn.Dense(16, use_bias=False, name="conv1")(cells)
        norm = GroupedBatchNorm(self.bn_group_size, self.bn_momentum, name="bn1")
        return nn.relu(norm(x, train=train))


def use(patch: Any) -> None:
    """From here on every method is built on it."""

    def build(recipe: Any, spec: Any) -> Any:
        group_size = recipe.model.bn_group_size
        if spec.kind == "parts":
            return PartNet(StandInMap(group_size), spec.num_parts, spec.part_head, spec.hidden)
        return StandIn(spec, group_size)

    patch.setattr(base, "build_network", build)


if __name__ == "__main__":
    use(pytest.MonkeyPatch())
    sys.exit(main.main(sys.argv[1:]))
