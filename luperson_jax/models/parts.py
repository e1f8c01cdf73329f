"""A person in stripes: local features, and features that know of the whole person.

Source: X. Zang, G. Li, W. Gao, X. Shu, "Exploiting Robust Unsupervised Video Person
Re-identification" (uPMnet), 2022, arXiv 2111.05170, by a description of its program. One stripe
and local features alone are the network of Y. Chen, X. Zhu, S. Gong, "Deep Association Learning for
Unsupervised Video Person Re-identification", 2018, arXiv 1808.07301.
"""

from collections.abc import Mapping
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from data_pipeline.errors import InputError
from luperson_jax.models.norm import GroupedBatchNorm
from luperson_jax.models.trunk import Trunk

PartHead = Literal["local", "global", "fused"]
BRANCHES: Mapping[PartHead, tuple[str, ...]] = {
    "local": ("local",),
    "global": ("global",),
    "fused": ("local", "global"),
}
"""What each head gives of every part, in the order in which it stands in the descriptor."""

Parts = Mapping[str, Float[Array, "b p d"]]


class PartNet(nn.Module):
    """Backbone, stripes of its map, and a relation head. Subtrees `backbone` and, unless the head
    is local, `relation`.

    Attributes:
        backbone: the network before the stripes.
        num_parts: stripes over the height.
        head: "local" is the mean of each stripe, "global" what the relation head makes of it,
            "fused" both, on one backbone.
        relation_dim: features of the relation head.
    """

    backbone: Trunk
    num_parts: int = 8
    head: PartHead = "fused"
    relation_dim: int = 256

    @nn.compact
    def __call__(self, images: Float[Array, "b height width 3"], *, train: bool) -> Parts:
        """Features of the parts of images [B, H, W, 3], normalized RGB.

        Returns:
            "local" [B, P, C] and "global" [B, P, relation_dim], as far as the head has them;
            float32, not of unit norm.

        Raises:
            InputError: the map cannot be cut into so many stripes of equal height.
        """
        x = self.backbone(images, train=train).astype(jnp.float32)
        if x.shape[1] % self.num_parts:
            raise InputError(
                f"images of {images.shape[1]} rows give a feature map of {x.shape[1]}, which "
                f"cannot be cut into {self.num_parts} stripes of equal height; change data.size, "
                "task.parts or model.last_stride"
            )
        stripes = x.reshape(x.shape[0], self.num_parts, -1, x.shape[-1]).mean(axis=2)
        found = {"local": stripes}
        if self.head != "local":
            group_size = self.backbone.bn_group_size
            momentum = self.backbone.bn_momentum
            relation = Relation(self.relation_dim, group_size, momentum, name="relation")
            found["global"] = relation(stripes, train=train)
        return {name: found[name] for name in BRANCHES[self.head]}


class Relation(nn.Module):
    """Merges every part with the whole person.

    Part and whole are each reduced by a layer of their own; both side by side go through a layer
    of the part, batch normalization and ReLU6, and the whole is added. Parameters: `reduce` (parts,
    then the whole) and `merge` have a leading axis of parts; `bn` has the channels of all parts.

    Attributes:
        features: of each part.
        bn_group_size, bn_momentum: as of `ResNet`.
    """

    features: int = 256
    bn_group_size: int = 0
    bn_momentum: float = 0.1

    @nn.compact
    def __call__(self, parts: Float[Array, "b p d"], *, train: bool) -> Float[Array, "b p e"]:
        """[B, P, features] float32 of the parts [B, P, D], whose mean is the whole."""
        batch, num_parts, width = parts.shape
        whole = parts.mean(axis=1, keepdims=True)
        every = jnp.concatenate([parts, whole], axis=1)
        many, twice = (num_parts + 1, width, self.features), 2 * self.features
        batched = nn.initializers.variance_scaling(
            2.0, "fan_out", "normal", in_axis=1, out_axis=2, batch_axis=(0,)
        )
        reduce = self.param("reduce", batched, many, jnp.float32)
        bias = self.param("reduce_bias", nn.initializers.zeros, many[::2], jnp.float32)
        merge = self.param("merge", batched, (num_parts, twice, self.features), jnp.float32)
        reduced = jnp.einsum("bpd,pde->bpe", every, reduce) + bias[None]
        of_part, of_whole = jnp.split(reduced, [num_parts], axis=1)
        both = jnp.concatenate([of_part, jnp.broadcast_to(of_whole, of_part.shape)], axis=2)
        merged = jnp.einsum("bpe,pef->bpf", both, merge).reshape(batch, -1)
        norm = GroupedBatchNorm(self.bn_group_size, self.bn_momentum, name="bn")
        merged = norm(merged, train=train)
        return nn.relu6(merged).reshape(batch, num_parts, -1) + of_whole


def descriptor(parts: Parts) -> Float[Array, "b pd"]:
    """The features of a frame: of each part all that the network gives, raw, side by side, scaled
    to the length 1 / sqrt(P).

    Args:
        parts: [B, P, .] of each branch.

    Returns:
        [B, P D] of unit length, part after part.
    """
    joined = jnp.concatenate(list(parts.values()), axis=2)
    length = jnp.sqrt(jnp.maximum(jnp.sum(joined**2, axis=2, keepdims=True), 1e-10))
    return (joined / length / joined.shape[1] ** 0.5).reshape(joined.shape[0], -1)
