"""MobileNet-v1 as TensorFlow-slim has it.

Parameters: `conv0`, `bn0`, then of each of 13 blocks `dw{n}`, `dw{n}_bn`, `pw{n}`, `pw{n}_bn`, n
from 1. Convolutions hold `kernel` (height, width, in, out), a depthwise one (3, 3, 1, channels);
normalizations `scale` and `bias`; `batch_stats` has `mean` and `var` at the same paths.

Source: A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017, arXiv 1704.04861.
"""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from data_pipeline.errors import InputError
from luperson_jax.models.convolution import Conv, DepthwiseConv, Form
from luperson_jax.models.norm import GroupedBatchNorm

MOBILENETS = ("mobilenet_v1",)

_BLOCKS = (
    *((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2)),
    *((16, 1),) * 5,
    *((32, 2), (32, 1)),
)
"""Of each block its channels, in those of the stem, and its stride."""
_LAST_STRIDED = max(block for block, (_, stride) in enumerate(_BLOCKS) if stride == 2)
_EPSILON = 1e-3


class MobileNetV1(nn.Module):
    """MobileNet-v1 without its classifier. No convolution has a bias.

    Attributes:
        width: as of a ResNet: 64 is the published network, whose stem has 32 channels and whose
            map has 1024.
        last_stride: 1 leaves the last stride out: a map of twice the height and width.
        stem: "small" leaves the first stride out, for small pictures.
        bn_group_size, bn_momentum, compute_dtype, form: as of `ResNet`.
    """

    width: int = 64
    last_stride: int = 2
    bn_group_size: int = 0
    bn_momentum: float = 0.1
    compute_dtype: DTypeLike = jnp.float32
    stem: Literal["imagenet", "small"] = "imagenet"
    form: Form = "auto"

    @property
    def num_features(self) -> int:
        """Channels of the feature map: 1024 at width 64."""
        return _BLOCKS[-1][0] * (self.width // 2)

    @nn.compact
    def __call__(
        self, images: Float[Array, "b height width channels"], *, train: bool
    ) -> Float[Array, "b h w c"]:
        """Computes the feature map.

        Args:
            images: [B, H, W, 3] normalized RGB.
            train: normalize with the statistics of the batch and update the running ones.

        Returns:
            [B, H/32, W/32, num_features] of `compute_dtype`, from 0 to 6; twice the height and
            width where `last_stride` is 1, and with the small stem.
        """
        options = {"compute_dtype": self.compute_dtype, "padding": "same", "form": self.form}
        conv = functools.partial(Conv, **options)
        depthwise = functools.partial(DepthwiseConv, **options)
        norm = functools.partial(GroupedBatchNorm, self.bn_group_size, self.bn_momentum, _EPSILON)

        def activated(x: Array, name: str) -> Array:
            return nn.relu6(norm(name=name)(x, train=train))

        first = 2 if self.stem == "imagenet" else 1
        x = activated(conv(self.width // 2, 3, first, name="conv0")(images), "bn0")
        for index, (multiple, stride) in enumerate(_BLOCKS):
            number = index + 1
            stride = self.last_stride if index == _LAST_STRIDED else stride
            x = activated(depthwise(3, stride, name=f"dw{number}")(x), f"dw{number}_bn")
            channels = multiple * (self.width // 2)
            x = activated(conv(channels, 1, name=f"pw{number}")(x), f"pw{number}_bn")
        return x


def mobilenet(architecture: str, **options: Any) -> MobileNetV1:
    """The MobileNet of that name, one of `MOBILENETS`.

    Args:
        architecture: its name.
        options: attributes of `MobileNetV1`, and those of a ResNet that it does not have: `ibn`,
            `non_local` and `strides`.

    Raises:
        InputError: one of the latter is asked for, or an odd width.
    """
    assert architecture in MOBILENETS, architecture
    defaults = {"ibn": False, "non_local": False, "strides": "torchvision"}
    asked = [name for name, default in defaults.items() if options.pop(name, default) != default]
    if asked:
        raise InputError(f"model.{asked[0]} is for a ResNet, and model.arch is {architecture!r}")
    if options.get("width", 64) % 2:
        raise InputError(f"model.width must be even for {architecture}, not {options['width']}")
    return MobileNetV1(**options)


def recognize_mobilenet(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | str:
    """What shapes of parameters by name tell of their MobileNet; see `Backbone.recognize`."""
    stem, last = shapes.get("conv0/kernel"), f"pw{len(_BLOCKS)}/kernel"
    if stem is None or last not in shapes:
        return ""
    return {"arch": MOBILENETS[0], "width": 2 * stem[-1]}
