"""The training loop. It knows what a task is, and no task in particular."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import clu.parameter_overview
import jax
import numpy as np
import optax
from jax.sharding import Mesh

from data_pipeline import interruption, terminal
from data_pipeline.errors import InputError
from data_pipeline.interruption import Interrupted
from data_pipeline.read.loader import Loader, LoaderOptions
from data_pipeline.table.records import Table
from luperson_jax import config, optim, sharding
from luperson_jax.measure import evaluate
from luperson_jax.measure.figures import ranking_values
from luperson_jax.optim.averaging import Averaging
from luperson_jax.run import canvas, going_on, programs, states, stopping, training_table
from luperson_jax.run.reporter import NonFiniteLoss, Reporter
from luperson_jax.run.step import train_step
from luperson_jax.structs import Batch, EpochPlan, RankingReport, TrainState
from luperson_jax.tasks.base import Task
from luperson_jax.workdir import checkpoint, recipe_file

Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run is made of; none of it changes while it runs. `num_left_out` counts the pictures
    without an identity that a method with labels does not train on."""

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
    evaluation: evaluate.Evaluation | None
    num_left_out: int = 0
    about_canvas: str = ""

    @property
    def written(self) -> dict[str, Any]:
        """What the workdir's recipe file holds: all settings, and which pictures these are."""
        table = {"images": len(self.table), "fingerprint": self.fingerprint}
        return {**config.to_dict(self.recipe), "table": table}

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe.train.epochs * self.steps_per_epoch


def compile_step(current: Run) -> Step:
    """`train_step` jitted: the batch cut over the mesh, the state whole on every device and given
    back in the memory it came in."""
    whole, cut = sharding.replicated(current.mesh), sharding.over_batch(current.mesh)
    jitted = jax.jit(
        functools.partial(
            train_step,
            current.task,
            current.optimizer,
            current.schedule,
            averaging=current.averaging,
        ),
        in_shardings=(whole, cut),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        with jax.set_mesh(current.mesh):
            return jitted(state, batch)

    return step


def run(recipe: config.Recipe, workdir: str, task_class: type[Task]) -> RankingReport | None:
    """Trains from wherever the workdir stands to the end of the last epoch.

    Args:
        recipe: the whole run.
        workdir: its folder: made if missing, resumed if it holds this recipe's checkpoints.
        task_class: the method that `recipe.task` belongs to.

    Returns:
        The ranking after the last epoch; None where the recipe names no evaluation data.

    Raises:
        InputError: wrong data, settings or workdir.
        NonFiniteLoss: the loss, or the state, became NaN or infinite.
        Interrupted: a signal came; the steps done are saved.
    """
    states.check_origin(recipe, pathlib.Path(workdir))
    current = build(recipe, workdir, task_class)
    with interruption.noted() as signalled, going_on.locked(current.workdir) as note:
        stop = stopping.Stop(signalled, current.mesh)
        changes = recipe_file.changes(recipe, current.written, current.workdir)
        recipe_file.write(current.written, current.workdir)
        reporter = Reporter(workdir, current.total_steps, recipe.train.log_every_steps)
        try:
            _describe(current, reporter, [*changes, *([note] if note else [])])
            with checkpoint.opened(workdir, recipe.train.keep_checkpoints, reporter.say) as saved:
                with stop.ending():
                    state = _restore_or_start(current, saved, reporter)
                return _train(current, state, saved, reporter, stop)
        except Interrupted as ended:
            how = going_on.words(current.workdir, current.total_steps)
            raise Interrupted(ended.number, f"{ended}; {how}") from None
        except NonFiniteLoss as error:
            how = going_on.otherwise(current.workdir, recipe.optim.lr)
            raise NonFiniteLoss(f"{error}\n{how}") from None
        finally:
            reporter.close()


def build(recipe: config.Recipe, workdir: str, task_class: type[Task]) -> Run:
    """Everything a run needs, checked. Writes nothing."""
    recipe_file.check_alike(recipe)
    mesh = sharding.make_mesh()
    sharding.check_batch_size(recipe.data.batch_size, mesh, "data.batch_size")
    table, fingerprint = training_table.load(recipe.data)
    num_left_out = 0
    if task_class.labelled:
        table, num_left_out = training_table.with_identities(table, recipe.data)
    steps_per_epoch = len(table) // recipe.data.batch_size
    if not steps_per_epoch:
        raise InputError(
            f"{recipe.data.root!r} has {len(table)} training images, fewer than one batch of "
            f"data.batch_size={recipe.data.batch_size}"
        )
    recipe, about_canvas = canvas.resolve(recipe, table, pathlib.Path(workdir))
    task = task_class.build(recipe, table)
    task.check_accumulation(recipe)
    if recipe.eval.weights == "average" and not recipe.train.average:
        raise InputError("eval.weights='average' needs train.average='ema' or 'swa'")
    evaluation = evaluate.Evaluation.build(recipe, task, mesh)
    shapes = states.shapes(task, recipe, table, mesh)
    optimizer, schedule = optim.build(
        recipe.optim, shapes[0], epochs=recipe.train.epochs, steps_per_epoch=steps_per_epoch
    )
    current = Run(
        recipe,
        pathlib.Path(workdir),
        mesh,
        table,
        fingerprint,
        task,
        optimizer,
        schedule,
        Averaging.build(recipe.train, steps_per_epoch, recipe.optim.accumulate_steps),
        steps_per_epoch,
        evaluation,
        num_left_out,
        about_canvas,
    )
    recipe_file.check_workdir(recipe, current.written, current.workdir)
    return current


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
    return jax.jit(begin, out_shardings=sharding.replicated(current.mesh))()


def _describe(current: Run, reporter: Reporter, notes: Sequence[str]) -> None:
    table, recipe = current.table, current.recipe
    reporter.say(
        f"{recipe.data.dataset}: {len(table)} training images, {table.num_ids} identities, "
        f"{table.num_cameras} cameras, fingerprint {current.fingerprint}"
    )
    if current.num_left_out:
        reporter.say(f"{current.num_left_out} pictures without an identity are left out")
    if current.about_canvas:
        reporter.say(current.about_canvas)
    reporter.say(
        f"{current.mesh.size} devices ({jax.devices()[0].device_kind}) in {jax.process_count()} "
        f"processes, {recipe.data.batch_size} images a step, {current.steps_per_epoch} steps an "
        f"epoch, {current.total_steps} steps, seed {recipe.train.seed}"
    )
    for note in notes:
        reporter.say(note)


def _restore_or_start(
    current: Run, checkpoints: checkpoint.Checkpoints, reporter: Reporter
) -> TrainState:
    state = initial_state(current)
    reporter.say(clu.parameter_overview.get_parameter_overview(state.params, include_stats=False))
    options = current.recipe.optim
    found = checkpoints.restore(
        states.to_tree(state),
        others=states.in_other_forms(state, options),
        problem_of=states.problem_of,
    )
    if found is not None:
        reporter.say(f"resuming at step {found[0]} of {current.total_steps}")
        tree = states.in_own_form(found[1], state, options)
        # Into buffers of its own: the step donates them, and orbax may hold on to what it read.
        return states.from_tree(sharding.put_replicated(tree, current.mesh), state)
    if current.recipe.train.init_from:
        state, lines = states.take_backbone(state, current.recipe, current.averaging, current.mesh)
        for line in lines:
            reporter.say(line)
    return state


def _train(
    current: Run,
    state: TrainState,
    checkpoints: checkpoint.Checkpoints,
    reporter: Reporter,
    stop: stopping.Stop,
) -> RankingReport | None:
    step_function = compile_step(current)
    settings, steps, step = current.recipe.train, current.steps_per_epoch, int(state.step)
    reporter.start(step)
    if step >= current.total_steps:
        reporter.say(f"this run has finished already, at step {step}")
    else:
        reporter.say(programs.compiling(current.recipe.model.arch))
    # Of step 0, or of what a former start has saved and could not evaluate.
    measured = _evaluate(current, state, checkpoints, reporter, stop)
    while step < current.total_steps:
        epoch = step // steps + 1
        state = _train_epoch(current, state, epoch - 1, step_function, checkpoints, reporter, stop)
        step = epoch * steps
        reporter.flush()
        due = stop.number or epoch % settings.checkpoint_every_epochs == 0
        if due or step == current.total_steps or _is_evaluated(current, step):
            _save(checkpoints, state)
        stop.check()
        measured = _evaluate(current, state, checkpoints, reporter, stop)
        reporter.pause()
    if current.evaluation is None or measured is None:
        return None
    best = checkpoints.best() if current.recipe.eval.every_epochs else None
    with stop.ending():
        current.evaluation.publish(measured, current.workdir, reporter.say, best)
    return measured.ranking


def _is_evaluated(current: Run, step: int) -> bool:
    """Whether the recipe asks for an evaluation after so many steps."""
    epoch, rest = divmod(step, current.steps_per_epoch)
    every = current.recipe.eval.every_epochs
    last = step >= current.total_steps
    return current.evaluation is not None and (last or (every > 0 and not rest + epoch % every))


def _evaluate(
    current: Run,
    state: TrainState,
    checkpoints: checkpoint.Checkpoints,
    reporter: Reporter,
    stop: stopping.Stop,
) -> evaluate.Measurement | None:
    """The evaluation of a saved state, where one is due and not done yet. The last one is done
    in every start, because the report needs it."""
    step = int(state.step)
    is_known, is_saved = checkpoints.figures(step) is not None, step in checkpoints.steps()
    if current.evaluation is None or not _is_evaluated(current, step):
        return None
    if is_known and step < current.total_steps:
        return None
    try:
        with stop.ending():
            measured = current.evaluation.measure(state)
    except InputError as error:
        if not is_saved:
            raise
        raise InputError(
            f"step {step} of {current.total_steps} is saved, and its evaluation failed: {error}\n"
            "mend that and give the same command again, which goes on with the evaluation; "
            "eval.dataset='' turns it off"
        ) from error
    if not is_known:
        _log_ranking(reporter, measured, step // current.steps_per_epoch)
        if is_saved:
            checkpoints.add_figures(step, ranking_values(measured.ranking))
    return measured


def _log_ranking(reporter: Reporter, measured: evaluate.Measurement, epoch: int) -> None:
    values = ranking_values(measured.ranking)
    reporter.write(measured.step, {f"eval/{name}": value for name, value in values.items()})
    listed = "  ".join(f"{name} {100 * value:.2f} %" for name, value in values.items())
    reporter.say(f"epoch {epoch}: {listed}")


def _train_epoch(
    current: Run,
    state: TrainState,
    epoch: int,
    step_function: Step,
    checkpoints: checkpoint.Checkpoints,
    reporter: Reporter,
    stop: stopping.Stop,
) -> TrainState:
    """The steps of one epoch that are still to do. A signal ends it after the step under way."""
    recipe = current.recipe
    plan = _begin_epoch(current, state, epoch)
    state = plan.state
    indices = plan.sampler(plan.table, epoch)
    assert len(indices) == current.steps_per_epoch, indices.shape
    first = int(state.step)
    with Loader(
        plan.table,
        indices,
        loader_options(recipe),
        start=first - epoch * current.steps_per_epoch,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    ) as loader:
        for step, arrays in enumerate(loader, start=first + 1):
            batch = sharding.put_batch(arrays, current.mesh)
            state, metrics = step_function(state, batch)
            names = functools.partial(_names, plan.table, arrays["index"])
            reporter.step(step, indices.shape[1], metrics, names)
            stop.after_step()
            every = recipe.train.checkpoint_every_steps
            due = stop.number or (every and step % every == 0)
            if due and step < (epoch + 1) * current.steps_per_epoch:
                reporter.flush()
                _save(checkpoints, state)
                stop.check()
        for path, reason in sorted(loader.skipped.items()):
            reporter.say(f"skipped {terminal.visible_name(path)}: {reason}")
        if loader.skipped:
            count = float(len(loader.skipped))
            reporter.write(int(state.step), {"data/skipped_images": count})
            reporter.say(f"{len(loader.skipped)} unreadable images replaced in epoch {epoch + 1}")
    return state


def _names(table: Table, rows: np.ndarray) -> list[str]:
    return [table.paths[row] for row in rows]


def _begin_epoch(current: Run, state: TrainState, epoch: int) -> EpochPlan:
    def embed_all(state: TrainState, table: Table):
        return evaluate.embed_table(current.task, state, table, current.recipe, current.mesh)

    plan = current.task.begin_epoch(state, current.table, epoch, embed_all)
    if plan.state is state:
        return plan
    return dataclasses.replace(plan, state=sharding.put_replicated(plan.state, current.mesh))


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


def _save(checkpoints: checkpoint.Checkpoints, state: TrainState) -> None:
    """Saves a state, unless a NaN has reached it: the last good one must remain."""
    tree, step = states.to_tree(state), int(state.step)
    problem = states.problem_of(tree)
    if problem is not None:
        raise NonFiniteLoss(f"the state after step {step} is not saved: {problem}")
    checkpoints.save(step, tree)
