"""Convolution in PyTorch's sense, by the form that is fast on the device."""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from luperson_jax import platforms, sharding
from luperson_jax.models.moments import Anywhere

Form = Literal["auto", "matmul", "convolution"]
Padding = Literal["torch", "same"]
SMALL_MAP = 32
"""Pixels. On maps of this size a product of patches beats XLA's convolution on a CPU, gradients
included; on larger ones the copies of the patches cost more than they save."""

LARGE_SIDE, MANY_FEATURES = 16, 32
"""Pixels and channels of a result. From there on a CPU makes the gradient of a kernel up to three
times as fast from one image after the other as from all of them."""

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def torch_uniform(fan_in: int) -> Initializer:
    """Uniform in +-1/sqrt(fan_in), as PyTorch draws kernels and biases that nobody else draws:
    its Kaiming-uniform with a = sqrt(5) is just that bound."""
    bound = fan_in**-0.5

    def draw(key: PRNGKeyArray, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


class Conv(nn.Module):
    """Convolution, padded as PyTorch or as TensorFlow does.

    Attributes:
        features: output channels.
        kernel_size: height and width of the kernel, odd.
        stride: step in both directions.
        compute_dtype: input and kernel are cast to it, see `compute_type`; the kernel is stored as
            float32.
        form: how the kernel is applied; see `ResNet`.
        padding: "torch" = by `kernel_size // 2` on every side; "same" = TensorFlow's, which at
            stride 2 and even size pads a 3x3 kernel only below and right.
        use_bias: add `bias` [features], and draw it and the kernel by `torch_uniform`. The
            convolutions of a ResNet have none, and Kaiming-normal kernels.
    """

    features: int
    kernel_size: int
    stride: int = 1
    compute_dtype: DTypeLike = jnp.float32
    form: Form = "auto"
    padding: Padding = "torch"
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 features"]:
        """Convolves `x`; the result is of `compute_dtype`."""
        size = self.kernel_size
        shape = (size, size, x.shape[-1], self.features)
        start = torch_uniform(math.prod(shape[:-1])) if self.use_bias else kaiming_normal
        kernel = self.param("kernel", start, shape, jnp.float32)
        x = x.astype(compute_type(self.compute_dtype))
        bias = self.param("bias", start, (self.features,), jnp.float32) if self.use_bias else None
        return sharding.on_own_images(self._convolve, x, kernel, bias)

    def _convolve(self, x: Array, kernel: Anywhere, bias: Anywhere | None) -> Array:
        size, stride = self.kernel_size, self.stride
        kernel = jnp.asarray(kernel, x.dtype)
        small = size == 1 or x.shape[1] * x.shape[2] <= SMALL_MAP
        if small and _as_matmul(self.form):
            shifted = _shifted(x, size, stride, self.padding)
            patches = jnp.concatenate(shifted, axis=-1)
            # A product of two matrices: XLA takes twice as long for one of a matrix and a map.
            y = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, self.features)
            y = y.reshape(*patches.shape[:3], self.features)
        else:
            sides = around(x.shape[1:3], size, stride, self.padding)
            on_cpu = size > 1 and _as_matmul(self.form)
            convolve: Any = _convolved_on_cpu if on_cpu else _convolved
            y = convolve(x, kernel, stride, sides)
        if bias is None:
            return y
        return y + jnp.asarray(bias, x.dtype).reshape(1, 1, 1, self.features)


class DepthwiseConv(nn.Module):
    """A kernel for every channel, drawn by He et al.'s rule; parameter `kernel` [k, k, 1, C].

    On a CPU the sum of shifted products that stands here takes, with its gradients, a quarter of
    the time of XLA's grouped convolution on 64 channels of 64x32 pixels and a fifteenth on 512 of
    8x4; on other devices the two were not compared.

    Attributes:
        kernel_size, stride, compute_dtype, padding: as of `Conv`.
        form: "convolution" is a grouped one; the others are the sum.
    """

    kernel_size: int
    stride: int = 1
    compute_dtype: DTypeLike = jnp.float32
    padding: Padding = "torch"
    form: Form = "auto"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Convolves `x`; the result is of `compute_dtype`."""
        shape = (self.kernel_size, self.kernel_size, 1, x.shape[-1])
        start = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
        kernel = self.param("kernel", start, shape, jnp.float32)
        x = x.astype(compute_type(self.compute_dtype))
        return sharding.on_own_images(self._convolve, x, kernel)

    def _convolve(self, x: Array, kernel: Anywhere) -> Array:
        kernel = jnp.asarray(kernel, x.dtype)
        if self.form == "convolution":
            sides = around(x.shape[1:3], self.kernel_size, self.stride, self.padding)
            return _convolved(x, kernel, self.stride, sides, groups=x.shape[-1])
        places = kernel.reshape(-1, 1, 1, 1, x.shape[-1])
        shifted = _shifted(x, self.kernel_size, self.stride, self.padding)
        y = shifted[0] * places[0]
        for place, value in zip(places[1:], shifted[1:], strict=True):
            y = y + value * place
        return y


def compute_type(name: DTypeLike) -> DTypeLike:
    """The type that "auto" stands for: bfloat16, but float32 on a CPU; others are themselves."""
    if name != "auto":
        return name
    return jnp.float32 if platforms.current() == "cpu" else jnp.bfloat16


Around = tuple[tuple[int, int], tuple[int, int]]
"""Rows above and below, columns left and right."""


def around(shape: Sequence[int], size: int, stride: int, padding: Padding) -> Around:
    """What surrounds a map of that height and width for a window of `size` x `size` pixels."""
    if padding == "torch":
        return (size // 2, size // 2), (size // 2, size // 2)
    height, width = (max((-(-n // stride) - 1) * stride + size - n, 0) for n in shape)
    return (height // 2, height - height // 2), (width // 2, width - width // 2)


def _convolved(x: Array, kernel: Array, stride: int, sides: Around, groups: int = 1) -> Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=sides,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolved_on_cpu(x: Array, kernel: Array, stride: int, sides: Around) -> Array:
    """`_convolved` with gradients in the forms that are fast there."""
    return _convolved(x, kernel, stride, sides)


def _backward_on_cpu(
    stride: int, sides: Around, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    if min(gradient.shape[1:3]) >= LARGE_SIDE and kernel.shape[-1] >= MANY_FEATURES:
        of_kernel = _image_by_image(x, kernel, gradient, stride, sides)
    else:
        pull = jax.vjp(lambda kernel: _convolved(x, kernel, stride, sides), kernel)[1]
        (of_kernel,) = pull(gradient)
    return _gradient_of_input(gradient, kernel, stride, sides, x.shape[1:3]), of_kernel


_convolved_on_cpu.defvjp(
    lambda x, kernel, *rest: (_convolved(x, kernel, *rest), (x, kernel)), _backward_on_cpu
)


def _image_by_image(x: Array, kernel: Array, gradient: Array, stride: int, sides: Around) -> Array:
    """The gradient of a kernel, summed over one image after the other."""
    height, width = kernel.shape[:2]
    padded = jnp.pad(x, ((0, 0), *sides, (0, 0)))

    def add(total: Array, image: tuple[Array, Array]) -> tuple[Array, None]:
        """Channels stand for images, and the gradient for a kernel that is as large as the map."""
        one, its_gradient = image
        found = jax.lax.conv_general_dilated(
            *(one.transpose(2, 0, 1)[..., None], its_gradient[:, :, None]),
            window_strides=(1, 1),
            padding="VALID",
            rhs_dilation=(stride, stride),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return total + found[:, :height, :width].transpose(1, 2, 0, 3), None

    return jax.lax.scan(add, jnp.zeros_like(kernel), (padded, gradient))[0]


def _gradient_of_input(
    gradient: Array, kernel: Array, stride: int, sides: Around, shape: Sequence[int]
) -> Array:
    """Of a convolution: every phase of its input, as the rows 0, 2, 4, ... and the columns
    1, 3, 5, ... at stride 2, by a convolution of its own. One for all would multiply with zeros
    between the pixels of the gradient, and is slow on a CPU beyond that."""
    weights = kernel.transpose(0, 1, 3, 2)
    rows, columns = (
        [
            _phase(number, stride, kernel.shape[axis], gradient.shape[1 + axis], above, length)
            for number in range(stride)
        ]
        for axis, ((above, _), length) in enumerate(zip(sides, shape, strict=True))
    )
    parts = [
        [
            _convolved(gradient, weights[taps, across], 1, (above, beside))
            for across, beside in columns
        ]
        for taps, above in rows
    ]
    return interleaved(parts)[:, : shape[0], : shape[1]]


def _phase(
    number: int, stride: int, size: int, num_results: int, above: int, length: int
) -> tuple[slice, tuple[int, int]]:
    """Along one axis: the taps, last first, that read the inputs `number`, `number` + `stride` and
    so on, and what surrounds the results when they are convolved with these."""
    shift, first = divmod(number + above, stride)
    num_taps = len(range(first, size, stride))
    before = num_taps - 1 - shift
    after = -(-length // stride) - num_results - before + num_taps - 1
    last = first + stride * (num_taps - 1)
    return slice(last, None, -stride), (before, after)


def interleaved(parts: Sequence[Sequence[Array]]) -> Array:
    """[B, h, w, C] of every phase of rows and, within it, of columns -> [B, s h, s w, C]."""
    stacked = jnp.stack([jnp.stack(line, axis=3) for line in parts], axis=2)
    batch, height, phases = stacked.shape[:3]
    return stacked.reshape(batch, height * phases, -1, stacked.shape[-1])


def _shifted(
    x: Float[Array, "b h w c"], size: int, stride: int, padding: Padding
) -> list[Float[Array, "b h2 w2 c"]]:
    """For every place of a kernel the input of all output pixels there, row by row."""
    x = jnp.pad(x, ((0, 0), *around(x.shape[1:3], size, stride, padding), (0, 0)))
    last = [n - size + 1 for n in x.shape[1:3]]
    return [
        x[:, top : top + last[0] : stride, left : left + last[1] : stride]
        for top in range(size)
        for left in range(size)
    ]


def _as_matmul(form: Form) -> bool:
    assert form in ("auto", "matmul", "convolution"), form
    if form == "auto":
        return platforms.current() == "cpu"
    return form == "matmul"
