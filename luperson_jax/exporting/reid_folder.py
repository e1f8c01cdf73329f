"""A network as a folder of Roboflow's package `reid`: weights.safetensors and reid_config.json.

That package builds networks by name. A trunk of torchvision's form with its average has one
(`timm:resnet50`); any other network comes as a program of TorchScript beside the weights, which
takes the place of the name:

    ReIDModel.from_pretrained(folder, architecture=torch.jit.load(f"{folder}/network.torchscript"))
"""

import json
import pathlib
from collections.abc import Callable

import jax
import numpy as np
import safetensors.numpy

from data_pipeline.errors import InputError
from luperson_jax import models, trees
from luperson_jax.exporting import lowering, torch_file, tracing
from luperson_jax.exporting.conventions import Convention
from luperson_jax.serving import reid_model
from luperson_jax.serving.reid_model import ReidModel
from luperson_jax.weights import translate
from luperson_jax.weights.model import Model

INTERPOLATIONS = ("bicubic",)
"""Of the package, which are ours under the same names; it resizes crops by itself."""
WEIGHTS, CONFIG, PROGRAM = "weights.safetensors", "reid_config.json", "network.torchscript"
OWN = "luperson_jax"
"""What the configuration calls a network that the package has no name for."""


def name_of(spec: models.NetworkSpec) -> str:
    """What the package calls a network that gives the same features; empty where it has none."""
    of_timm = models.NetworkSpec("backbone", spec.arch)
    pooled = spec.kind in ("backbone", "pnl") and spec.pooling == "avg"
    alike = pooled and spec.trunk() == of_timm and spec.arch.startswith("resnet")
    return f"timm:{spec.arch}" if alike else ""


def write(
    folder: pathlib.Path, model: ReidModel, convention: Convention
) -> Callable[[np.ndarray], np.ndarray]:
    """Fills a folder.

    Args:
        folder: an empty one.
        model: of `load`.
        convention: of the package; its numbers are those that the weights expect.

    Returns:
        Runs what was written.

    Raises:
        InputError: a network without a name, and PyTorch is not installed; or one that expects
            pictures resized as the package cannot.
    """
    if model.resize not in INTERPOLATIONS:
        raise InputError(
            f"this network expects pictures resized by {model.resize}, TensorFlow 1's filter, and "
            "the package resizes crops by itself and does not have it; export --to torch or onnx, "
            "and resize with data_pipeline.read.decode.bilinear_tf1"
        )
    name = name_of(tracing.spec_of(model))
    mean, std = convention.statistics
    about = {
        "architecture": name or OWN,
        "preprocessing": {
            "input_size": list(model.size),
            "mean": list(mean),
            "std": list(std),
            "interpolation": model.resize,
            "to_rgb": True,
            "resize_mode": "stretch",
        },
    }
    (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n")
    write_weights = _write_named if name else _write_program
    return write_weights(folder, model, convention)


def _write_named(
    folder: pathlib.Path, model: ReidModel, convention: Convention
) -> Callable[[np.ndarray], np.ndarray]:
    """Weights under torchvision's names; they are read again and run by our network."""
    state = model.network.state
    named = trees.by_name({"params": state.params, "extra": {"stats": state.extra["stats"]}})
    tensors = {path: np.asarray(leaf) for path, leaf in named.items()}
    trunk = Model(tensors, tracing.spec_of(model), OWN, size=model.size).backbone()
    _, written = translate.to_torch(trunk, "luperson")
    safetensors.numpy.save_file(dict(written), folder / WEIGHTS)
    numbers = ",".join(repr(float(one)) for each in convention.statistics for one in each)
    again = reid_model.load(folder / WEIGHTS, size=model.size, statistics=numbers)
    function = jax.jit(tracing.trace(again, convention).function)
    return lambda pictures: np.asarray(function(pictures))


def _write_program(
    folder: pathlib.Path, model: ReidModel, convention: Convention
) -> Callable[[np.ndarray], np.ndarray]:
    graph = lowering.lower(*tracing.trace(model, convention))
    torch_file.write(graph, folder / PROGRAM)
    weights = {
        torch_file.buffer_of(one): np.ascontiguousarray(array)
        for one, array in graph.constants.items()
        if array.dtype.kind == "f"
    }
    safetensors.numpy.save_file(weights, folder / WEIGHTS)
    return torch_file.runner(folder / PROGRAM)
