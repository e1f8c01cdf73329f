"""From a traced function to a `Graph`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.extend.core
import numpy as np

from luperson_jax.exporting import operations
from luperson_jax.exporting.builder import Builder, Tensor, Value
from luperson_jax.exporting.graph import INPUT, OUTPUT, Graph, Node, folded


def lower(function: Any, example: jax.ShapeDtypeStruct) -> Graph:
    """Brings a function of one array into a graph.

    Args:
        function: from pictures [batch, ...] to features [batch, D] float32; what it closes over
            becomes constants.
        example: shape and type of the pictures; the batch a symbol of `jax.export`.

    Returns:
        The graph, for any batch.

    Raises:
        NotImplementedError: the function does something that has no operator here.
    """
    closed = jax.make_jaxpr(function)(example)
    builder = Builder()
    images = Tensor(INPUT, example.shape, tuple(range(len(example.shape))))
    consts = [np.asarray(one) for one in closed.consts]
    (found,) = _walk(builder, closed.jaxpr, consts, [images])
    assert isinstance(found, Tensor)
    last = builder.in_order(found, (0, 1))
    builder.nodes.append(Node("Identity", (last,), OUTPUT))
    graph = Graph(
        nodes=tuple(builder.nodes),
        constants=builder.constants,
        input_shape=tuple(int(length) for length in example.shape[1:]),
        input_type=str(example.dtype),
        features=int(found.shape[1]),
    )
    return folded(graph)


def _walk(builder: Builder, jaxpr: Any, consts: Sequence[Value], given: Sequence[Value]) -> list:
    known: dict[Any, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= zip(jaxpr.invars, given, strict=True)

    def value(variable: Any) -> Value:
        literal = isinstance(variable, jax.extend.core.Literal)
        return np.asarray(variable.val) if literal else known[variable]

    for equation in jaxpr.eqns:
        inputs = [value(variable) for variable in equation.invars]
        inner = _inner(equation)
        if inner is not None:
            found = _walk(builder, inner.jaxpr, [np.asarray(one) for one in inner.consts], inputs)
        elif all(isinstance(one, np.ndarray) for one in inputs):
            found = _computed(equation, inputs)
        else:
            found = operations.lower(builder, equation, inputs)
        known |= zip(equation.outvars, found, strict=True)
    return [value(variable) for variable in jaxpr.outvars]


def _inner(equation: Any) -> Any:
    """The function that an equation only calls; None where it computes something itself."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(name)
        if isinstance(inner, jax.extend.core.ClosedJaxpr):
            return inner
    return None


def _computed(equation: Any, inputs: Sequence[Any]) -> list[np.ndarray]:
    """What an equation gives of constants."""
    if equation.primitive.name == "broadcast_in_dim":  # perhaps along the batch: left at length 1
        rank, places = len(equation.params["shape"]), equation.params["broadcast_dimensions"]
        shape = [1] * rank
        for axis, place in enumerate(places):
            shape[place] = inputs[0].shape[axis]
        return [inputs[0].reshape(shape)]
    known = [_stretched(one, var.aval) for one, var in zip(inputs, equation.invars, strict=True)]
    found = equation.primitive.bind(*known, **equation.params)
    several = equation.primitive.multiple_results
    return [np.asarray(one) for one in (found if several else [found])]


def _stretched(array: np.ndarray, aval: Any) -> np.ndarray:
    """A constant at the length that the function takes it for, as far as that is a number."""
    shape = [
        length if isinstance(length, int) else known
        for length, known in zip(aval.shape, array.shape, strict=True)
    ]
    return np.broadcast_to(array, shape)
