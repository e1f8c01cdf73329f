"""The encoders of MoCo, SimCLR and PNL, and the baseline of re-ID."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from luperson_jax.models.convolution import kaiming_normal
from luperson_jax.models.heads import BNNeck, HeadKind, ProjectionHead
from luperson_jax.models.norm import GroupedBatchNorm
from luperson_jax.models.pooling import Pooling, PoolingKind
from luperson_jax.models.trunk import Trunk


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
        head: kind of projection head; its batch normalization has the groups of the backbone.
    """

    backbone: Trunk
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
    ) -> tuple[Float[Array, "b d"], Float[Array, "b feature_dim"]]:
        """Encodes images [B, H, W, 3], normalized RGB.

        Returns:
            pooled feature [B, D] and projection [B, feature_dim], float32, not of unit norm.
        """
        feature_map = self.backbone(images, train=train)
        pooled = Pooling(self.pooling, name="pool")(feature_map)
        hidden = self.hidden or self.backbone.num_features
        group_size = self.backbone.bn_group_size
        head = ProjectionHead(hidden, self.feature_dim, self.head, group_size, name="head")
        return pooled, head(pooled, train=train)


class PnlEncoder(nn.Module):
    """The encoder of PNL without its classifier. Subtrees `backbone`, `head`, `embed` where there
    is one, `pool` if it is learned.

    Source: D. Fu et al., "Large-Scale Pre-training for Person Re-identification with Noisy Labels",
    2022, arXiv 2203.16533. Initial values as in the authors' code: kernels of these layers
    Kaiming-normal fan-out.

    Attributes:
        backbone: the network before the pooling.
        pooling: kind of pooling.
        hidden: features inside the head; 0 = as many as the backbone gives.
        feature_dim: features of the projection.
        embedding_dim: features of the layer before the classifier; 0 = there is none.
    """

    backbone: Trunk
    pooling: PoolingKind = "avg"
    hidden: int = 0
    feature_dim: int = 128
    embedding_dim: int = 0

    @property
    def num_pooled(self) -> int:
        """Pooled features."""
        return self.backbone.num_features

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b height width 3"],
        *,
        train: bool,
    ) -> tuple[Float[Array, "b d"], Float[Array, "b feature_dim"], Float[Array, "b e"]]:
        """Encodes images [B, H, W, 3], normalized RGB.

        Returns:
            pooled feature [B, D], projection [B, feature_dim], not of unit norm, and what the
            classifier takes [B, embedding_dim or D]; float32.
        """
        feature_map = self.backbone(images, train=train)
        pooled = Pooling(self.pooling, name="pool")(feature_map)
        return pnl_heads(
            pooled, self.hidden or self.num_pooled, self.feature_dim, self.embedding_dim
        )


def pnl_heads(
    pooled: Array, hidden: int, feature_dim: int, embedding_dim: int
) -> tuple[Array, Array, Array]:
    """What `PnlEncoder` gives of a pooled feature, with its subtrees in the module that calls."""
    head = ProjectionHead(hidden, feature_dim, kernel_init=kaiming_normal, name="head")
    projection, before_classes = head(pooled, train=False), pooled
    if embedding_dim:
        embed = nn.Dense(embedding_dim, kernel_init=kaiming_normal, name="embed")
        before_classes = nn.relu(embed(pooled))
    return pooled, projection, before_classes


class PooledBackbone(nn.Module):
    """Backbone and pooling alone. Subtree `backbone`, and `pool` if it is learned.

    Attributes:
        backbone: the network before the pooling.
        pooling: kind of pooling.
    """

    backbone: Trunk
    pooling: PoolingKind = "avg"

    @nn.compact
    def __call__(
        self, images: Float[Array, "b height width 3"], *, train: bool
    ) -> Float[Array, "b d"]:
        """Pooled features [B, D] float32 of images [B, H, W, 3], normalized RGB."""
        feature_map = self.backbone(images, train=train)
        return Pooling(self.pooling, name="pool")(feature_map)


class ReidNet(nn.Module):
    """Backbone, pooling and BNNeck: BoT and its descendants, without the classifier.

    BoT pools by the average; AGW has a backbone with non-local blocks and the generalized mean of
    exponent 3; SBS the same and learns the exponent.

    Subtrees `backbone`, `neck`, `extra_bn` if there is one, `pool` if it is learned. All batch
    normalizations use the `bn_group_size` of the backbone.

    Source: H. Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person
    Re-identification", 2019, arXiv 1903.07071; M. Ye et al., "Deep Learning for Person
    Re-identification: A Survey and Outlook" (AGW), 2021, arXiv 2001.04193; L. He et al.,
    "FastReID: A PyTorch Toolbox for General Instance Re-identification" (SBS), 2020,
    arXiv 2006.02631; the extra normalization is LUPerson's.

    Attributes:
        backbone: the network before the pooling.
        pooling: kind of pooling.
        extra_bn: a batch normalization on the feature map before the pooling, as LUPerson does
            for unsupervised weights.
        embedding_dim: features after the neck; 0 = as many as the backbone gives.
    """

    backbone: Trunk
    pooling: PoolingKind = "avg"
    extra_bn: bool = False
    embedding_dim: int = 0

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b height width 3"],
        *,
        train: bool,
    ) -> tuple[Float[Array, "b d"], Float[Array, "b e"]]:
        """Embeds images [B, H, W, 3], normalized RGB.

        Args:
            images: the batch.
            train: normalize with the statistics of the batch.

        Returns:
            the pooled feature before the neck [B, D] and the one after it [B, embedding_dim or D],
            float32. Both serve training; search and evaluation use the second.
        """
        feature_map = self.backbone(images, train=train)
        feature_map = feature_map.astype(jnp.float32)
        group_size = self.backbone.bn_group_size
        if self.extra_bn:
            extra_bn = GroupedBatchNorm(group_size, name="extra_bn")
            feature_map = extra_bn(feature_map, train=train)
        before = Pooling(self.pooling, name="pool")(feature_map)
        neck = BNNeck(self.embedding_dim, group_size, name="neck")
        return before, neck(before, train=train)
