"""Whatever weights one has, opened as a model: a workdir, a model file, a foreign file."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.read.decode import filter_of_evaluation
from luperson_jax import trees
from luperson_jax.augment import recipes
from luperson_jax.models import ENCODERS, NetworkSpec
from luperson_jax.optim import averaging
from luperson_jax.weights import files, momentum, packed, translate
from luperson_jax.weights import model as model_file
from luperson_jax.weights.model import FACTS, Model, shapes_of
from luperson_jax.workdir import recipe_file

OURS = "luperson_jax"
NETWORK = "network"
"""The group of a workdir's recipe that describes its network."""
NEEDED = {
    NETWORK: ("kind", "arch"),
    "augment": ("statistics",),
    "data": ("size", "batch_size"),
    "table": ("steps_per_epoch",),
    "optim": ("optimizer", "lr", "momentum", "weight_decay"),
    "train": ("best",),
    "eval": ("weights",),
}
"""What is read of a workdir's recipe."""


def load(
    path: str | pathlib.Path,
    *,
    best: bool = False,
    average: bool | None = None,
    family: str = translate.AUTO,
    only_backbone: bool = False,
    skip_classifier: bool = False,
    allow_partial: bool = False,
) -> Model:
    """The model at a path: the one opener of trained weights.

    Args:
        path: a workdir of this program, a packed folder, a model file (`.npz`), or a file of
            PyTorch, safetensors or named arrays of another program.
        best: of a workdir, the best checkpoint and not the newest.
        average: of a workdir, the average of its weights in their place; None = as its evaluations
            take them, but those of a pre-training as trained, because it may go on elsewhere.
        family: of a foreign file, what it is: a name of `FAMILIES`, or "auto".
        only_backbone: leave out everything behind the trunk.
        skip_classifier: leave out the classifier over identities.
        allow_partial: accept missing tensors and unknown names in a foreign file.

    Returns:
        Tensors on the host, the network that they belong to, and what input it expects. Those of a
        foreign file may be views of it: it must stay as it is while they live.

    Raises:
        InputError: nothing is there, it is damaged, it holds something else, or the workdir has no
            such checkpoint or no average.
    """
    path = pathlib.Path(path)
    if listing.is_folder(path):
        is_packed = packed.is_packed(path)
        model = packed.read(path) if is_packed else _from_workdir(path, best, average)
    elif model_file.is_model_file(path):
        model = model_file.read(path)
    else:
        options = {"only_backbone": only_backbone, "skip_classifier": skip_classifier}
        return _foreign(path, family=family, allow_partial=allow_partial, **options)
    if family != translate.AUTO:
        raise InputError(f"--from is for files of others, and {path} is one of this program's")
    model = model.backbone() if only_backbone else model
    return model.without_classifier() if skip_classifier else model


def _foreign(path: pathlib.Path, **options: Any) -> Model:
    file = files.read(path)
    facts = {name: _number(file.beside[name]) for name in FACTS if name in file.beside}
    optimizer = file.beside.get("optimizer")
    return translate.from_torch(file.tensors, facts=facts, optimizer=optimizer, **options)


def _number(value: Any) -> Any:
    """A number that safetensors keeps as text."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _from_workdir(folder: pathlib.Path, best: bool, average: bool | None) -> Model:
    recipe = _recipe(folder)
    step, tree = _checkpoint(folder, recipe["train"]["best"] if best else None)
    spec = _spec(folder, recipe[NETWORK])
    goes_on = spec.kind in ENCODERS
    if average is None:
        average = recipe["eval"]["weights"] == "average" and not goes_on
    if average:
        tree = averaging.of_checkpoint(tree, str(folder))
    found = trees.by_name({name: tree[name] for name in ("params", "extra")})
    expected = shapes_of(spec)
    if missing := expected.keys() - found.keys():
        raise InputError(
            f"the checkpoint of step {step} in {folder} does not hold {len(missing)} tensors of "
            f"its network ({spec}), such as {min(missing)}; its {recipe_file.RECIPE_FILE} is "
            "that of another run"
        )
    is_sgd = goes_on and recipe["optim"]["optimizer"] == "sgd"
    moments = {momentum.path_of_moment(name): array for name, array in tree["opt_state"].items()}
    epoch = step // recipe["table"]["steps_per_epoch"]
    return Model(
        tensors={path: found[path] for path in expected},
        spec=spec,
        family=OURS,
        pixels=recipes.statistics(recipe["augment"]["statistics"]),
        size=tuple(recipe["data"]["size"]),
        resize=filter_of_evaluation(recipe["data"].get("resize", "")),
        facts={"step": step, "epoch": epoch, "arch": spec.arch},
        momentum={path: array for path, array in moments.items() if path and is_sgd},
        sgd={name: recipe["optim"][name] for name in ("lr", "momentum", "weight_decay")},
        beside={path: array for path, array in found.items() if path not in expected},
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
    from luperson_jax.workdir import checkpoint  # late: with orbax, which files do without

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


def _spec(folder: pathlib.Path, settings: Mapping[str, Any]) -> NetworkSpec:
    try:
        return NetworkSpec(**settings)
    except TypeError as error:
        raise InputError(
            f"{folder / recipe_file.RECIPE_FILE} describes another kind of network than this "
            f"version has ({error}): {json.dumps(settings)[:200]}"
        ) from error
