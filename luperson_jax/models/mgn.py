"""MGN as LUPerson fine-tunes it: one trunk, three branches, eight features of a person.

Source: G. Wang et al., "Learning Discriminative Features with Multiple Granularities for Person
Re-Identification", 2018, arXiv 1804.01438, in FastReID's form: all branches keep the resolution,
and every head pools, reduces to 256 and has a BNNeck (L. He et al., 2020, arXiv 2006.02631). The
extra normalization is LUPerson's: D. Fu et al., 2021, arXiv 2012.03753.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from data_pipeline.errors import InputError
from luperson_jax.models.heads import EmbeddingHead
from luperson_jax.models.norm import GroupedBatchNorm
from luperson_jax.models.pooling import PoolingKind
from luperson_jax.models.resnet import ResNet

TRUNK_END, BRANCH_START = "layer3_0", "layer3_1"
NUM_PARTS = {"b1": 1, "b2": 2, "b3": 3}
"""Stripes over the height of a person, by branch."""


class MGN(nn.Module):
    """Multiple granularity network, without its eight classifiers.

    Subtrees: `backbone` (the stem to `layer3_0`), the branches `b1`, `b2`, `b3` (`layer3_1` to the
    end, each with parameters of its own), `extra_bn_b1` and so on if there are any, and the heads
    `b1_head` to `b33_head`. `models.init` lets the three branches start from equal values. The
    stride of `layer4` is 1, whatever `last_stride` of the backbone says.

    Attributes:
        backbone: the ResNet that is cut in two; not with non-local blocks.
        pooling: of every head; each has an exponent of its own where it is learned.
        extra_bn: a batch normalization on the map of each branch, for unsupervised weights.
        embedding_dim: features of each head.
    """

    heads: ClassVar[tuple[str, ...]] = ("b1", "b2", "b3", "b21", "b22", "b31", "b32", "b33")
    """In the order in which a person's features stand side by side."""
    triplet_groups: ClassVar[tuple[tuple[str, ...], ...]] = (
        *(("b1",), ("b2",), ("b3",)),
        ("b21", "b22"),
        ("b31", "b32", "b33"),
    )
    """Heads that have a triplet loss together, their features side by side."""
    alike: ClassVar[Mapping[str, str]] = MappingProxyType({"b2": "b1", "b3": "b1"})
    """Branches that start equal. Their arrays are copies: a step gives up the memory of its
    state."""

    backbone: ResNet
    pooling: PoolingKind = "gem_learned"
    extra_bn: bool = False
    embedding_dim: int = 256

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b height width 3"],
        *,
        train: bool,
    ) -> tuple[dict[str, Float[Array, "b d"]], dict[str, Float[Array, "b e"]]]:
        """Embeds images [B, H, W, 3], normalized RGB.

        Args:
            images: the batch.
            train: normalize with the statistics of the batch.

        Returns:
            by name of the head the pooled features [B, D] before the neck, and the features
            [B, embedding_dim] after it, float32. Losses, search and evaluation use the latter, in
            the order of `heads`.

        Raises:
            InputError: the images are too low to be cut into three parts, or the backbone has
                non-local blocks.
        """
        if self.backbone.non_local:
            raise InputError("MGN has no non-local blocks; set model.non_local to False")
        trunk = self.backbone(images, last=TRUNK_END, train=train)
        group_size = self.backbone.bn_group_size
        maps: dict[str, Array] = {}
        for branch, num_parts in NUM_PARTS.items():
            network = self.backbone.clone(parent=self, name=branch, last_stride=1)
            x = network(trunk, first=BRANCH_START, train=train).astype(jnp.float32)
            if self.extra_bn:
                name = f"extra_bn_{branch}"
                x = GroupedBatchNorm(group_size, name=name)(x, train=train)
            maps[branch] = x
            if num_parts > 1:
                parts = self._parts(x, num_parts, images.shape[1])
                maps |= {f"{branch}{number}": part for number, part in enumerate(parts, start=1)}
        before, after = {}, {}
        for head in self.heads:
            name = f"{head}_head"
            pool = EmbeddingHead(self.pooling, self.embedding_dim, group_size, name=name)
            before[head], after[head] = pool(maps[head], train=train)
        return before, after

    def _parts(self, x: Array, num_parts: int, image_height: int) -> list[Array]:
        height = x.shape[1]
        sizes = part_sizes(height, num_parts)
        if len(sizes) < num_parts:
            enough = height + 1
            while len(part_sizes(enough, num_parts)) < num_parts:
                enough += 1
            stride = 16 if self.backbone.stem == "imagenet" else 4
            raise InputError(
                f"images of {image_height} rows give a feature map of {height}, which cannot be "
                f"cut into {num_parts} parts (their rows would be {sizes}); expected a map of "
                f"{enough} rows: make data.size {enough * stride} pixels high, or more"
            )
        return jnp.split(x, np.cumsum(sizes)[:-1].tolist(), axis=1)


def part_sizes(height: int, num_parts: int) -> list[int]:
    """Rows of each part: equal and rounded up, so that the last is shorter and others may be lost.

    This is torch.chunk: 16 rows make 6 + 6 + 4, and 4 rows make 2 + 2 instead of three parts.
    """
    size = -(-height // num_parts)
    return [min(size, height - top) for top in range(0, height, size)]
