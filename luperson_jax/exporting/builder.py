"""What a graph is built with: tensors that know where the axes of the traced arrays lie in them.

JAX keeps channels last and ONNX takes them second. A convolution hands its channels on as they are,
and nothing is transposed between two of them; axes of length 1 need not lie anywhere.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from luperson_jax.exporting.graph import Node

Axes = tuple[int | None, ...]


class Tensor(NamedTuple):
    """A tensor of the graph that stands for an array of the traced function.

    Attributes:
        name: of the tensor.
        shape: of the array; a batch may be a symbol.
        axes: where in the tensor each axis of the array lies; None = it is of length 1 and left
            out.
    """

    name: str
    shape: tuple[Any, ...]
    axes: Axes

    @property
    def rank(self) -> int:
        """Axes of the tensor."""
        return sum(place is not None for place in self.axes)

    @property
    def kept(self) -> list[int]:
        """Axes of the array that the tensor has."""
        return [axis for axis, place in enumerate(self.axes) if place is not None]


Value = Tensor | np.ndarray
"""What a variable stands for: a constant is an array, of length 1 where it is the same along an
axis of the batch."""


class Builder:
    """Collects operators and constants."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Appends an operator and names its tensor."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(Node(op, tuple(inputs), name, attributes))
        return name

    def constant(self, array: Any) -> str:
        """Names an array."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def integers(self, *numbers: Any) -> str:
        """Names a list of whole numbers."""
        return self.constant(np.array(numbers, np.int64))

    def in_order(self, value: Tensor, order: Sequence[int]) -> str:
        """A tensor with axes of the array in an order: all that it has, and perhaps others, which
        are of length 1."""
        places = [value.axes[axis] for axis in order]
        present = [place for place in places if place is not None]
        assert len(present) == value.rank, (value, order)
        name = value.name
        if present != sorted(present):
            name = self.add("Transpose", [name], perm=present)
        lacking = [index for index, place in enumerate(places) if place is None]
        return self.add("Unsqueeze", [name, self.integers(*lacking)]) if lacking else name

    def plain(self, value: Value) -> Tensor:
        """The tensor with every axis of the array, in its order; a constant as a tensor."""
        if isinstance(value, np.ndarray):
            return Tensor(self.constant(value), value.shape, tuple(range(value.ndim)))
        every = tuple(range(len(value.shape)))
        return Tensor(self.in_order(value, every), value.shape, every)
