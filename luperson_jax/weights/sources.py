"""Whatever weights one has, opened as a model: a workdir, a model file, a foreign file."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from data_pipeline.errors import InputError
from luperson_jax import trees
from luperson_jax.augment import recipes
from luperson_jax.optim import averaging
from luperson_jax.weights import files, momentum, translate
from luperson_jax.weights import model as model_file
from luperson_jax.weights.files import Source
from luperson_jax.weights.model import Model, describe
from luperson_jax.weights.report import Report
from luperson_jax.weights.rules import Kind
from luperson_jax.workdir import checkpoint, recipe_file

OURS = "luperson_jax"
TASK_KINDS: dict[str, Kind] = {"moco": "moco", "identify": "reid"}

# What is read of a workdir's recipe.
NEEDED = {
    "task": ("name",),
    "model": ("last_stride", "pooling", "arch"),
    "augment": ("statistics",),
    "data": ("size", "batch_size"),
    "table": ("images",),
    "optim": ("lr", "momentum", "weight_decay"),
    "eval": (),
}

FACTS = ("epoch", "arch", "best_mAP", "iteration")


def open_model(path: pathlib.Path, **options: Any) -> tuple[Source | None, Model, Report | None]:
    """The model at a path.

    Args:
        path: a workdir of this program (its newest checkpoint), a model file (`.npz`), or a file
            of PyTorch or safetensors.
        options: of `translate.from_torch`, for foreign files.

    Returns:
        The foreign file and the account of its tensors (None for our own), around the model.

    Raises:
        InputError: nothing is there, it is damaged, or it holds something else.
    """
    if path.is_dir():
        return None, from_workdir(path), None
    if model_file.is_model_file(path):
        return None, model_file.load(path), None
    source = files.read(path)
    tensors = translate.without_prefixes(source.tensors, options.get("family", translate.AUTO))
    source = dataclasses.replace(source, tensors=dict(tensors))
    facts = {name: _number(source.beside[name]) for name in FACTS if name in source.beside}
    model, report = translate.from_torch(source.tensors, facts=facts, **options)
    if model.network.kind == "moco":
        family = translate.family_named(model.family)
        optimizer = source.beside.get("optimizer")
        found = momentum.read(family, source.tensors, optimizer)
        model = dataclasses.replace(model, momentum=found, sgd=momentum.settings(optimizer))
    return source, model, report


def kind_of(task: Mapping[str, Any]) -> Kind:
    """Which network the settings of a task train. Where it has no form of its own as a model, the
    backbone is what can leave the workdir."""
    return "mgn" if task.get("network") == "mgn" else TASK_KINDS.get(task["name"], "backbone")


def _number(value: Any) -> Any:
    """A number that safetensors keeps as text."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def from_workdir(folder: pathlib.Path) -> Model:
    """The model of a run's newest checkpoint.

    Of a re-ID network these are the weights that the run's evaluation takes: where `eval.weights`
    says so, their average.

    Raises:
        InputError: no checkpoint, no recipe beside it, or no average yet.
    """
    saved = checkpoint.Checkpoints(folder, read_only=True)
    try:
        step, tree = saved.read()
    finally:
        saved.close()
    recipe = recipe_file.read(folder)
    for group, names in NEEDED.items():
        missing = [f"{group}.{name}" for name in names if name not in recipe.get(group, {})]
        if missing or group not in recipe:
            raise InputError(
                f"{folder / recipe_file.RECIPE_FILE} lacks {', '.join(missing) or group}; restore "
                "it from a copy"
            )
    kind = kind_of(recipe["task"])
    if kind in ("reid", "mgn") and recipe["eval"].get("weights") == "average":
        tree = averaging.of_checkpoint(tree, str(folder))
    tensors = trees.by_name({name: tree[name] for name in ("params", "extra")})
    settings = recipe["model"]
    network = describe(
        {path: array.shape for path, array in tensors.items()},
        kind,
        settings["last_stride"],
        settings["pooling"],
    )
    moments = {momentum.path_of_moment(name): array for name, array in tree["opt_state"].items()}
    return Model(
        tensors={path: tensors[path] for path in network.shapes},
        network=network,
        family=OURS,
        statistics=recipes.statistics(recipe["augment"]["statistics"]),
        size=tuple(recipe["data"]["size"]),
        facts={"step": step, "epoch": step // _steps_per_epoch(recipe), "arch": settings["arch"]},
        momentum={path: array for path, array in moments.items() if path and kind == "moco"},
        sgd={name: recipe["optim"][name] for name in ("lr", "momentum", "weight_decay")},
    )


def _steps_per_epoch(recipe: dict[str, Any]) -> int:
    return recipe["table"]["images"] // recipe["data"]["batch_size"]
