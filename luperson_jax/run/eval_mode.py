"""`--mode eval`: the checkpoint of a workdir, measured."""

import pathlib

import numpy as np
from jax.sharding import Mesh

from data_pipeline.errors import InputError
from luperson_jax import config, models, sharding, weights
from luperson_jax.measure.evaluation import Evaluation
from luperson_jax.run.reporter import Reporter
from luperson_jax.structs import RankingReport, TrainState
from luperson_jax.tasks.base import Task
from luperson_jax.workdir import recipe_file


def run(recipe: config.Recipe, workdir: str, task_class: type[Task]) -> RankingReport:
    """Evaluates the last (or best) checkpoint of a workdir.

    Raises:
        InputError: no evaluation data named, no checkpoint, or one that does not fit the recipe.
    """
    recipe_file.check_alike(recipe)
    mesh = sharding.make_mesh()
    task = task_class.build(recipe, None)
    evaluation = Evaluation.build(recipe, task, mesh)
    if evaluation is None:
        raise InputError("nothing to evaluate on: set eval.dataset and eval.root")
    folder = pathlib.Path(workdir)
    written, may_change = config.to_dict(recipe), recipe_file.MAY_CHANGE_IN_EVALUATION
    recipe_file.check_workdir(recipe, written, folder, may_change)
    state = restore(recipe, workdir, mesh)
    reporter = Reporter(workdir, int(state.step), recipe.train.log_every_steps)
    try:
        measured = evaluation.measure(state)
        evaluation.publish(measured, folder, reporter.say)
        return measured.ranking
    except models.MISFIT as error:
        raise InputError(
            f"the checkpoint of step {int(state.step)} in {workdir} does not hold the network of "
            f"this recipe: {error}; use the recipe that wrote it"
        ) from error
    finally:
        reporter.close()


def restore(recipe: config.Recipe, workdir: str, mesh: Mesh) -> TrainState:
    """What embedding needs of a workdir's checkpoint: parameters, `extra` and the step.

    Raises:
        InputError: no such checkpoint, or it lacks the average that `eval.weights` asks for.
    """
    settings = recipe.eval
    model = weights.load(
        workdir, best=settings.checkpoint == "best", average=settings.weights == "average"
    )
    return placed(model, mesh)


def placed(model: weights.Model, mesh: Mesh) -> TrainState:
    """A model on the devices: parameters, `extra` and the step; of a file of weights step 0."""
    tree = sharding.put_replicated({"params": model.params, "extra": model.extra}, mesh)
    step = np.int32(model.facts.get("step", 0))
    return TrainState(step, tree["params"], tree["extra"], {}, ())
