"""A model as the checkpoint of a run: to go on with a pre-training, or to evaluate."""

import pathlib

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax import config, sharding, tasks
from luperson_jax.augment import recipes
from luperson_jax.models import ENCODERS
from luperson_jax.run import setup, states
from luperson_jax.structs import Tree
from luperson_jax.weights import momentum
from luperson_jax.weights.model import Model
from luperson_jax.weights.transfer import take_all
from luperson_jax.weights.translate import KINDS
from luperson_jax.workdir import checkpoint, recipe_file, saved_steps


def write(model: Model, recipe: config.Recipe, folder: pathlib.Path) -> list[str]:
    """Starts a workdir with a model as its checkpoint.

    A pre-training goes on after the epoch that its file names, with the momentum of its SGD. A
    re-ID network stands at step 0: ready to be evaluated, or trained from there.

    Args:
        model: the tensors.
        recipe: what the run is; its training data must be there, because steps are counted in it.
        folder: the workdir, without checkpoints.

    Returns:
        Lines that say what was taken over.

    Raises:
        InputError: model and recipe do not fit, or the folder holds a run.
    """
    if saved_steps.of(folder):
        raise InputError(f"{folder} holds checkpoints already; give another folder")
    current = setup.build(recipe, str(folder), tasks.TASKS[recipe.task.name])
    if current.task.spec.kind != model.spec.kind:
        raise InputError(
            f"the model is {KINDS[model.spec.kind]} ({model.spec}), task.name is "
            f"{recipe.task.name!r}; expected a configuration of the same method. To train from "
            "its backbone give it as train.init_from instead"
        )
    other = model.other_pixels(recipes.statistics(recipe.augment.statistics))
    if other:
        raise InputError(other)
    _check_classes(model, current)
    tree = states.to_tree(setup.initial_state(current))
    filled, lines = take_all(
        {name: tree[name] for name in ("params", "extra")}, current.task.spec, model
    )
    step = 0
    if model.spec.kind in ENCODERS:
        step = int(model.facts.get("epoch", 0)) * current.steps_per_epoch
        if step > current.total_steps:
            raise InputError(
                f"the file has {model.facts['epoch']} epochs, train.epochs is "
                f"{recipe.train.epochs}; it must be at least as many"
            )
    moments, taken = _moments(tree["opt_state"], model, step)
    lines += taken
    tree = {**tree, **filled, "step": np.int32(step), "opt_state": moments}
    if "average" in tree:
        tree["average"] = current.averaging.begin(filled["params"], filled["extra"])
    recipe_file.write(current.written, current.workdir)
    checkpoints = checkpoint.Checkpoints(folder)
    checkpoints.save(step, sharding.put_replicated(tree, current.mesh))
    checkpoints.close()
    return [*lines, f"checkpoint of step {step} of {current.total_steps}"]


def _check_classes(model: Model, current: setup.Run) -> None:
    """Raises InputError where a pre-training with classes would go on with others."""
    found, wanted = model.spec.num_classes, current.task.spec.num_classes
    if model.spec.kind in ENCODERS and found != wanted:
        raise InputError(
            f"the file has {found} classes, and the run {wanted}: {current.table.num_ids} "
            f"identities of {current.recipe.data.root!r}, filled up to a multiple of "
            "task.class_multiple; go on with the data that the file was trained on, or take its "
            "backbone as train.init_from"
        )


def _moments(fresh: Tree, model: Model, step: int) -> tuple[Tree, list[str]]:
    """The optimizer's state after so many steps, with the model's momentum where it has some."""
    if model.spec.kind not in ENCODERS:
        return fresh, []
    filled = dict(fresh)
    places = {path: name for name in fresh if (path := momentum.path_of_moment(name))}
    for name in fresh:
        if name.endswith(".count"):  # of the schedule
            filled[name] = np.full_like(fresh[name], step)
    found = places.keys() & model.momentum.keys()
    for path in found:
        filled[places[path]] = model.momentum[path]
    return filled, [f"momentum of {len(found)} of {len(places)} parameters"]
