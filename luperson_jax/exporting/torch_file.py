"""A graph as a program of TorchScript."""

import contextlib
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from luperson_jax import libraries
from luperson_jax.exporting.graph import INPUT, OUTPUT, Graph


def write(graph: Graph, path: pathlib.Path) -> None:
    """Writes a program that takes pictures of any batch and gives their features.

    Raises:
        InputError: PyTorch is not installed.
    """
    torch = libraries.extra("torch", "torch")
    example = np.zeros((2, *graph.input_shape), graph.input_type)
    with _quiet():
        traced = torch.jit.trace(
            _module(torch, graph), torch.from_numpy(example), check_trace=False
        )
        torch.jit.save(traced, str(path))


def load(path: pathlib.Path) -> Any:
    """The program that `write` wrote, on the CPU.

    Raises:
        InputError: PyTorch is not installed.
    """
    torch = libraries.extra("torch", "torch")
    with _quiet():
        return torch.jit.load(str(path), map_location="cpu")


def runner(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """Runs a program that `write` wrote."""
    torch, program = libraries.extra("torch", "torch"), load(path)

    def run(pictures: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return program(torch.from_numpy(pictures)).numpy()

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Newer versions of PyTorch warn of TorchScript, which programs of others still ask for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _module(torch: Any, graph: Graph) -> Any:
    """The graph as a module, whose weights are buffers."""

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, array in graph.constants.items():
                if array.dtype.kind == "f":
                    self.register_buffer(buffer_of(name), torch.from_numpy(np.array(array)))

        def forward(self, images: Any) -> Any:
            known = {INPUT: images}
            for node in graph.nodes:
                inputs = [
                    known[name] if name in known else self._constant(name) for name in node.inputs
                ]
                known[node.output] = OPERATORS[node.op](torch, inputs, node.attributes)
            return known[OUTPUT]

        def _constant(self, name: str) -> Any:
            array = graph.constants[name]
            if array.dtype.kind == "f":
                return getattr(self, buffer_of(name))
            return [int(number) for number in array.ravel()]

    return Network().eval()


def buffer_of(name: str) -> str:
    """What a constant is called among the buffers of the module."""
    return name.replace(".", "_")


def _padded(torch: Any, x: Any, pads: Sequence[int], value: float) -> tuple[Any, Sequence[int]]:
    """Pictures padded on one side more than on the other, and what is left to pad on both."""
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return x, (top, left)
    return torch.nn.functional.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _conv(torch: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    x, kernel, *bias = inputs
    x, padding = _padded(torch, x, given["pads"], 0.0)
    how = (given["strides"], padding, given["dilations"], given["group"])
    return torch.nn.functional.conv2d(x, kernel, bias[0] if bias else None, *how)


def _max_pool(torch: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    x, padding = _padded(torch, inputs[0], given["pads"], -float("inf"))
    return torch.nn.functional.max_pool2d(x, given["kernel_shape"], given["strides"], padding)


def _unsqueeze(torch: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    x, places = inputs
    for place in places:
        x = x.unsqueeze(place)
    return x


def _expand(torch: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    return inputs[0].expand([-1 if length == 1 else length for length in inputs[1]])


def _slice(torch: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    x, *cuts = inputs
    for start, end, axis, step in zip(*cuts, strict=True):
        x = x[(*[slice(None)] * axis, slice(start, end, step))]
    return x


def _pad(torch: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    x, pads, value = inputs
    rank = len(pads) // 2
    last_first = [pads[axis + side * rank] for axis in reversed(range(rank)) for side in (0, 1)]
    return torch.nn.functional.pad(x, last_first, value=float(value))


Operator = Callable[[Any, Sequence[Any], Mapping[str, Any]], Any]
OPERATORS: Mapping[str, Operator] = {
    "Identity": lambda torch, x, how: x[0],
    "Cast": lambda torch, x, how: x[0].to(torch.float32),
    "Add": lambda torch, x, how: x[0] + x[1],
    "Sub": lambda torch, x, how: x[0] - x[1],
    "Mul": lambda torch, x, how: x[0] * x[1],
    "Div": lambda torch, x, how: x[0] / x[1],
    "Pow": lambda torch, x, how: torch.pow(x[0], x[1]),
    "Max": lambda torch, x, how: torch.maximum(x[0], x[1]),
    "Min": lambda torch, x, how: torch.minimum(x[0], x[1]),
    "Relu": lambda torch, x, how: torch.relu(x[0]),
    "Sqrt": lambda torch, x, how: torch.sqrt(x[0]),
    "Exp": lambda torch, x, how: torch.exp(x[0]),
    "Log": lambda torch, x, how: torch.log(x[0]),
    "Neg": lambda torch, x, how: -x[0],
    "Abs": lambda torch, x, how: torch.abs(x[0]),
    "Reciprocal": lambda torch, x, how: torch.reciprocal(x[0]),
    "MatMul": lambda torch, x, how: torch.matmul(x[0], x[1]),
    "Transpose": lambda torch, x, how: x[0].permute(how["perm"]),
    "Reshape": lambda torch, x, how: x[0].reshape(x[1]),
    "Squeeze": lambda torch, x, how: x[0].squeeze(tuple(x[1])),
    "Concat": lambda torch, x, how: torch.cat(tuple(x), how["axis"]),
    "ReduceSum": lambda torch, x, how: x[0].sum(x[1]),
    "ReduceMax": lambda torch, x, how: x[0].amax(how["axes"]),
    "ReduceMin": lambda torch, x, how: x[0].amin(how["axes"]),
    "Conv": _conv,
    "MaxPool": _max_pool,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Slice": _slice,
    "Pad": _pad,
}
"""What each operator is in PyTorch; whole numbers come as lists."""
