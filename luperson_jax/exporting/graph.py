"""A network as a list of operators: what ONNX and PyTorch are written from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

INPUT, OUTPUT = "images", "features"
BATCH = "batch"

AFFINE = ("Add", "Sub", "Mul", "Div")


@dataclasses.dataclass(frozen=True)
class Node:
    """One operator, called and meant as in ONNX (opset 17).

    Attributes:
        op: its name, such as "Conv".
        inputs: names of tensors and constants.
        output: name of its one tensor.
        attributes: by name.
    """

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Graph:
    """Operators in the order in which they are run, from `INPUT` to `OUTPUT`.

    Attributes:
        nodes: the operators.
        constants: [name] -> array: weights, and numbers that operators take.
        input_shape: of `INPUT`, without the batch.
        input_type: "uint8" or "float32".
        features: numbers of each of the features, [batch, features] float32.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    input_shape: tuple[int, ...]
    input_type: str
    features: int


def folded(graph: Graph) -> Graph:
    """The graph with what is done to each channel after a convolution (normalization, bias) inside
    of it, and without constants that nobody takes."""
    users: dict[str, int] = {}
    for node in graph.nodes:
        for name in node.inputs:
            users[name] = users.get(name, 0) + 1
    constants = dict(graph.constants)
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        source, factor, shift = _per_channel(node, nodes, constants)
        if source is None or users[source.output] > 1:
            nodes[node.output] = node
            continue
        del nodes[source.output]
        kernel = np.asarray(constants[source.inputs[1]], np.float64)
        bias = [constants[name] for name in source.inputs[2:]]
        names = (f"{node.output}.kernel", f"{node.output}.bias")
        constants[names[0]] = kernel * factor.reshape(-1, 1, 1, 1)
        constants[names[1]] = sum(bias) * factor + shift
        inputs = (source.inputs[0], *names)
        nodes[node.output] = dataclasses.replace(source, inputs=inputs, output=node.output)
    used = {name for node in nodes.values() for name in node.inputs}
    kept = {
        name: array.astype(np.float32) if array.dtype == np.float64 else array
        for name, array in constants.items()
        if name in used
    }
    return dataclasses.replace(graph, nodes=tuple(nodes.values()), constants=kept)


def _per_channel(
    node: Node, nodes: Mapping[str, Node], constants: Mapping[str, np.ndarray]
) -> tuple[Node | None, np.ndarray, np.ndarray]:
    """The convolution that a node only scales and shifts, by what factor and how far, [channels]
    float64; None where it does something else."""
    nothing = (None, np.ones(1), np.zeros(1))
    if node.op not in AFFINE:
        return nothing
    first, second = node.inputs
    flipped = first in constants
    source = nodes.get(second if flipped else first)
    number = constants.get(first if flipped else second)
    if source is None or source.op != "Conv" or number is None or (flipped and node.op == "Div"):
        return nothing
    channels = len(constants[source.inputs[1]])
    if number.shape not in ((), (channels, 1, 1), (1, channels, 1, 1)):
        return nothing
    one, zero = np.ones(channels), np.zeros(channels)
    value = one * number.astype(np.float64).ravel()
    if node.op == "Mul":
        return source, value, zero
    if node.op == "Div":
        return source, 1 / value, zero
    if node.op == "Add":
        return source, one, value
    return (source, -one, value) if flipped else (source, one, -value)
