"""The training loop. It knows what a task is, and no task in particular."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import clu.parameter_overview
import jax
import numpy as np
from jax.experimental import multihost_utils

from data_pipeline import interruption, terminal
from data_pipeline.errors import InputError
from data_pipeline.interruption import Interrupted
from data_pipeline.read.loader import Loader
from data_pipeline.table.records import Table
from luperson_jax import config, host_memory, platforms, setting_names, sharding
from luperson_jax.measure import epoch_clusters, evaluation, streaming
from luperson_jax.measure.figures import is_share
from luperson_jax.run import going_on, peers, programs, setup, states, stopping
from luperson_jax.run.reporter import NonFiniteLoss, Reporter
from luperson_jax.run.setup import Run, Step
from luperson_jax.structs import EmbeddingSet, RankingReport, TrainState, Tree
from luperson_jax.tasks.base import Task
from luperson_jax.weights import Model
from luperson_jax.workdir import checkpoint, recipe_file


@dataclasses.dataclass(frozen=True)
class Session:
    """A run under way, with what it writes to and what may stop it."""

    current: Run
    checkpoints: checkpoint.Checkpoints
    reporter: Reporter
    stop: stopping.Stop


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
    current = setup.build(recipe, workdir, task_class)
    origin = states.read_origin(current.recipe, current.workdir, current.shapes)
    train = current.recipe.train
    with interruption.noted() as signalled, going_on.locked(current.workdir) as note:
        stop = stopping.Stop(signalled, current.mesh)
        changes = recipe_file.changes(recipe, current.written, current.workdir)
        recipe_file.write(current.written, current.workdir)
        reporter = Reporter(workdir, current.total_steps, train.log_every_steps)
        try:
            _describe(current, reporter, [*changes, *([note] if note else [])])
            with (
                peers.watched(),
                checkpoint.opened(
                    workdir, train.keep_checkpoints, train.best, reporter.say
                ) as saved,
                peers.watched(),  # before the end of the block above waits for its save
            ):
                session = Session(current, saved, reporter, stop)
                with stop.ending():
                    state = _restore_or_start(session, origin)
                return _train(session, state)
        except Interrupted as ended:
            how = going_on.words(current.workdir, current.total_steps)
            raise Interrupted(ended.number, f"{ended}; {how}") from None
        except NonFiniteLoss as error:
            how = going_on.otherwise(current.workdir, recipe.optim.lr)
            raise NonFiniteLoss(f"{error}\n{how}") from None
        finally:
            reporter.close()


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
    kind = current.mesh.devices.flat[0].device_kind
    reporter.say(
        f"{current.mesh.size} devices ({kind}) in {jax.process_count()} processes, "
        f"{recipe.data.batch_size} images a step, {current.steps_per_epoch} steps an epoch, "
        f"{current.total_steps} steps, seed {recipe.train.seed}"
    )
    for note in [*notes, *current.task.doubts(table)]:
        reporter.say(note)
    params = current.shapes.params
    reporter.say(clu.parameter_overview.get_parameter_overview(params, include_stats=False))


def _restore_or_start(session: Session, origin: Model | None) -> TrainState:
    current, reporter = session.current, session.reporter
    shapes = current.shapes
    found = session.checkpoints.restore(states.to_tree(shapes), problem_of=states.problem_of)
    if found is not None:
        step, tree = found
        del found
        reporter.say(f"resuming at step {step} of {current.total_steps}")
        return states.from_tree(sharding.own(tree, states.to_tree(current.shardings)), shapes)
    state = setup.initial_state(current)
    if origin is not None:
        state, lines = states.take_backbone(
            state, origin, current.recipe, current.averaging, shapes
        )
        for line in lines:
            reporter.say(line)
    return state


def _train(session: Session, state: TrainState) -> RankingReport | None:
    current, reporter = session.current, session.reporter
    step_function = setup.compile_step(current)
    settings, steps, step = current.recipe.train, current.steps_per_epoch, int(state.step)
    reporter.start(step)
    if step >= current.total_steps:
        reporter.say(f"this run has finished already, at step {step}")
    else:
        reporter.say(programs.compiling(current.recipe.model.arch, platforms.of(current.mesh)))
    # Of step 0, or of what a former start has saved and could not evaluate.
    measured = _evaluate(session, state)
    while step < current.total_steps:
        epoch = step // steps + 1
        state = _train_epoch(session, state, epoch - 1, step_function)
        step = epoch * steps
        reporter.flush()
        due = session.stop.number or epoch % settings.checkpoint_every_epochs == 0
        if due or step == current.total_steps or _is_evaluated(current, step):
            _save(session.checkpoints, state)
        session.stop.check()
        measured = _evaluate(session, state)
        reporter.pause()
    _measure_last_start(session, state)
    if current.evaluation is None or measured is None:
        return None
    best = session.checkpoints.best() if current.recipe.eval.every_epochs else None
    with session.stop.ending():
        current.evaluation.publish(measured, current.workdir, reporter.say, best)
    return measured.ranking


def _is_evaluated(current: Run, step: int) -> bool:
    """Whether the recipe asks for an evaluation after so many steps."""
    epoch, rest = divmod(step, current.steps_per_epoch)
    every = current.recipe.eval.every_epochs
    last = step >= current.total_steps
    return current.evaluation is not None and (last or (every > 0 and not rest + epoch % every))


def _evaluate(session: Session, state: TrainState) -> evaluation.Measurement | None:
    """The evaluation of a saved state, where one is due and not done yet. The last one is done
    in every start, because the report needs it."""
    current, saved, step = session.current, session.checkpoints, int(state.step)
    if current.evaluation is None or not _is_evaluated(current, step):
        return None
    is_known, is_saved = current.evaluation.is_known(saved.figures(step)), step in saved.steps()
    if is_known and step < current.total_steps:
        return None
    try:
        with session.stop.ending():
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
        _note(session, step, measured.figures, f"epoch {step // current.steps_per_epoch}")
    return measured


def _note(session: Session, step: int, figures: Mapping[str, float], what: str) -> None:
    """Says, logs and keeps what was measured of the state after a step."""
    session.reporter.write(step, figures)
    listed = "  ".join(
        f"{name} {100 * value:.2f} %" if is_share(name) else f"{name} {value:.4g}"
        for name, value in figures.items()
    )
    session.reporter.say(f"{what}: {listed}")
    if step in session.checkpoints.steps():
        session.checkpoints.add_figures(step, figures)


@setting_names.named()
def _train_epoch(
    session: Session, state: TrainState, epoch: int, step_function: Step
) -> TrainState:
    """The steps of one epoch that are still to do. A signal ends it after the step under way."""
    current, reporter, stop = session.current, session.reporter, session.stop
    recipe, steps, first = current.recipe, current.steps_per_epoch, int(state.step)
    if first == epoch * steps:
        state = _start_epoch(session, state, epoch)
    table, sampler = current.task.plan(state.extra, current.table)
    indices = sampler(table, epoch, steps)
    assert len(indices) == steps, indices.shape
    with Loader(
        table,
        indices,
        setup.loader_options(recipe),
        start=first - epoch * steps,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    ) as loader:
        for step, arrays in enumerate(loader, start=first + 1):
            batch = sharding.put_batch(arrays, current.mesh)
            state, metrics = step_function(state, batch)
            names = functools.partial(_names, table, arrays["index"])
            reporter.step(step, indices.shape[1], metrics, names)
            if step == first + 1:  # after compiling, or the evaluation and the save of an epoch
                host_memory.give_back()
            stop.after_step()
            every = recipe.train.checkpoint_every_steps
            due = stop.number or (every and step % every == 0)
            if due and step < (epoch + 1) * steps:
                reporter.flush()
                _save(session.checkpoints, state)
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


def _start_epoch(session: Session, state: TrainState, epoch: int) -> TrainState:
    """The state with what its task begins the epoch with. Processes of a job go by the first."""
    current = session.current
    extra, figures, embedded = _begin(current, state, epoch)
    if figures:
        _note(session, int(state.step), figures, f"epoch {epoch + 1} begins")
    if extra is state.extra:
        return state
    states.check_shapes(state.extra, extra)
    if jax.process_count() > 1:
        extra = multihost_utils.broadcast_one_to_all(extra)
    planned = current.task.plan(extra, current.table)[0]
    if planned is not current.table and embedded is not None and jax.process_index() == 0:
        epoch_clusters.keep(current.workdir, epoch, embedded, planned.pid)
    return dataclasses.replace(state, extra=sharding.put(extra, current.shardings.extra))


def _measure_last_start(session: Session, state: TrainState) -> None:
    """What another epoch would begin with measures the last state: clusters of its features."""
    current, step = session.current, int(state.step)
    best, known = current.recipe.train.best, session.checkpoints.figures(step)
    if not best or best in known:
        return
    try:
        _, figures, _ = _begin(current, state, current.recipe.train.epochs)
    except InputError as error:  # clusters that nobody will train on
        session.reporter.say(f"{best} of the last epoch is not known: {error}")
        return
    if figures:
        _note(session, step, figures, "after the last epoch")


def _begin(
    current: Run, state: TrainState, epoch: int
) -> tuple[Tree, dict[str, float], EmbeddingSet | None]:
    """What the task begins an epoch with, and the features of all training images if it asked."""
    taken = []

    def embed_all(state: TrainState, table: Table) -> EmbeddingSet:
        found = streaming.embed_table(current.task, state, table, current.recipe, current.mesh)
        if table is current.table:
            taken.append(found)
        return found

    extra, figures = current.task.start_epoch(state, current.table, epoch, embed_all)
    return extra, figures, taken[-1] if taken else None


def _save(checkpoints: checkpoint.Checkpoints, state: TrainState) -> None:
    """Saves a state, unless a NaN has reached it: the last good one must remain."""
    tree, step = states.to_tree(state), int(state.step)
    problem = states.problem_of(tree)
    if problem is not None:
        raise NonFiniteLoss(f"the state after step {step} is not saved: {problem}")
    checkpoints.save(step, tree)
