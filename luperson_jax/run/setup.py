"""What a run is made of: built and checked before anything is written or computed."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from data_pipeline.errors import InputError
from data_pipeline.read.loader import LoaderOptions
from data_pipeline.table.records import Table
from luperson_jax import config, optim, platforms, setting_names, sharding
from luperson_jax.measure.evaluation import Evaluation
from luperson_jax.optim.averaging import Averaging
from luperson_jax.run import canvas, states, training_table
from luperson_jax.run.step import train_step
from luperson_jax.structs import Batch, TrainState
from luperson_jax.tasks.base import Task
from luperson_jax.workdir import recipe_file

NUM_KEPT = 4
"""Compiled steps that a process keeps."""

Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run is made of; none of it changes while it runs. `num_left_out` counts the pictures
    without an identity that a method with labels does not train on. `shapes` is the state at step
    0 without its arrays: `jax.ShapeDtypeStruct` with the sharding of each."""

    recipe: config.Recipe
    workdir: pathlib.Path
    mesh: Mesh
    table: Table
    fingerprint: str
    task: Task
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    averaging: Averaging
    steps_per_epoch: int
    shapes: TrainState
    evaluation: Evaluation | None
    num_left_out: int = 0
    about_canvas: str = ""

    @property
    def written(self) -> dict[str, Any]:
        """What the workdir's recipe file holds: all settings, which pictures these are, and
        the network."""
        table = {"images": len(self.table), "fingerprint": self.fingerprint}
        table["steps_per_epoch"] = self.steps_per_epoch
        network = dataclasses.asdict(self.task.spec)
        return {**config.to_dict(self.recipe), "table": table, "network": network}

    @property
    def shardings(self) -> TrainState:
        """Where each array of the state lies."""
        return jax.tree.map(lambda leaf: leaf.sharding, self.shapes)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe.train.epochs * self.steps_per_epoch


def lowered_step(current: Run) -> jax.stages.Lowered:
    """The step of a run, ready to be compiled for its mesh, whose devices need not be here."""
    with jax.set_mesh(current.mesh):
        return _jitted_step(current).lower(current.shapes, states.batch_shapes(current.recipe))


def compile_step(current: Run) -> Step:
    """`train_step` jitted: the batch cut over the mesh, the state given back in the memory that it
    came in."""
    jitted = _jitted_step(current)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        with jax.set_mesh(current.mesh):
            return jitted(state, batch)

    return step


@dataclasses.dataclass(frozen=True)
class _Program:
    """All that the compiled step depends on. Optimizer and schedule follow from the rest."""

    task: Task
    optim: config.OptimConfig
    lengths: tuple[int, int]  # epochs, and steps of each
    averaging: Averaging
    mesh: Mesh
    structure: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]
    optimizer: optax.GradientTransformation = dataclasses.field(compare=False)
    schedule: optax.Schedule = dataclasses.field(compare=False)


def _jitted_step(current: Run) -> Any:
    leaves, structure = jax.tree.flatten(current.shapes)
    recipe = current.recipe
    return _jitted(
        _Program(
            current.task,
            recipe.optim,
            (recipe.train.epochs, current.steps_per_epoch),
            current.averaging,
            current.mesh,
            structure,
            tuple(leaves),
            current.optimizer,
            current.schedule,
        )
    )


@functools.lru_cache(maxsize=NUM_KEPT)
def _jitted(program: _Program) -> Any:
    """One for all runs that differ in their seed or their data alone, as those of a study."""
    whole, cut = sharding.replicated(program.mesh), sharding.over_batch(program.mesh)
    placed = jax.tree.unflatten(program.structure, [leaf.sharding for leaf in program.leaves])
    return jax.jit(
        functools.partial(
            train_step,
            program.task,
            program.optimizer,
            program.schedule,
            averaging=program.averaging,
            micro_batches=program.optim.micro_batches,
        ),
        in_shardings=(placed, cut),
        out_shardings=(placed, whole),
        donate_argnums=0,
        compiler_options=platforms.compiler_options(platforms.of(program.mesh)),
    )


def build(
    recipe: config.Recipe,
    workdir: str,
    task_class: type[Task],
    mesh: Mesh | None = None,
    table: Table | None = None,
) -> Run:
    """Everything a run needs, checked. Writes nothing.

    Args:
        recipe: of the run.
        workdir: its folder.
        task_class: its method.
        mesh: its devices; None = all of the job.
        table: stands for the pictures that the recipe names, where the step alone is wanted.

    Raises:
        InputError: settings that do not fit each other, the data, the devices or the other
            processes of the job.
    """
    recipe_file.check_alike(recipe)
    mesh = mesh or sharding.make_mesh()
    check_parts(recipe, mesh.size)
    table, fingerprint = training_table.load(recipe.data) if table is None else (table, "")
    num_left_out = 0
    if task_class.labelled:
        table, num_left_out = training_table.with_identities(table, recipe.data)
    steps_per_epoch = training_table.steps_per_epoch(recipe, table)
    training_table.check_sources(recipe, table, steps_per_epoch)
    recipe, about_canvas = canvas.resolve(recipe, table, pathlib.Path(workdir))
    task = task_class.build(recipe, table, steps_per_epoch)
    best = config.best_figure(recipe)
    recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, best=best))
    if recipe.eval.weights == "average" and not recipe.train.average:
        raise InputError("eval.weights='average' needs train.average='ema' or 'swa'")
    evaluation = Evaluation.build(recipe, task, mesh)
    params, _ = states.shapes(task, recipe, table, mesh)
    optimizer, schedule = optim.build(
        recipe.optim, params, epochs=recipe.train.epochs, steps_per_epoch=steps_per_epoch
    )
    averaging = Averaging.build(recipe.train, steps_per_epoch)
    begin = functools.partial(states.begin, task, recipe, table, optimizer, averaging)
    shapes = sharding.placed(jax.eval_shape(begin, jax.random.key(0)), task.sharded, mesh)
    if recipe.optim.shard_state:
        shapes = dataclasses.replace(shapes, opt_state=sharding.cut_evenly(shapes.opt_state, mesh))
    current = Run(
        *(recipe, pathlib.Path(workdir), mesh, table, fingerprint, task, optimizer, schedule),
        *(averaging, steps_per_epoch, shapes, evaluation, num_left_out, about_canvas),
    )
    recipe_file.check_workdir(recipe, current.written, current.workdir)
    return current


def check_parts(recipe: config.Recipe, num_devices: int) -> None:
    """Raises InputError where devices cannot share what is encoded at once."""
    part = recipe.data.batch_size // recipe.optim.micro_batches
    divided = " / optim.micro_batches" if part < recipe.data.batch_size else ""
    sharding.check_batch_size(part, num_devices, f"data.batch_size{divided}")


def initial_state(current: Run) -> TrainState:
    """The state at step 0, on the mesh."""
    begin = functools.partial(
        states.begin,
        current.task,
        current.recipe,
        current.table,
        current.optimizer,
        current.averaging,
    )
    # An argument, so that runs of other seeds find the same compiled program.
    key = jax.random.key(current.recipe.train.seed)
    return jax.jit(begin, out_shardings=current.shardings)(key)


@setting_names.named()
def loader_options(recipe: config.Recipe) -> LoaderOptions:
    """How the group `data` says that pictures are read."""
    data = recipe.data
    return LoaderOptions(
        canvas=data.canvas,
        resize=data.resize,
        unreadable=data.unreadable,
        num_workers=data.num_workers,
        worker_kind=data.worker_kind,
        prefetch=data.prefetch,
    )
