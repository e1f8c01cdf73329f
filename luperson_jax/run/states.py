"""The state of a run: how it begins, and how checkpoints hold it."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from data_pipeline.errors import InputError, shorten
from data_pipeline.read import listing
from data_pipeline.table.records import Table
from luperson_jax import config, finetuning, sharding, trees, weights
from luperson_jax.augment import recipes
from luperson_jax.optim.averaging import Averaging
from luperson_jax.run import training_table
from luperson_jax.structs import Batch, TrainState, Tree
from luperson_jax.tasks.base import Task
from luperson_jax.weights import transfer
from luperson_jax.workdir import saved_steps


def init(task: Task, recipe: config.Recipe, table: Table, key: jax.Array) -> tuple[Tree, Tree]:
    """`params` and `extra` of a task at step 0, by the key of the run."""
    example = Batch(
        images=jnp.zeros((1, *recipe.data.size, 3), jnp.uint8),
        size=jnp.full((1, 2), 1, jnp.int32),
        label=jnp.zeros(1, jnp.int32),
        camera=jnp.zeros(1, jnp.int32),
        index=jnp.zeros(1, jnp.int32),
        mask=jnp.ones(1, bool),
    )
    return task.init(key, example, table)


def batch_shapes(recipe: config.Recipe) -> Batch:
    """The global batch of a recipe without its arrays."""
    num = recipe.data.batch_size
    names = ["label", "camera", "index"]
    if recipe.data.dataset == training_table.SEVERAL:
        names.append("source")
    numbers = {name: jax.ShapeDtypeStruct((num,), jnp.int32) for name in names}
    return Batch(
        images=jax.ShapeDtypeStruct((num, *recipe.data.canvas, 3), jnp.uint8),
        size=jax.ShapeDtypeStruct((num, 2), jnp.int32),
        mask=jax.ShapeDtypeStruct((num,), bool),
        **numbers,
    )


def shapes(task: Task, recipe: config.Recipe, table: Table, mesh: Mesh) -> tuple[Tree, Tree]:
    """Shapes of `params` and `extra` at step 0. The loss of a batch is traced with them, so that
    settings that do not fit each other are told before anything is computed or written.

    Raises:
        InputError: the loss cannot be computed with these settings.
    """

    def loss(batch: Batch) -> tuple[Tree, Tree]:
        key = jax.random.key(0)
        params, extra = init(task, recipe, table, key)
        task.loss(params, extra, batch, key, jnp.zeros((), jnp.int32))
        return params, extra

    try:
        with jax.set_mesh(mesh):
            return jax.eval_shape(loss, batch_shapes(recipe))
    except (ValueError, TypeError, ZeroDivisionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"no step can be made with these settings: {reason} Given were "
            f"data.batch_size={recipe.data.batch_size}, "
            f"model.bn_group_size={recipe.model.bn_group_size}, "
            f"data.canvas={recipe.data.canvas}, data.size={recipe.data.size}, "
            f"model.width={recipe.model.width}, augment.recipe={recipe.augment.recipe!r}"
        ) from error


def check_shapes(before: Tree, after: Tree) -> None:
    """Asserts that what a task begins an epoch with fits into the step that is compiled."""
    old, new = (
        {name: (leaf.shape, leaf.dtype) for name, leaf in trees.by_name(tree).items()}
        for tree in (before, after)
    )
    assert old == new, f"start_epoch changed shapes: {sorted(set(old.items()) ^ set(new.items()))}"


def begin(
    task: Task,
    recipe: config.Recipe,
    table: Table,
    optimizer: optax.GradientTransformation,
    averaging: Averaging,
    key: jax.Array,
) -> TrainState:
    """The state at step 0, by the key of the run. Pure: to be jitted, or asked for its shapes."""
    params, extra = init(task, recipe, table, key)
    key = jax.random.key_data(jax.random.fold_in(key, 1))
    opt_state = optimizer.init(params)
    average = averaging.begin(params, extra)
    return TrainState(jnp.zeros((), jnp.int32), params, extra, opt_state, key, average)


def to_tree(state: TrainState) -> Tree:
    """The state as nested dicts: what a checkpoint holds."""
    leaves = zip(trees.path_names(state.opt_state), jax.tree.leaves(state.opt_state), strict=True)
    moments = {name.replace("/", "."): leaf for name, leaf in leaves}
    fields = {name: getattr(state, name) for name in ("step", "params", "extra", "key")}
    average = {"average": state.average} if state.average else {}
    return {**fields, "opt_state": moments, **average}


def from_tree(tree: Tree, like: TrainState) -> TrainState:
    """The inverse of `to_tree`; `like` gives the structure of the optimizer's state."""
    names = [name.replace("/", ".") for name in trees.path_names(like.opt_state)]
    structure = jax.tree.structure(like.opt_state)
    opt_state = jax.tree.unflatten(structure, [tree["opt_state"][name] for name in names])
    fields = {name: tree[name] for name in ("step", "params", "extra", "key")}
    return TrainState(**fields, opt_state=opt_state, average=tree.get("average", {}))


def problem_of(tree: Tree) -> str | None:
    """What keeps a state from being saved or trained on: numbers that are not finite."""
    leaves = {
        name: leaf
        for name, leaf in trees.by_name(tree).items()
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    }
    good = np.asarray(_are_finite(list(leaves.values())))
    bad = [name for name, is_good in zip(leaves, good, strict=True) if not is_good]
    if not bad:
        return None
    listed = ", ".join(shorten(bad, 3))
    return f"{len(bad)} of its {len(leaves)} tensors hold NaN or infinity ({listed})"


@jax.jit
def _are_finite(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])


def check_origin(recipe: config.Recipe, folder: pathlib.Path) -> None:
    """Raises InputError where a run would begin from weights that are not there; one that goes on
    needs them no more."""
    source = _origin(recipe, folder)
    if source and not listing.exists(source):
        raise InputError(
            f"train.init_from={source!r} does not exist; {finetuning.how_to_get(source)}"
        )


def read_origin(
    recipe: config.Recipe, folder: pathlib.Path, shapes: TrainState
) -> weights.Model | None:
    """The weights that a run begins from, read before anything is written.

    Args:
        recipe: the run.
        folder: its workdir.
        shapes: its state at step 0 without arrays.

    Returns:
        A backbone that fills the run's; None where the run begins at random, or goes on.

    Raises:
        InputError: no such file, or one that does not hold this backbone, or one of other strides.
    """
    source = _origin(recipe, folder)
    if not source:
        return None
    model = weights.load(source, only_backbone=True)
    if model.spec.strides != recipe.model.strides:
        raise InputError(
            f"{source} is a {model.spec}, whose strides are those of {model.spec.strides}; set "
            f"model.strides={model.spec.strides}"
        )
    transfer.take_backbone({"params": shapes.params, "extra": shapes.extra}, model)
    return model


def _origin(recipe: config.Recipe, folder: pathlib.Path) -> str:
    """What a run begins from; empty where it begins at random, or goes on."""
    return "" if saved_steps.of(folder) else recipe.train.init_from


def take_backbone(
    state: TrainState,
    model: weights.Model,
    recipe: config.Recipe,
    averaging: Averaging,
    shapes: TrainState,
) -> tuple[TrainState, list[str]]:
    """The initial state with the backbone of `read_origin`.

    Returns:
        the state, on the mesh, and lines that say what was taken over.

    Raises:
        InputError: other weights in another process of the job.
    """
    source = recipe.train.init_from
    sharding.check_alike({"the weights of train.init_from": trees.fingerprint(model.tensors)})
    target = {"params": state.params, "extra": state.extra}
    filled, taken = transfer.take_backbone(target, model)
    lines = [f"starting from {source} ({model.family}, {model.spec}): " + "\n".join(taken)]
    if model.pixels is None:
        lines.append(f"note: {source} does not tell which pixel statistics its weights expect")
    elif other := model.other_pixels(recipes.statistics(recipe.augment.statistics)):
        lines.append(f"note: {other}")
    average = averaging.begin(filled["params"], filled["extra"])
    taken_over = dataclasses.replace(state, **filled, average=average)
    where = jax.tree.map(lambda leaf: leaf.sharding, shapes)
    return sharding.put(taken_over, where), lines
