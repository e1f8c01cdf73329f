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
NARROW = 48
"""A CPU computes two columns of a result at once where its channels, and twice those of the map,
are no more."""

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
        sides = around(x.shape[1:3], size, stride, self.padding)
        if not _as_matmul(self.form):
            y = convolved(x, kernel, stride, sides)
        elif size == 1:
            y = _of_pixels(x, kernel, stride)
        else:
            x = platforms.computed_once(x)  # the kernel's gradient reads it again, turned
            # XLA's own is very slow on a CPU for maps that are smaller than the kernel.
            convolve: Any = _by_rows if min(x.shape[1:3]) < size else _convolved_on_cpu
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
        sides = around(x.shape[1:3], self.kernel_size, self.stride, self.padding)
        if self.form == "convolution":
            return convolved(x, kernel, self.stride, sides, groups=x.shape[-1])
        places = kernel.reshape(-1, 1, 1, 1, x.shape[-1])
        shifted = _shifted(x, self.kernel_size, self.stride, sides)
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


def convolved(
    x: Array,
    kernel: Array,
    stride: int,
    sides: Around,
    *,
    groups: int = 1,
    across: int | None = None,
) -> Array:
    """XLA's convolution; `across` is the step from column to column where it is another one."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, across or stride),
        padding=sides,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@jax.custom_vjp
def _product(patches: Array, kernel: Array) -> Array:
    """[N, K] @ [K, features]."""
    return patches @ kernel


def _backward_of_product(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """Of the two matrices whose rows are summed over, a CPU takes up to twice as long to turn the
    wider one as the narrower; without a barrier XLA turns what it likes."""
    patches, kernel = saved
    if patches.shape[1] > gradient.shape[1]:
        of_kernel = platforms.computed_once(gradient.T @ patches).T
    else:
        of_kernel = patches.T @ gradient
    return gradient @ kernel.T, of_kernel


_product.defvjp(lambda patches, kernel: (patches @ kernel, (patches, kernel)), _backward_of_product)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolved_on_cpu(x: Array, kernel: Array, stride: int, sides: Around) -> Array:
    """`convolved` in the forms that are fast there, gradients included."""
    return _by_columns(x, kernel, stride, sides)


def _by_columns(x: Array, kernel: Array, stride: int, sides: Around) -> Array:
    """`convolved`, where channels are few two columns of the result at once: they stand as channels
    of their own, and so do `stride` columns of the map; the kernel has zeros for what one of the
    two does not see. A CPU then multiplies more numbers, in matrices that are not as narrow."""
    channels, features = kernel.shape[2:]
    if features + 2 * channels > NARROW:
        return convolved(x, kernel, stride, sides)
    size, (left, right) = kernel.shape[1], sides[1]
    width = (x.shape[2] + left + right - size) // stride + 1
    pairs, taps = -(-width // 2), 1 + -(-size // stride)
    groups = 2 * (pairs - 1) + taps
    x = _as_rows(x, sides[0], (left, groups * stride - x.shape[2] - left))
    x = x.reshape(x.shape[0], -1, groups, stride * channels)
    wide = _of_columns(kernel, (0, stride), taps * stride)
    wide = wide.reshape(len(kernel), taps, stride * channels, -1)
    y = convolved(x, wide, stride, ((0, 0), (0, 0)), across=2)
    return y.reshape(*y.shape[:2], 2 * pairs, features)[:, :, :width]


def _of_pixels(x: Array, kernel: Array, stride: int) -> Array:
    """`convolved` with a kernel of one pixel, which nothing surrounds: a product of two matrices.
    XLA takes twice as long for one of a matrix and a map."""
    x = x[:, ::stride, ::stride]
    y = _product(x.reshape(-1, x.shape[-1]), kernel.reshape(x.shape[-1], -1))
    return y.reshape(*x.shape[:3], -1)


def _by_rows(x: Array, kernel: Array, stride: int, sides: Around) -> Array:
    """`convolved` as a product of two matrices, whole rows of the result at once: on a map of two
    columns these are fewer numbers than the patches of its pixels."""
    size, width, features = len(kernel), x.shape[2], kernel.shape[-1]
    left, right = sides[1]
    firsts = range(-left, width + right - size + 1, stride)
    rows = _as_rows(x, sides[0], (0, 0))
    last = rows.shape[1] - size + 1
    patches = jnp.concatenate([rows[:, top : top + last : stride] for top in range(size)], axis=-1)
    wide = _of_columns(kernel, firsts, width).reshape(patches.shape[-1], -1)
    y = _product(patches.reshape(-1, patches.shape[-1]), wide)
    return y.reshape(*patches.shape[:2], len(firsts), features)


def _as_rows(x: Array, above_below: tuple[int, int], left_right: tuple[int, int]) -> Array:
    """[B, H, W, C] -> [B, rows, columns * C], surrounded by zeros, perhaps of less than none."""
    left, right = (x.shape[-1] * number for number in left_right)
    x = x.reshape(*x.shape[:2], -1)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (*above_below, 0), (left, right, 0)))


def _of_columns(kernel: Array, firsts: Sequence[int], width: int) -> Array:
    """[h, w, C, features] -> [h, width, C, columns, features]: what each of `width` columns of a
    map weighs for a column of the result that looks at it from column `first` on."""
    zero, size = jnp.zeros((), kernel.dtype), kernel.shape[1]
    shifted = [
        jax.lax.pad(kernel, zero, ((0, 0, 0), (first, width - size - first, 0), *[(0, 0, 0)] * 2))
        for first in firsts
    ]
    return jnp.stack(shifted, axis=3)


def _backward_on_cpu(
    stride: int, sides: Around, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    pull = jax.vjp(lambda kernel: convolved(x, kernel, stride, sides), kernel)[1]
    (of_kernel,) = pull(gradient)
    return _gradient_of_input(gradient, kernel, stride, sides, x.shape[1:3]), of_kernel


_convolved_on_cpu.defvjp(
    lambda x, kernel, *rest: (_by_columns(x, kernel, *rest), (x, kernel)), _backward_on_cpu
)


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
            _by_columns(gradient, weights[taps, across], 1, (above, beside))
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
    x: Float[Array, "b h w c"], size: int, stride: int, sides: Around
) -> list[Float[Array, "b h2 w2 c"]]:
    """For every place of a kernel the input of all output pixels there, row by row."""
    x = jnp.pad(x, ((0, 0), *sides, (0, 0)))
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
