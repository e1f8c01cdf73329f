"""Convolution in PyTorch's sense, by the form that is fast on the device."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from luperson_jax import platforms

Form = Literal["auto", "matmul", "convolution"]
SMALL_MAP = 32
"""Pixels. On maps of this size a product of patches beats XLA's convolution on a CPU, gradients
included; on larger ones the copies of the patches cost more than they save."""

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def torch_uniform(fan_in: int) -> Initializer:
    """Uniform in +-1/sqrt(fan_in), as PyTorch draws kernels and biases that nobody else draws:
    its Kaiming-uniform with a = sqrt(5) is just that bound."""
    bound = fan_in**-0.5

    def draw(key: PRNGKeyArray, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


class Conv(nn.Module):
    """Convolution padded by `kernel_size // 2` on every side.

    The padding is explicit because "SAME" pads only below and right at stride 2, unlike PyTorch.

    Attributes:
        features: output channels.
        kernel_size: height and width of the kernel, odd.
        stride: step in both directions.
        compute_dtype: input and kernel are cast to it, see `compute_type`; the kernel is stored as
            float32.
        form: how the kernel is applied; see `ResNet`.
        use_bias: add `bias` [features], and draw it and the kernel by `torch_uniform`. The
            convolutions of a ResNet have none, and Kaiming-normal kernels.
    """

    features: int
    kernel_size: int
    stride: int = 1
    compute_dtype: DTypeLike = jnp.float32
    form: Form = "auto"
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 features"]:
        """Convolves `x`; the result is of `compute_dtype`."""
        size, stride = self.kernel_size, self.stride
        shape = (size, size, x.shape[-1], self.features)
        start = torch_uniform(math.prod(shape[:-1])) if self.use_bias else kaiming_normal
        kernel = self.param("kernel", start, shape, jnp.float32)
        dtype = compute_type(self.compute_dtype)
        kernel, x = kernel.astype(dtype), x.astype(dtype)
        small = size == 1 or x.shape[1] * x.shape[2] <= SMALL_MAP
        if small and _as_matmul(self.form):
            y = _patches(x, size, stride) @ kernel.reshape(-1, self.features)
        else:
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                window_strides=(stride, stride),
                padding=((size // 2, size // 2), (size // 2, size // 2)),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        if not self.use_bias:
            return y
        bias = self.param("bias", start, (self.features,), jnp.float32)
        return y + bias.astype(dtype).reshape(1, 1, 1, self.features)


def compute_type(name: DTypeLike) -> DTypeLike:
    """The type that "auto" stands for: bfloat16, but float32 on a CPU; others are themselves."""
    if name != "auto":
        return name
    return jnp.float32 if platforms.current() == "cpu" else jnp.bfloat16


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
        return platforms.current() == "cpu"
    return form == "matmul"
