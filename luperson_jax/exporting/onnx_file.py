"""A graph as a file of ONNX."""

import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax import libraries
from luperson_jax.exporting.graph import BATCH, INPUT, OUTPUT, Graph

OPSET, IR_VERSION = 17, 8
"""Old enough for what is in use: ONNX Runtime since 1.12, TensorRT since 8.5."""
LARGEST = 2**31 - 1
"""Bytes of a file of protocol buffers."""


def write(graph: Graph, path: pathlib.Path, facts: Mapping[str, str]) -> None:
    """Writes a graph; the batch is the symbol `BATCH`.

    Args:
        graph: of `lowering.lower`.
        path: the file.
        facts: kept with the model, by name.

    Raises:
        InputError: onnx is not installed, or the network is too large for one file.
    """
    onnx = libraries.extra("onnx", "export")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    types_of = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}
    nodes = [
        helper.make_node(one.op, one.inputs, [one.output], name=one.output, **one.attributes)
        for one in graph.nodes
    ]
    pictures = helper.make_tensor_value_info(
        INPUT, types_of[graph.input_type], [BATCH, *graph.input_shape]
    )
    features = helper.make_tensor_value_info(
        OUTPUT, onnx.TensorProto.FLOAT, [BATCH, graph.features]
    )
    arrays = [numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    made = helper.make_graph(nodes, "luperson_jax", [pictures], [features], arrays)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(
        made, opset_imports=[opset], ir_version=IR_VERSION, producer_name="luperson_jax"
    )
    helper.set_model_props(model, dict(facts))
    if model.ByteSize() > LARGEST:
        raise InputError(f"the network has {model.ByteSize()} bytes; a file of ONNX takes 2 GB")
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def runner(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """Runs a file in ONNX Runtime, on the CPU.

    Raises:
        InputError: onnxruntime is not installed.
    """
    runtime = libraries.extra("onnxruntime", "export")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(pictures: np.ndarray) -> np.ndarray:
        return session.run([OUTPUT], {INPUT: pictures})[0]

    return run
