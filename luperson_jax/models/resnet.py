"""ResNet in torchvision's layout.

The parameter tree is a public file format. Its names are torchvision's, an index joined by `_`:
`conv1`, `bn1`, `layer1_0/{conv1,bn1,conv2,bn2,conv3,bn3,downsample_0,downsample_1}`. Convolutions
hold `kernel` (height, width, in, out), normalizations `scale` and `bias`; `batch_stats` has
`mean` and `var` at the same paths.

Source: K. He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385; the
stride of a bottleneck stands on its 3x3 convolution, as in torchvision.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from luperson_jax.models.norm import GroupedBatchNorm, InstanceBatchNorm

Form = Literal["auto", "matmul", "convolution"]
SMALL_MAP = 32
"""Pixels. On maps of this size a product of patches beats XLA's convolution on a CPU, gradients
included; on larger ones the copies of the patches cost more than they save."""

Flag = bool | Bool[Array, ""]

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """Convolution without bias, padded by `kernel_size // 2` on every side.

    The padding is explicit because "SAME" pads only below and right at stride 2, unlike PyTorch.

    Attributes:
        features: output channels.
        kernel_size: height and width of the kernel, odd.
        stride: step in both directions.
        compute_dtype: input and kernel are cast to it; the kernel is stored as float32.
        form: how the kernel is applied; see `ResNet`.
    """

    features: int
    kernel_size: int
    stride: int = 1
    compute_dtype: DTypeLike = jnp.float32
    form: Form = "auto"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 features"]:
        """Convolves `x`; the result is of `compute_dtype`."""
        size, stride = self.kernel_size, self.stride
        shape = (size, size, x.shape[-1], self.features)
        kernel = self.param("kernel", kaiming_normal, shape, jnp.float32)
        kernel = kernel.astype(self.compute_dtype)
        x = x.astype(self.compute_dtype)
        small = size == 1 or x.shape[1] * x.shape[2] <= SMALL_MAP
        if small and _as_matmul(self.form):
            return _patches(x, size, stride) @ kernel.reshape(-1, self.features)
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(stride, stride),
            padding=((size // 2, size // 2), (size // 2, size // 2)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


def _patches(x: Float[Array, "b h w c"], size: int, stride: int) -> Float[Array, "b h2 w2 patch"]:
    """The input of every output pixel: size * size shifted copies of `x`, one after the other."""
    _, height, width, _ = x.shape
    around = (size // 2, size // 2)
    x = jnp.pad(x, ((0, 0), around, around, (0, 0)))
    shifted = [
        x[:, top : top + height : stride, left : left + width : stride]
        for top in range(size)
        for left in range(size)
    ]
    return jnp.concatenate(shifted, axis=-1)


def _as_matmul(form: Form) -> bool:
    assert form in ("auto", "matmul", "convolution"), form
    if form == "auto":
        return jax.default_backend() == "cpu"
    return form == "matmul"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18, -34); the stride is on the first."""

    features: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    first_norm: Callable[..., nn.Module]
    expansion = 1

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, frozen: Flag
    ) -> Float[Array, "b h2 w2 features"]:
        """Applies the block; see `ResNet.__call__` for `train` and `frozen`."""
        mode = {"train": train, "frozen": frozen}
        y = self.conv(self.features, 3, self.stride, name="conv1")(x)
        y = nn.relu(self.first_norm(name="bn1")(y, **mode))
        y = self.conv(self.features, 3, name="conv2")(y)
        y = self.norm(name="bn2")(y, **mode)
        return nn.relu(y + _shortcut(self, x, y, mode))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut (ResNet-50 and deeper)."""

    features: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    first_norm: Callable[..., nn.Module]
    expansion = 4

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, frozen: Flag
    ) -> Float[Array, "b h2 w2 d"]:
        """Applies the block; see `ResNet.__call__` for `train` and `frozen`."""
        mode = {"train": train, "frozen": frozen}
        y = self.conv(self.features, 1, name="conv1")(x)
        y = nn.relu(self.first_norm(name="bn1")(y, **mode))
        y = self.conv(self.features, 3, self.stride, name="conv2")(y)
        y = nn.relu(self.norm(name="bn2")(y, **mode))
        y = self.conv(self.features * self.expansion, 1, name="conv3")(y)
        y = self.norm(name="bn3")(y, **mode)
        return nn.relu(y + _shortcut(self, x, y, mode))


def _shortcut(block: BasicBlock | Bottleneck, x: Array, y: Array, mode: dict[str, Any]) -> Array:
    """The input of the block, projected where its shape differs from the output `y`."""
    if block.stride == 1 and x.shape[-1] == y.shape[-1]:
        return x.astype(y.dtype)
    projected = block.conv(y.shape[-1], 1, block.stride, name="downsample_0")(x)
    return block.norm(name="downsample_1")(projected, **mode)


_LAYOUT: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}

ARCHITECTURES = tuple(f"resnet{depth}" for depth in _LAYOUT)


def smallest_architecture(num_blocks: Sequence[int], *, bottleneck: bool) -> str | None:
    """The shallowest architecture with at least so many blocks in each stage, or None."""
    block = Bottleneck if bottleneck else BasicBlock
    return next(
        (
            f"resnet{depth}"
            for depth, (kind, layout) in _LAYOUT.items()
            if kind is block and all(a <= b for a, b in zip(num_blocks, layout, strict=True))
        ),
        None,
    )


class ResNet(nn.Module):
    """ResNet without its classifier.

    Attributes:
        depth: 18, 34, 50, 101 or 152.
        width: channels of the stem; 64 is torchvision's.
        last_stride: stride of `layer4`: 2 as in torchvision, 1 as re-ID uses it (a feature map of
            twice the height and width).
        ibn: IBN-a normalization at the first `bn1` of each block of `layer1` to `layer3`.
        bn_group_size: images that share batch statistics; 0 = the whole batch.
        compute_dtype: type of the convolutions and of the feature maps. Parameters and the
            arithmetic of normalizations are float32.
        stem: "imagenet" = 7x7 at stride 2 and 3x3 max-pooling at stride 2; "small" = 3x3 at
            stride 1 without pooling, for pictures of about 64x32 pixels.
        form: how convolutions with 1x1 kernels, and all on maps of at most `SMALL_MAP` pixels,
            are computed. "matmul": a product of patches and kernel; on CPU a few times faster than
            XLA's convolution. "convolution": the plain form; which of the two is faster on GPU and
            TPU is not measured. "auto": matmul on CPU, convolution elsewhere.
    """

    depth: int = 50
    width: int = 64
    last_stride: int = 2
    ibn: bool = False
    bn_group_size: int = 0
    compute_dtype: DTypeLike = jnp.float32
    stem: Literal["imagenet", "small"] = "imagenet"
    form: Form = "auto"

    @property
    def num_features(self) -> int:
        """Channels of the feature map: 2048 for ResNet-50 at width 64."""
        return 8 * self.width * _LAYOUT[self.depth][0].expansion

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b height width 3"],
        *,
        train: bool,
        frozen: Flag = False,
    ) -> Float[Array, "b h w c"]:
        """Computes the feature map.

        Args:
            images: [B, H, W, 3] normalized RGB.
            train: normalize with the statistics of the batch and update the running ones.
            frozen: where True, training normalizes with the running statistics and leaves them.

        Returns:
            [B, H/32, W/32, num_features] of `compute_dtype`, not negative; H/16 where
            `last_stride` is 1, and 4 times that with the small stem.
        """
        block, num_blocks = _LAYOUT[self.depth]
        conv = functools.partial(Conv, compute_dtype=self.compute_dtype, form=self.form)
        norm = functools.partial(GroupedBatchNorm, self.bn_group_size)
        half_instance = functools.partial(InstanceBatchNorm, self.bn_group_size)

        x = self._stem(images, conv, norm, {"train": train, "frozen": frozen})
        for stage, stride in enumerate((1, 2, 2, self.last_stride)):
            for index in range(num_blocks[stage]):
                x = block(
                    features=self.width * 2**stage,
                    stride=stride if index == 0 else 1,
                    conv=conv,
                    norm=norm,
                    first_norm=half_instance if self.ibn and stage < 3 else norm,
                    name=f"layer{stage + 1}_{index}",
                )(x, train=train, frozen=frozen)
        return x

    def _stem(
        self,
        images: Array,
        conv: Callable[..., nn.Module],
        norm: Callable[..., nn.Module],
        mode: dict[str, Any],
    ) -> Array:
        assert self.stem in ("imagenet", "small"), self.stem
        kernel_size, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = conv(self.width, kernel_size, stride, name="conv1")(images)
        x = nn.relu(norm(name="bn1")(x, **mode))
        if self.stem == "imagenet":
            sides = ((0, 0), (1, 1), (1, 1), (0, 0))
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), sides)
        return x


def resnet(architecture: str, **options: Any) -> ResNet:
    """The ResNet of that name, one of `ARCHITECTURES`; `options` are attributes of `ResNet`."""
    assert architecture in ARCHITECTURES, architecture
    return ResNet(depth=int(architecture.removeprefix("resnet")), **options)
