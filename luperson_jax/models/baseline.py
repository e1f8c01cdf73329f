"""The two whole networks: the encoder of MoCo and the baseline of re-ID."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from luperson_jax.models.heads import BNNeck, HeadKind, ProjectionHead
from luperson_jax.models.norm import GroupedBatchNorm
from luperson_jax.models.pooling import Pooling, PoolingKind
from luperson_jax.models.resnet import ResNet


class MocoEncoder(nn.Module):
    """Backbone, pooling and projection head. Subtrees `backbone`, `head`, `pool` if it is learned.

    Source: X. Chen et al., "Improved Baselines with Momentum Contrastive Learning", 2020,
    arXiv 2003.04297, as LUPerson uses it: D. Fu et al., "Unsupervised Pre-training for Person
    Re-identification", 2021, arXiv 2012.03753.

    Attributes:
        backbone: the network before the pooling.
        pooling: kind of pooling.
        hidden: features inside the head; 0 = as many as the backbone gives.
        feature_dim: features of the projection.
        head: kind of projection head.
    """

    backbone: ResNet
    pooling: PoolingKind = "avg"
    hidden: int = 0
    feature_dim: int = 128
    head: HeadKind = "mlp"

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b height width 3"],
        *,
        train: bool,
        frozen: bool | Bool[Array, ""] = False,
    ) -> tuple[Float[Array, "b d"], Float[Array, "b feature_dim"]]:
        """Encodes images [B, H, W, 3], normalized RGB.

        Returns:
            pooled feature [B, D] and projection [B, feature_dim], float32, not of unit norm.
        """
        feature_map = self.backbone(images, train=train, frozen=frozen)
        pooled = Pooling(self.pooling, name="pool")(feature_map)
        hidden = self.hidden or self.backbone.num_features
        head = ProjectionHead(hidden, self.feature_dim, self.head, name="head")
        return pooled, head(pooled)


class ReidNet(nn.Module):
    """Backbone, pooling and BNNeck: BoT and its descendants, without the classifier.

    Subtrees `backbone`, `neck`, `extra_bn` if there is one, `pool` if it is learned. All batch
    normalizations use the `bn_group_size` of the backbone.

    Source: H. Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person
    Re-identification", 2019, arXiv 1903.07071; the extra normalization is LUPerson's.

    Attributes:
        backbone: the network before the pooling.
        pooling: kind of pooling.
        extra_bn: a batch normalization on the feature map before the pooling, as LUPerson does
            for unsupervised weights.
        embedding_dim: features after the neck; 0 = as many as the backbone gives.
    """

    backbone: ResNet
    pooling: PoolingKind = "avg"
    extra_bn: bool = False
    embedding_dim: int = 0

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b height width 3"],
        *,
        train: bool,
        frozen: bool | Bool[Array, ""] = False,
    ) -> tuple[Float[Array, "b d"], Float[Array, "b e"]]:
        """Embeds images [B, H, W, 3], normalized RGB.

        Args:
            images: the batch.
            train: normalize with the statistics of the batch.
            frozen: where True, the backbone normalizes with its running statistics; the extra
                normalization and the neck are never frozen. Stopping the backbone's parameters is
                the optimizer's part.

        Returns:
            the pooled feature before the neck [B, D] and the one after it [B, embedding_dim or D],
            float32. Both serve training; search and evaluation use the second.
        """
        feature_map = self.backbone(images, train=train, frozen=frozen).astype(jnp.float32)
        group_size = self.backbone.bn_group_size
        if self.extra_bn:
            feature_map = GroupedBatchNorm(group_size, name="extra_bn")(feature_map, train=train)
        before = Pooling(self.pooling, name="pool")(feature_map)
        after = BNNeck(self.embedding_dim, group_size, name="neck")(before, train=train)
        return before, after
