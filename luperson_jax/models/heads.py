"""What follows the pooled feature: the projection of pre-training and the neck of re-ID."""

import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from luperson_jax.models.convolution import kaiming_normal, torch_uniform
from luperson_jax.models.norm import GroupedBatchNorm
from luperson_jax.models.pooling import Pooling, PoolingKind

HeadKind = Literal["mlp", "mlp_bn", "linear"]


class TorchLinear(nn.Module):
    """Linear layer with bias and the initial values of `torch.nn.Linear`.

    Kernel (in, out) and bias (out) are uniform in +-1/sqrt(in), the kernel unless `kernel_init`
    draws it.
    """

    features: int
    kernel_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b features"]:
        """Maps `x` [B, D] float32 to [B, features] float32."""
        start = torch_uniform(x.shape[-1])
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init or start, shape, jnp.float32)
        bias = self.param("bias", start, (self.features,), jnp.float32)
        return x @ kernel + bias[None]


class ProjectionHead(nn.Module):
    """The head of MoCo and SimCLR, without normalization of the result.

    "mlp" is linear, ReLU, linear (MoCo v2), with subtrees `fc_0` and `fc_2` after `fc.0` and `fc.2`
    of the PyTorch files; "mlp_bn" has a batch normalization before the ReLU (SimCLR), with `fc_0`,
    `fc_1` and `fc_3`; "linear" is one layer (MoCo v1), with the subtree `fc`.
    Source: X. Chen et al., "Improved Baselines with Momentum Contrastive Learning", 2020,
    arXiv 2003.04297; K. He et al., "Momentum Contrast for Unsupervised Visual Representation
    Learning", 2020, arXiv 1911.05722; T. Chen et al., "A Simple Framework for Contrastive Learning
    of Visual Representations", 2020, arXiv 2002.05709.

    Attributes:
        hidden: features between the two layers.
        out: features of the result.
        kind: "mlp", "mlp_bn" or "linear".
        bn_group_size: images that share batch statistics; 0 = the whole batch.
        kernel_init: initializer of the kernels; that of PyTorch by default.
    """

    hidden: int
    out: int
    kind: HeadKind = "mlp"
    bn_group_size: int = 0
    kernel_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool) -> Float[Array, "b out"]:
        """Projects `x` [B, D] float32 to [B, out] float32; see `GroupedBatchNorm` for `train`."""
        linear = functools.partial(TorchLinear, kernel_init=self.kernel_init)
        if self.kind == "linear":
            return linear(self.out, name="fc")(x)
        x = linear(self.hidden, name="fc_0")(x)
        if self.kind == "mlp":
            return linear(self.out, name="fc_2")(nn.relu(x))
        x = GroupedBatchNorm(self.bn_group_size, name="fc_1")(x, train=train)
        return linear(self.out, name="fc_3")(nn.relu(x))


class CameraHead(nn.Module):
    """Names the camera of a feature: two hidden layers of `hidden` with batch normalization.

    Subtrees `fc_0`, `bn_0`, `fc_1`, `bn_1` and `fc_2`. Features of the first layer are dropped,
    half of them, while it is trained.
    Source: Li et al., "CALR: Camera-Aware Label Refinement for Unsupervised Person
    Re-Identification", 2024, arXiv 2403.16450.

    Attributes:
        num_cameras: classes.
        hidden: features of the hidden layers.
        bn_group_size: images that share batch statistics; 0 = the whole batch.
    """

    num_cameras: int
    hidden: int = 100
    bn_group_size: int = 0

    @nn.compact
    def __call__(
        self, x: Float[Array, "b d"], kept: Bool[Array, "b hidden"] | None, *, train: bool
    ) -> Float[Array, "b num_cameras"]:
        """Logits [B, num_cameras] float32 of features [B, D].

        Args:
            x: features.
            kept: [B, hidden] False where a feature of the first layer is dropped; the others count
                twice. None keeps all as they are.
            train: see `GroupedBatchNorm`.
        """
        for layer in range(2):
            x = TorchLinear(self.hidden, name=f"fc_{layer}")(x)
            norm = GroupedBatchNorm(self.bn_group_size, name=f"bn_{layer}")
            x = nn.relu(norm(x, train=train))
            if layer == 0 and kept is not None:
                x = jnp.where(kept, 2 * x, 0)
        return TorchLinear(self.num_cameras, name="fc_2")(x)


def _near_one(key: PRNGKeyArray, shape: tuple[int, ...], dtype: type) -> Array:
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


class BNNeck(nn.Module):
    """Optional linear reduction, then batch normalization whose bias is frozen at 0.

    Subtrees `bn` and, with a reduction, `reduction` (`kernel` (D, E): a 1x1 convolution without
    bias on the pooled feature).
    Source: H. Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person
    Re-identification", 2019, arXiv 1903.07071. Initial values as in FastReID: scale N(1, 0.02),
    reduction Kaiming-normal fan-out.

    Attributes:
        embedding_dim: features after the reduction; 0 = no reduction.
        bn_group_size: images that share batch statistics; 0 = the whole batch.
    """

    embedding_dim: int = 0
    bn_group_size: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool) -> Float[Array, "b e"]:
        """Maps the pooled feature [B, D] float32 to [B, embedding_dim or D] float32; see
        `GroupedBatchNorm` for `train`."""
        return _reduce_and_normalize(x, self.embedding_dim, self.bn_group_size, train=train)


class EmbeddingHead(nn.Module):
    """Pooling and BNNeck of one part of a person: MGN has eight of these.

    Subtrees `bn`, `reduction` where there is one, and `pool` where it is learned.
    Source: L. He et al., "FastReID: A PyTorch Toolbox for General Instance Re-identification",
    2020, arXiv 2006.02631.

    Attributes:
        pooling: kind of pooling.
        embedding_dim: features after the reduction; 0 = no reduction.
        bn_group_size: images that share batch statistics; 0 = the whole batch.
    """

    pooling: PoolingKind = "avg"
    embedding_dim: int = 0
    bn_group_size: int = 0

    @nn.compact
    def __call__(
        self, feature_map: Float[Array, "b h w d"], *, train: bool
    ) -> tuple[Float[Array, "b d"], Float[Array, "b e"]]:
        """Pools a map [B, h, w, D]; see `GroupedBatchNorm` for `train`.

        Returns:
            the pooled feature [B, D] and the one after the neck [B, embedding_dim or D], float32.
        """
        before = Pooling(self.pooling, name="pool")(feature_map)
        after = _reduce_and_normalize(before, self.embedding_dim, self.bn_group_size, train=train)
        return before, after


def _reduce_and_normalize(
    x: Array, embedding_dim: int, bn_group_size: int, *, train: bool
) -> Array:
    """The neck, with its subtrees in the module that calls."""
    if embedding_dim:
        x = nn.Dense(embedding_dim, use_bias=False, kernel_init=kaiming_normal, name="reduction")(x)
    norm = GroupedBatchNorm(bn_group_size, freeze_bias=True, scale_init=_near_one, name="bn")
    return norm(x, train=train)
