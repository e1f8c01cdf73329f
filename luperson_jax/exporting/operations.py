"""The operators that equations of a traced function become."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from luperson_jax.exporting.builder import Axes, Builder, Tensor, Value

BINARY = {
    "add": "Add",
    "add_any": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "max": "Max",
    "min": "Min",
    "pow": "Pow",
}
UNARY = {"sqrt": "Sqrt", "exp": "Exp", "log": "Log", "neg": "Neg", "abs": "Abs"}
SAME = ("copy", "stop_gradient", "optimization_barrier")
TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7}
"""Numbers of ONNX."""


def lower(builder: Builder, equation: Any, inputs: Sequence[Value]) -> list[Tensor]:
    """Appends what an equation of at least one tensor does.

    Raises:
        NotImplementedError: it has no operator here.
    """
    name, shape = equation.primitive.name, equation.outvars[0].aval.shape
    if name in BINARY:
        return [_binary(builder, BINARY[name], inputs, shape)]
    if name in UNARY:
        return [_unary(builder, UNARY[name], inputs[0])]
    if name in SAME:
        return [_tensor(inputs[0])]
    if name == "split":
        return _split(builder, equation.params, _tensor(inputs[0]))
    if name not in LOWERED:
        raise NotImplementedError(f"{name} has no operator here")
    return [LOWERED[name](builder, equation.params, inputs, shape)]


def _tensor(value: Value) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def _unary(builder: Builder, op: str, value: Value, **attributes: Any) -> Tensor:
    one = _tensor(value)
    return one._replace(name=builder.add(op, [one.name], **attributes))


def _binary(builder: Builder, op: str, inputs: Sequence[Value], shape: tuple) -> Tensor:
    if op == "Max" and _is_zero(inputs[1]):
        return _unary(builder, "Relu", inputs[0])
    axes = _common(inputs)
    if axes is None:  # an axis of one has no place in the other
        inputs = [one if isinstance(one, np.ndarray) else builder.plain(one) for one in inputs]
        axes = tuple(range(len(shape)))
    names = [_aligned(builder, one, axes) for one in inputs]
    return Tensor(builder.add(op, names), shape, axes)


def _is_zero(value: Value) -> bool:
    return isinstance(value, np.ndarray) and not value.any()


def _common(inputs: Sequence[Value]) -> Axes | None:
    """The layout of the tensor with the most axes, where all others fit into it."""
    largest = max((one for one in inputs if isinstance(one, Tensor)), key=lambda one: one.rank)
    for one in inputs:
        if isinstance(one, Tensor):
            needed = one.kept
        else:
            needed = [axis for axis, length in enumerate(one.shape) if length != 1]
        if any(largest.axes[axis] is None for axis in needed):
            return None
    return largest.axes


def _aligned(builder: Builder, value: Value, axes: Axes) -> str:
    """A value as an operand of a tensor with such a layout."""
    places = {place: axis for axis, place in enumerate(axes) if place is not None}
    order = [places[place] for place in sorted(places)]
    if isinstance(value, np.ndarray):
        if value.ndim:
            value = value.transpose([*order, *(i for i, place in enumerate(axes) if place is None)])
            value = value.reshape(value.shape[: len(order)])
        return builder.constant(value)
    return builder.in_order(value, order)


def _cast(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    return _unary(builder, "Cast", inputs[0], to=TYPES[str(params["new_dtype"])])


def _rsqrt(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    return _unary(builder, "Reciprocal", _unary(builder, "Sqrt", inputs[0]))


def _square(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    return _binary(builder, "Mul", [inputs[0], inputs[0]], shape)


def _integer_pow(
    builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple
) -> Tensor:
    if params["y"] == 2:
        return _square(builder, params, inputs, shape)
    return _binary(builder, "Pow", [inputs[0], np.array(params["y"], np.float32)], shape)


def _transpose(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    one = _tensor(inputs[0])
    return Tensor(one.name, shape, tuple(one.axes[axis] for axis in params["permutation"]))


def _broadcast(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    one, axes = _tensor(inputs[0]), [None] * len(shape)
    lengths: list[Any] = [1] * len(shape)
    for axis, place in enumerate(params["broadcast_dimensions"]):
        axes[place], lengths[place] = one.axes[axis], one.shape[axis]  # type: ignore[call-overload]
    thin = Tensor(one.name, tuple(lengths), tuple(axes))
    stretched = [length if was == 1 else 1 for length, was in zip(shape, lengths, strict=True)]
    if all(isinstance(length, int) and length == 1 for length in stretched):
        return thin
    wide = builder.plain(thin)
    return wide._replace(
        name=builder.add("Expand", [wide.name, builder.integers(*stretched)]), shape=shape
    )


def _reshape(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    one = _tensor(inputs[0])
    here = [axis for axis, length in enumerate(one.shape) if length != 1]
    there = [axis for axis, length in enumerate(shape) if length != 1]
    if [one.shape[axis] for axis in here] == [shape[axis] for axis in there]:
        one = _without(builder, one, [axis for axis in one.kept if axis not in here])
        axes: list[int | None] = [None] * len(shape)
        for axis, place in zip(here, there, strict=True):
            axes[place] = one.axes[axis]
        return Tensor(one.name, shape, tuple(axes))
    wanted = [length if isinstance(length, int) else -1 for length in shape]
    name = builder.in_order(one, one.kept)
    name = builder.add("Reshape", [name, builder.integers(*wanted)])
    return Tensor(name, shape, tuple(range(len(shape))))


def _without(builder: Builder, value: Tensor, axes: Sequence[int]) -> Tensor:
    """A tensor without some of its axes, which are of length 1."""
    if not axes:
        return value
    places = sorted(value.axes[axis] or 0 for axis in axes)
    name = builder.add("Squeeze", [value.name, builder.integers(*places)])
    return value._replace(name=name, axes=_left(value.axes, axes))


def _left(axes: Axes, gone: Sequence[int]) -> Axes:
    """A layout without some axes of the array, which keep their places there."""
    places = sorted(
        place for axis, place in enumerate(axes) if place is not None and axis not in gone
    )
    return tuple(
        None if place is None or axis in gone else places.index(place)
        for axis, place in enumerate(axes)
    )


def _squeeze(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    return _reshape(builder, params, inputs, shape)


def _reduced(op: str) -> Callable[..., Tensor]:
    def reduce(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
        one, gone = _tensor(inputs[0]), params["axes"]
        places = sorted(one.axes[axis] for axis in gone if one.axes[axis] is not None)  # type: ignore[type-var]
        name = one.name
        if places and op == "ReduceSum":
            name = builder.add(op, [name, builder.integers(*places)], keepdims=0)  # type: ignore[arg-type]
        elif places:
            name = builder.add(op, [name], axes=places, keepdims=0)
        axes = _left(one.axes, gone)
        return Tensor(name, shape, tuple(p for axis, p in enumerate(axes) if axis not in gone))

    return reduce


def _convolution(
    builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple
) -> Tensor:
    pictures, kernel = _tensor(inputs[0]), inputs[1]
    assert isinstance(kernel, np.ndarray), "a kernel that depends on the picture"
    numbers = params["dimension_numbers"]
    assert set(params["lhs_dilation"]) == {1} == {params["batch_group_count"]}
    weights = builder.constant(kernel.transpose(numbers.rhs_spec))
    tops, bottoms = zip(*params["padding"], strict=True)
    name = builder.add(
        "Conv",
        [builder.in_order(pictures, numbers.lhs_spec), weights],
        kernel_shape=[kernel.shape[axis] for axis in numbers.rhs_spec[2:]],
        strides=list(params["window_strides"]),
        pads=[*tops, *bottoms],
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return Tensor(name, shape, tuple(map(numbers.out_spec.index, range(4))))


def _max_pool(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    one, window = _tensor(inputs[0]), params["window_dimensions"]
    order = sorted(range(4), key=lambda axis: window[axis] > 1)
    assert window[order[1]] == 1, window
    tops, bottoms = zip(*(params["padding"][axis] for axis in order[2:]), strict=True)
    name = builder.add(
        "MaxPool",
        [builder.in_order(one, order)],
        kernel_shape=[window[axis] for axis in order[2:]],
        strides=[params["window_strides"][axis] for axis in order[2:]],
        pads=[*tops, *bottoms],
    )
    return Tensor(name, shape, tuple(map(order.index, range(4))))


def _product(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    (summed, batched) = params["dimension_numbers"]
    names, free = [], []
    for side, value in enumerate(inputs):
        one = builder.plain(value)
        apart = (*summed[side], *batched[side])
        loose = [axis for axis in range(len(one.shape)) if axis not in apart]
        inner = [*loose, *summed[side]] if side == 0 else [*summed[side], *loose]
        names.append(builder.in_order(one, [*batched[side], *inner]))
        free.append(len(loose))
    if len(summed[0]) != 1 or free[1] != 1 or (batched[0] and free[0] != 1):
        raise NotImplementedError(f"a product over {params['dimension_numbers']}")
    return Tensor(builder.add("MatMul", names), shape, tuple(range(len(shape))))


def _concatenate(
    builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple
) -> Tensor:
    axis = params["dimension"]
    tensors = [one for one in inputs if isinstance(one, Tensor)]
    axes = tensors[0].axes
    alike = axes[axis] is not None and all(one.axes == axes for one in tensors)
    if len(tensors) < len(inputs) or not alike:
        tensors = [builder.plain(one) for one in inputs]
        axes = tensors[0].axes
    name = builder.add("Concat", [one.name for one in tensors], axis=axes[axis])
    return Tensor(name, shape, axes)


def _slice(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    one = _tensor(inputs[0])
    starts, ends = params["start_indices"], params["limit_indices"]
    steps = params["strides"] or (1,) * len(starts)
    return _cut(builder, one, starts, ends, steps, shape)


def _cut(
    builder: Builder,
    one: Tensor,
    starts: Sequence[Any],
    ends: Sequence[Any],
    steps: Sequence[int],
    shape: tuple,
) -> Tensor:
    cut = [
        axis
        for axis, length in enumerate(one.shape)
        if not (starts[axis] == 0 and ends[axis] == length and steps[axis] == 1)
    ]
    if not cut:
        return one._replace(shape=shape)
    numbers = [[one_of[axis] for axis in cut] for one_of in (starts, ends, one.axes, steps)]
    name = builder.add("Slice", [one.name, *(builder.integers(*each) for each in numbers)])
    return one._replace(name=name, shape=shape)


def _split(builder: Builder, params: Mapping, one: Tensor) -> list[Tensor]:
    found, start = [], 0
    for size in params["sizes"]:
        starts, ends, shape = [0] * len(one.shape), list(one.shape), list(one.shape)
        starts[params["axis"]], ends[params["axis"]] = start, start + size
        shape[params["axis"]] = size
        found.append(_cut(builder, one, starts, ends, [1] * len(shape), tuple(shape)))
        start += size
    return found


def _pad(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    one, value = builder.plain(_tensor(inputs[0])), inputs[1]
    assert isinstance(value, np.ndarray), "a padding that depends on the picture"
    low, high, inside = zip(*params["padding_config"], strict=True)
    assert min(*low, *high) >= 0 == max(inside)
    pads = builder.integers(*low, *high)
    name = builder.add("Pad", [one.name, pads, builder.constant(value)])
    return one._replace(name=name, shape=shape)


def _clamp(builder: Builder, params: Mapping, inputs: Sequence[Value], shape: tuple) -> Tensor:
    low, value, high = inputs
    above = _binary(builder, "Max", [value, low], shape)
    return _binary(builder, "Min", [above, high], shape)


LOWERED: Mapping[str, Callable[..., Tensor]] = {
    "convert_element_type": _cast,
    "rsqrt": _rsqrt,
    "square": _square,
    "integer_pow": _integer_pow,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "reduce_sum": _reduced("ReduceSum"),
    "reduce_max": _reduced("ReduceMax"),
    "reduce_min": _reduced("ReduceMin"),
    "conv_general_dilated": _convolution,
    "reduce_window_max": _max_pool,
    "dot_general": _product,
    "concatenate": _concatenate,
    "slice": _slice,
    "pad": _pad,
    "clamp": _clamp,
}
