"""Whatever weights one has, opened as a model: a workdir, a model file, a foreign file."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from data_pipeline.errors import InputError
from luperson_jax import trees
from luperson_jax.augment import recipes
from luperson_jax.models.spec import NetworkSpec
from luperson_jax.optim import averaging
from luperson_jax.weights import files, momentum, translate
from luperson_jax.weights import model as model_file
from luperson_jax.weights.model import Model, shapes_of
from luperson_jax.workdir import checkpoint, recipe_file

OURS = "luperson_jax"
NETWORK = "network"
"""The group of a workdir's recipe that describes its network."""
NEEDED = {
    NETWORK: ("kind", "arch"),
    "augment": ("statistics",),
    "data": ("size", "batch_size"),
    "table": ("steps_per_epoch",),
    "optim": ("lr", "momentum", "weight_decay"),
    "train": ("best",),
    "eval": ("weights",),
}
"""What is read of a workdir's recipe."""

FACTS = ("epoch", "arch", "best_mAP", "iteration")


def load(
    path: pathlib.Path, *, best: bool = False, average: bool | None = None, **options: Any
) -> Model:
    """The model at a path.

    Args:
        path: a workdir of this program, a model file (`.npz`), or a file of PyTorch or safetensors.
        best: of a workdir, the best checkpoint and not the newest.
        average: of a workdir, the average of its weights; None = as its evaluations take them.
        options: of `translate.from_torch`, for foreign files.

    Returns:
        The model; with `source` and `report` where the file is foreign.

    Raises:
        InputError: nothing is there, it is damaged, or it holds something else.
    """
    if path.is_dir():
        return from_workdir(path, best=best, average=average)
    if model_file.is_model_file(path):
        return model_file.load(path)
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
    return dataclasses.replace(model, source=source, report=report)


def _number(value: Any) -> Any:
    """A number that safetensors keeps as text."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def from_workdir(folder: pathlib.Path, *, best: bool = False, average: bool | None = None) -> Model:
    """The model of a run's newest, or best, checkpoint; see `load`.

    Where `average` is None, of a pre-training these are the weights themselves, because it may go
    on elsewhere.

    Raises:
        InputError: no such checkpoint, no recipe beside it, no average yet, or a checkpoint that
            does not hold the network of the recipe.
    """
    recipe = _recipe(folder)
    step, tree = _checkpoint(folder, recipe["train"]["best"] if best else None)
    network = _network(folder, recipe[NETWORK])
    if average is None:
        average = network.kind != "moco" and recipe["eval"]["weights"] == "average"
    if average:
        tree = averaging.of_checkpoint(tree, str(folder))
    tensors = trees.by_name({name: tree[name] for name in ("params", "extra")})
    if missing := shapes_of(network).keys() - tensors.keys():
        raise InputError(
            f"the checkpoint of step {step} in {folder} does not hold {len(missing)} tensors of "
            f"its network ({network}), such as {min(missing)}; its {recipe_file.RECIPE_FILE} is "
            "that of another run"
        )
    moments = {momentum.path_of_moment(name): array for name, array in tree["opt_state"].items()}
    epoch = step // recipe["table"]["steps_per_epoch"]
    return Model(
        tensors={path: tensors[path] for path in shapes_of(network)},
        network=network,
        family=OURS,
        statistics=recipes.statistics(recipe["augment"]["statistics"]),
        size=tuple(recipe["data"]["size"]),
        facts={"step": step, "epoch": epoch, "arch": network.arch},
        momentum={
            path: array for path, array in moments.items() if path and network.kind == "moco"
        },
        sgd={name: recipe["optim"][name] for name in ("lr", "momentum", "weight_decay")},
    )


def _recipe(folder: pathlib.Path) -> dict[str, Any]:
    recipe = recipe_file.read(folder)
    for group, names in NEEDED.items():
        missing = [f"{group}.{name}" for name in names if name not in recipe.get(group, {})]
        if missing or group not in recipe:
            raise InputError(
                f"{folder / recipe_file.RECIPE_FILE} lacks {', '.join(missing) or group}; restore "
                "it from a copy"
            )
    return recipe


def _checkpoint(folder: pathlib.Path, criterion: str | None) -> tuple[int, Any]:
    """Step and tree of the newest checkpoint, or the best one by a criterion."""
    saved = checkpoint.Checkpoints(folder, best=criterion or "", read_only=True)
    try:
        step = None if criterion is None else saved.best_step()
        if criterion is not None and step is None:
            raise InputError(
                f"{folder} has no checkpoint that was evaluated, so none is the best; "
                "evaluate the last one: eval.checkpoint=last, or --checkpoint last"
            )
        return saved.read(step)
    finally:
        saved.close()


def _network(folder: pathlib.Path, settings: Mapping[str, Any]) -> NetworkSpec:
    try:
        return NetworkSpec(**settings)
    except TypeError as error:
        raise InputError(
            f"{folder / recipe_file.RECIPE_FILE} describes another kind of network than this "
            f"version has ({error}): {json.dumps(settings)[:200]}"
        ) from error
