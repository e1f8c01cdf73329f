"""A file of weights as a network that embeds: no workdir, configuration or data needed."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from data_pipeline.errors import InputError
from luperson_jax import config, models, tasks, weights
from luperson_jax.augment import recipes
from luperson_jax.models import NetworkSpec
from luperson_jax.setting_values import typed
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base
from luperson_jax.weights import translate
from luperson_jax.weights.model import Model

PERSON_SIZE = (256, 128)
"""Height and width for weights of another subject: ImageNet's squares distort a person."""


@dataclasses.dataclass(frozen=True)
class Trunk:
    """Embeds with a backbone alone: its pooled feature."""

    network: Any
    views: base.Views

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Features [B, D] float32 after the pooling, not normalized."""
        images = self.views.plain(batch)
        return models.apply(self.network, params, extra["stats"], images, train=False)[0]


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a file of weights embeds with.

    Attributes:
        recipe: its network, input and the settings of `eval`; nothing of a training.
        embedder: computes the features.
        params, extra: its trees.
        notes: lines that say what was read and what was assumed.
    """

    recipe: config.Recipe
    embedder: base.Embedder
    params: Tree
    extra: Tree
    notes: tuple[str, ...]


def read(
    path: pathlib.Path,
    changes: Mapping[str, Any],
    *,
    size: str | None = None,
    statistics: str | None = None,
    pooling: str | None = None,
) -> Weights:
    """Reads a file of weights: of PyTorch, safetensors, or a model file.

    Args:
        path: the file.
        changes: to the group `eval` of its recipe.
        size: HEIGHTxWIDTH of the input; None = as the file or its family has it.
        statistics: name of mean and deviation of the pixels, or six numbers; None = as the file or
            its family has them.
        pooling: kind of pooling; None = as the file has it, else the average.

    Raises:
        InputError: no such file, no network of this program, or a file that does not tell its
            statistics where none are given.
    """
    if path.is_dir():
        raise InputError(f"--weights is the folder {path}; a run is given as --workdir {path}")
    model = weights.load(path).without_classifier()
    if model.source is not None and model.family == "torchvision":
        model = dataclasses.replace(model, size=PERSON_SIZE)
    network = model.network
    if pooling and "gem_learned" in (pooling, network.pooling) and pooling != network.pooling:
        raise InputError(
            f"--pooling is {pooling}, and {path} is {network}; the exponent of "
            "gem_learned is among the tensors, and of no other pooling: leave --pooling out"
        )
    if pooling:
        network = dataclasses.replace(network, pooling=pooling)
    settings = {
        "model": _model_settings(network),
        "task": _task_settings(network),
        "data": {"size": typed(size, tuple[int, int], "--size") if size else model.size}
        | {"batch_size": 1},
        "augment": {"statistics": statistics or _statistics(model, path)},
        "eval": dict(changes),
    }
    recipe = config.resolve(settings, tasks.OPTIONS)
    params, extra = model.tree["params"], {"stats": model.tree["extra"]["stats"]}
    notes = _notes(path, model, recipe, model.source is None, (size, statistics, pooling))
    return Weights(recipe, _embedder(recipe, network), params, extra, notes)


def _embedder(recipe: config.Recipe, network: NetworkSpec) -> base.Embedder:
    if network.kind != "backbone":
        return tasks.TASKS[recipe.task.name].build(recipe, None)
    return Trunk(network.build(compute_dtype="auto"), base.Views.build(recipe, 0))


def _model_settings(network: NetworkSpec) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(config.ModelConfig)]
    return {name: getattr(network, name) for name in names if hasattr(network, name)}


def _task_settings(network: NetworkSpec) -> dict[str, Any]:
    if network.kind == "moco":
        settings = {"head": network.head, "feature_dim": network.feature_dim}
        return {"name": "moco", **settings}
    settings = {"extra_bn": network.extra_bn, "embedding_dim": network.embedding_dim}
    kind = "mgn" if network.kind == "mgn" else "baseline"
    return {"name": "identify", "network": kind, **settings}


def _statistics(model: Model, path: pathlib.Path) -> str:
    if model.statistics is None:
        raise InputError(
            f"{path} does not tell the mean and deviation of the pixels that its weights expect: "
            "name them with --statistics: lup for weights of LUPerson, lmdb_200_20 for "
            "LUPerson-NL, imagenet for torchvision's, or six numbers with commas in 0..1, "
            "means first"
        )
    return ",".join(repr(float(value)) for values in model.statistics for value in values)


def _notes(
    path: pathlib.Path,
    model: Model,
    recipe: config.Recipe,
    ours: bool,
    given: tuple[str | None, ...],
) -> tuple[str, ...]:
    """What was read, and where each assumption comes from."""
    size, statistics, pooling = given
    kind = model.network.kind
    feature = {"backbone": "pooled", "moco": "projected"}.get(kind, "after the neck")
    origin = "the model file" if ours else f"family {model.family}"
    told = origin if ours or translate.family_named(model.family).statistics else "the file"
    shape = f"{origin} has it" if model.family != "torchvision" or ours else "persons stand"
    height, width = recipe.data.size
    numbers = recipes.statistics(recipe.augment.statistics)
    pixels = " ".join(f"{value:.4f}" for values in numbers for value in values)
    lines = [
        f"{path}: {translate.KINDS[kind]} ({model.network}), features {feature}",
        f"input {height}x{width}, as {'given' if size else shape + '; else --size'}",
        f"mean and deviation {pixels}, as "
        + ("given" if statistics else f"{told} has them; else --statistics"),
    ]
    if statistics and model.other_pixels(numbers):
        lines.append(f"note: {path} itself names another mean and deviation")
    if not pooling and model.network.pooling == "avg" and not ours:
        lines.append("pooling is not in the file, so taken as avg; else --pooling")
    return tuple(lines)
