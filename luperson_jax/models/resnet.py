"""ResNet in torchvision's layout.

The parameter tree is a public file format. Its names are torchvision's, an index joined by `_`:
`conv1`, `bn1`, `layer1_0/{conv1,bn1,conv2,bn2,conv3,bn3,downsample_0,downsample_1}`. Convolutions
hold `kernel` (height, width, in, out), normalizations `scale` and `bias`; `batch_stats` has
`mean` and `var` at the same paths. Non-local blocks are
`NL_2_0/{g,theta,phi,W_0,W_1}` and so on, by stage and number.

Source: K. He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385; the
stride of a bottleneck stands on its 3x3 convolution, as in torchvision.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from luperson_jax.models import moments
from luperson_jax.models.convolution import Conv, Form, around
from luperson_jax.models.max_pool import max_pool
from luperson_jax.models.nonlocal_block import NonLocalBlock
from luperson_jax.models.norm import GroupedBatchNorm, InstanceBatchNorm
from luperson_jax.models.projection import Projection


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
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b h2 w2 features"]:
        """Applies the block; see `ResNet.__call__` for `train`."""
        y = self.conv(self.features, 3, self.stride, name="conv1")(x)
        y = self.first_norm(name="bn1")(y, train=train, relu=True)
        y = self.conv(self.features, 3, name="conv2")(y)
        y = self.norm(name="bn2")(y, train=train)
        return moments.relu(y + _shortcut(self, x, y, train))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut (ResNet-50 and deeper)."""

    features: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    first_norm: Callable[..., nn.Module]
    expansion = 4

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        """Applies the block; see `ResNet.__call__` for `train`."""
        y = self.conv(self.features, 1, name="conv1")(x)
        y = self.first_norm(name="bn1")(y, train=train, relu=True)
        y = self.conv(self.features, 3, self.stride, name="conv2")(y)
        y = self.norm(name="bn2")(y, train=train, relu=True)
        conv3 = self.conv(self.features * self.expansion, 1, name="conv3")
        y = _projected(conv3, self.norm(name="bn3"), y, train)
        return moments.relu(y + _shortcut(self, x, y, train))


def _shortcut(block: BasicBlock | Bottleneck, x: Array, y: Array, train: bool) -> Array:
    """The input of the block, projected where its channels differ from those of the output `y`."""
    if x.shape[-1] == y.shape[-1]:
        strides = (1, block.stride, block.stride, 1)
        return jax.lax.slice(x, (0, 0, 0, 0), x.shape, strides).astype(y.dtype)
    conv = block.conv(y.shape[-1], 1, block.stride, name="downsample_0")
    return _projected(conv, block.norm(name="downsample_1"), x, train)


def _projected(conv: Any, norm: Any, x: Array, train: bool) -> Array:
    """A 1x1 convolution and its normalization."""
    y = conv(x)
    of = Projection(x.astype(y.dtype), conv.variables["params"]["kernel"])
    return norm(y, train=train, of=of if conv.stride == 1 else None)


_LAYOUT: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}

_NUM_NON_LOCAL: dict[int, tuple[int, int, int, int]] = {
    18: (0, 1, 1, 0),
    34: (0, 2, 3, 0),
    50: (0, 2, 3, 0),
    101: (0, 2, 9, 0),
    152: (0, 4, 12, 0),
}

Strides = Literal["torchvision", "slim"]

RESNETS = tuple(f"resnet{depth}" for depth in _LAYOUT)


def recognize_resnet(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | str:
    """What shapes of parameters by name tell of their ResNet, as fields of a `NetworkSpec`; where
    they are not those of one, what they are. The shallowest that has all their blocks is meant."""
    stem = shapes.get("conv1/kernel")
    blocks = [0, 0, 0, 0]
    for name in shapes:
        if name.startswith("layer"):
            stage, index = _stage_and_index(name.partition("/")[0])
            blocks[stage - 1] = max(blocks[stage - 1], index + 1)
    bottleneck = "layer1_0/conv3/kernel" in shapes
    arch = _smallest(blocks, Bottleneck if bottleneck else BasicBlock)
    if stem is None or not all(blocks) or arch is None:
        kind = "bottlenecks" if bottleneck else "basic blocks"
        return f"{'no' if stem is None else 'a'} first convolution and stages of {blocks} {kind}"
    return {
        "arch": arch,
        "width": stem[-1],
        "stem": "imagenet" if stem[0] == 7 else "small",
        "ibn": "layer1_0/bn1/IN/scale" in shapes,
        "non_local": any(name.startswith("NL_") for name in shapes),
    }


def _stage_and_index(block: str) -> tuple[int, int]:
    stage, index = block.removeprefix("layer").split("_")
    return int(stage), int(index)


def _smallest(num_blocks: Sequence[int], block: type[nn.Module]) -> str | None:
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
        last_stride: the last stride, of `layer4`: 2 as in torchvision, 1 as re-ID uses it (a
            feature map of twice the height and width).
        ibn: IBN-a normalization at the first `bn1` of each block of `layer1` to `layer3`.
        bn_group_size: images that share batch statistics; 0 = the whole batch.
        compute_dtype: type of the convolutions and of the feature maps; "auto" is bfloat16, but
            float32 on a CPU. Parameters and the arithmetic of normalizations are float32.
        stem: "imagenet" = 7x7 at stride 2 and 3x3 max-pooling at stride 2; "small" = 3x3 at
            stride 1 without pooling, for pictures of about 64x32 pixels.
        form: how convolutions with 1x1 kernels, and all on maps that are smaller than the kernel,
            are computed. "matmul": a product of patches and kernel; on CPU a few times faster than
            XLA's convolution. "convolution": the plain form; which of the two is faster on GPU and
            TPU is not measured. "auto": matmul on CPU, convolution elsewhere.
        non_local: a non-local block after each of the last blocks of `layer2` and `layer3`: 2 and 3
            of them at depth 50, 2 and 9 at 101, 4 and 12 at 152, as FastReID and LUPerson place
            them. Those have none in shallower networks; here depth 34, which has the stages of
            depth 50, gets the same, and depth 18 one in either stage.
        strides: "torchvision" = on the first block of `layer2` to `layer4`; "slim" = on the last
            block of `layer1` to `layer3`, whose shortcut takes every second pixel, and
            max-pooling with TensorFlow's padding, as weights of TensorFlow-slim need it.
        bn_momentum: weight of a new batch in the running statistics.
    """

    depth: int = 50
    width: int = 64
    last_stride: int = 2
    ibn: bool = False
    bn_group_size: int = 0
    compute_dtype: DTypeLike = jnp.float32
    stem: Literal["imagenet", "small"] = "imagenet"
    form: Form = "auto"
    non_local: bool = False
    strides: Strides = "torchvision"
    bn_momentum: float = 0.1

    @property
    def num_features(self) -> int:
        """Channels of the feature map: 2048 for ResNet-50 at width 64."""
        return 8 * self.width * _LAYOUT[self.depth][0].expansion

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of the blocks from the first to the last: `layer1_0` to `layer4_2`."""
        return tuple(
            f"layer{stage}_{index}"
            for stage, number in enumerate(_LAYOUT[self.depth][1], start=1)
            for index in range(number)
        )

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b height width channels"],
        *,
        train: bool,
        first: str = "",
        last: str = "",
    ) -> Float[Array, "b h w c"]:
        """Computes the feature map, or a section of the network.

        Args:
            images: [B, H, W, 3] normalized RGB; with `first` the map that goes into that block.
            train: normalize with the statistics of the batch and update the running ones.
            first: name of the first block to run; empty = from the stem.
            last: name of the last block to run; empty = to the end.

        Returns:
            [B, H/32, W/32, num_features] of `compute_dtype`, not negative; H/16 where
            `last_stride` is 1, and 4 times that with the small stem. With `last`, the map after
            that block.
        """
        conv = functools.partial(Conv, compute_dtype=self.compute_dtype, form=self.form)
        norm = functools.partial(GroupedBatchNorm, self.bn_group_size, self.bn_momentum)
        names = self.block_names
        begin = names.index(first) if first else 0
        end = names.index(last) + 1 if last else len(names)
        x = images if first else self._stem(images, conv, norm, train)
        for name in names[begin:end]:
            x = self._block(name, x, conv, norm, train)
        return x

    def _block(
        self,
        name: str,
        x: Array,
        conv: Callable[..., nn.Module],
        norm: Callable[..., nn.Module],
        train: bool,
    ) -> Array:
        """The block of that name, and the non-local one that follows it."""
        block, num_blocks = _LAYOUT[self.depth]
        stage, index = _stage_and_index(name)
        half_instance = functools.partial(InstanceBatchNorm, self.bn_group_size, self.bn_momentum)
        x = block(
            features=self.width * 2 ** (stage - 1),
            stride=self._stride(stage, index),
            conv=conv,
            norm=norm,
            first_norm=half_instance if self.ibn and stage < 4 else norm,
            name=name,
        )(x, train=train)
        number = index - num_blocks[stage - 1] + _NUM_NON_LOCAL[self.depth][stage - 1]
        if self.non_local and number >= 0:
            x = NonLocalBlock(conv, norm, name=f"NL_{stage}_{number}")(x, train=train)
        return x

    def _stride(self, stage: int, index: int) -> int:
        if self.strides == "slim":
            is_last = index == _LAYOUT[self.depth][1][stage - 1] - 1
            return (2, 2, self.last_stride, 1)[stage - 1] if is_last else 1
        return (1, 2, 2, self.last_stride)[stage - 1] if index == 0 else 1

    def _stem(
        self,
        images: Array,
        conv: Callable[..., nn.Module],
        norm: Callable[..., nn.Module],
        train: bool,
    ) -> Array:
        assert self.stem in ("imagenet", "small"), self.stem
        kernel_size, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = conv(self.width, kernel_size, stride, name="conv1")(images)
        x = norm(name="bn1")(x, train=train, relu=True)
        if self.stem == "imagenet":
            padding = "same" if self.strides == "slim" else "torch"
            x = max_pool(x, around(x.shape[1:3], 3, 2, padding))
        return x


def resnet(architecture: str, **options: Any) -> ResNet:
    """The ResNet of that name, one of `RESNETS`; `options` are attributes of `ResNet`."""
    assert architecture in RESNETS, architecture
    return ResNet(depth=int(architecture.removeprefix("resnet")), **options)
