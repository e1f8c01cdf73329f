"""Programs that networks are written for, and the writing."""

import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

import luperson_jax
from data_pipeline.read import atomic
from luperson_jax.augment import recipes
from luperson_jax.exporting import (
    agreement,
    lowering,
    onnx_file,
    reid_folder,
    stablehlo_file,
    torch_file,
    tracing,
)
from luperson_jax.exporting.agreement import Agreement
from luperson_jax.exporting.conventions import FROM_ZERO_TO_ONE, Convention
from luperson_jax.models.convolution import compute_type
from luperson_jax.serving.reid_model import ReidModel

Runner = Callable[[np.ndarray], np.ndarray]
Writer = Callable[[pathlib.Path, ReidModel, Convention], Runner]


def _write_stablehlo(path: pathlib.Path, model: ReidModel, convention: Convention) -> Runner:
    stablehlo_file.write(tracing.trace(model, convention), path)
    return stablehlo_file.runner(path)


def _write_onnx(path: pathlib.Path, model: ReidModel, convention: Convention) -> Runner:
    height, width = model.size
    facts = {
        "version": luperson_jax.__version__,
        "network": str(tracing.spec_of(model)),
        "source": model.network.origin,
        "input": str(convention),
        "size": f"{height}x{width}, by the filter {model.resize}",
        "output": "features of unit length, compared by their cosine",
    }
    graph = lowering.lower(*tracing.trace(model, convention))
    named = {f"luperson_jax.{name}": value for name, value in facts.items()}
    onnx_file.write(graph, path, named)
    return onnx_file.runner(path)


def _write_torch(path: pathlib.Path, model: ReidModel, convention: Convention) -> Runner:
    torch_file.write(lowering.lower(*tracing.trace(model, convention)), path)
    return torch_file.runner(path)


class Target(NamedTuple):
    """A program, or a kind of file.

    Attributes:
        suffixes: of the file; none = a folder.
        convention: of a model, what the program hands to its network, where nothing else is asked
            for.
        free: whether something else can be asked for.
        write: makes the file, or fills the folder, and gives what runs it.
        filter: by which the program brings crops to the size of the network; empty where it does
            not, and is given pictures of that size.
    """

    suffixes: tuple[str, ...]
    convention: Callable[[ReidModel], Convention]
    free: bool
    write: Writer
    filter: str = ""


PILLOW = {"bicubic": "Pillow's bicubic filter"}
IMAGENET = recipes.statistics("imagenet")
TARGETS: Mapping[str, Target] = {
    "stablehlo": Target(
        (".stablehlo",), lambda model: Convention("uint8", "nhwc"), True, _write_stablehlo
    ),
    "onnx": Target((".onnx",), lambda model: Convention("uint8", "nhwc"), True, _write_onnx),
    "torch": Target(
        (".torchscript", ".pt"), lambda model: Convention("uint8", "nchw"), True, _write_torch
    ),
    "boxmot": Target(
        (".onnx",),
        lambda model: Convention("float32", "nchw", IMAGENET),
        False,
        _write_onnx,
        "OpenCV's bilinear filter",
    ),
    "ultralytics": Target(
        (".onnx",),
        lambda model: Convention("float32", "nchw", FROM_ZERO_TO_ONE),
        False,
        _write_onnx,
        "PyTorch's bilinear filter",
    ),
    "reid": Target(
        (),
        lambda model: Convention("float32", "nchw", tracing.statistics_of(model)),
        False,
        reid_folder.write,
        PILLOW["bicubic"],
    ),
}


def about_resizing(target: Target, model: ReidModel) -> str:
    """By which filter pictures come to the size of the network, and what if by another."""
    wanted = PILLOW.get(model.resize, "TensorFlow 1's bilinear filter (decode.bilinear_tf1)")
    if not target.filter:
        return f"pictures of this size, by {wanted}"
    if target.filter == wanted:
        return f"crops are resized by {wanted}, as by this program"
    return (
        f"crops are resized by {target.filter}, and the network expects {wanted}: features differ; "
        "resize crops before to have the same"
    )


def write(
    target: Target,
    model: ReidModel,
    convention: Convention,
    path: pathlib.Path,
    pictures: UInt8[np.ndarray, "b h w 3"],
) -> Agreement:
    """Writes a network for a program, if its features agree with ours.

    Args:
        target: of `TARGETS`.
        model: of `load`, without flipping.
        convention: what the program hands over.
        path: the file or folder, which does not exist.
        pictures: in the size of the network, to compare on.

    Returns:
        How well they agree.

    Raises:
        InputError: they do not, and nothing was written; a library is missing.
    """
    own = compute_type(model.network.recipe.model.compute_dtype)
    limit = agreement.LIMIT if jnp.dtype(own) == jnp.float32 else agreement.LOOSE
    ours = agreement.expected(model, pictures)
    making = atomic.replacing if target.suffixes else atomic.making
    with making(path) as part:
        run = target.write(part, model, convention)
        return agreement.check(run, convention, pictures, ours, limit)
