"""Embeds query and gallery with a task and ranks them."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from data_pipeline import datasets, samplers
from data_pipeline.errors import InputError
from data_pipeline.loader import Loader, LoaderOptions
from data_pipeline.records import Splits, Table
from luperson_jax import checkpoint, config, html_report, sharding
from luperson_jax.report import Reporter, ranking_table, ranking_values
from luperson_jax.retrieval import ranking
from luperson_jax.structs import Batch, EmbeddingSet, RankingReport, TrainState, Tree
from luperson_jax.tasks.base import Task

RESULTS_FILE = "results.json"
REPORT_FILE = "report.html"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Query and gallery of a recipe, and the task to embed them with."""

    recipe: config.Recipe
    task: Task
    mesh: Mesh
    splits: Splits

    @classmethod
    def build(cls, recipe: config.Recipe, task: Task, mesh: Mesh) -> "Evaluation | None":
        """The evaluation that a recipe asks for; None where it names no data set.

        Raises:
            InputError: the data set has no query or no gallery.
        """
        if not recipe.eval.dataset:
            return None
        splits = datasets.load(recipe.eval.dataset, recipe.eval.root)
        for part in ("query", "gallery"):
            if not len(getattr(splits, part)):
                raise InputError(
                    f"{recipe.eval.dataset} at {recipe.eval.root!r} has no {part} images; "
                    "eval.dataset must name a data set with identities"
                )
        return cls(recipe, task, mesh, splits)

    def embed(self, state: TrainState) -> tuple[EmbeddingSet, EmbeddingSet]:
        """Features of query and gallery."""
        query, gallery = (
            embed_table(self.task, state, table, self.recipe, self.mesh)
            for table in (self.splits.query, self.splits.gallery)
        )
        return query, gallery

    def rank(self, state: TrainState) -> RankingReport:
        """The ranking with the network of `state`."""
        return ranking.rank_embeddings(*self.embed(state), metric=self.recipe.eval.metric)

    def report(self, state: TrainState, workdir: pathlib.Path, reporter: Reporter) -> RankingReport:
        """Ranks and writes `results.json` and `report.html` to the workdir."""
        query, gallery = self.embed(state)
        result = ranking.rank_embeddings(query, gallery, metric=self.recipe.eval.metric)
        reporter.say(ranking_table({f"step {int(state.step)}": result}, self.recipe.eval.dataset))
        if jax.process_index() == 0:
            write_results(workdir / RESULTS_FILE, int(state.step), result)
            page = html_report.make(workdir, query, gallery, result, metric=self.recipe.eval.metric)
            (workdir / REPORT_FILE).write_text(page)
            reporter.say(f"results in {workdir / RESULTS_FILE}, report in {workdir / REPORT_FILE}")
        return result


def run(recipe: config.Recipe, workdir: str, task_class: type[Task]) -> RankingReport:
    """Evaluates the last (or best) checkpoint of a workdir.

    Raises:
        InputError: no evaluation data named, no checkpoint, or one that does not fit the recipe.
    """
    mesh = sharding.make_mesh()
    sharding.check_batch_size(recipe.eval.batch_size, mesh, "eval.batch_size")
    task = task_class.build(recipe, None)
    evaluation = Evaluation.build(recipe, task, mesh)
    if evaluation is None:
        raise InputError("nothing to evaluate on: set --config.eval.dataset and --config.eval.root")
    state = restore(recipe, workdir, mesh)
    reporter = Reporter(workdir, int(state.step), recipe.train.log_every_steps)
    try:
        return evaluation.report(state, pathlib.Path(workdir), reporter)
    finally:
        reporter.close()


def restore(recipe: config.Recipe, workdir: str, mesh: Mesh) -> TrainState:
    """What embedding needs of a workdir's checkpoint: parameters, `extra` and the step."""
    saved = checkpoint.Checkpoints(workdir, read_only=True)
    best = recipe.eval.checkpoint == "best"
    step = saved.best_step() if best else None
    if best and step is None:
        raise InputError(
            f"{workdir} has no checkpoint that was evaluated, so none is the best; "
            "use --config.eval.checkpoint=last"
        )
    step, tree = saved.read(step)
    saved.close()
    placed = sharding.put_replicated({name: tree[name] for name in ("params", "extra")}, mesh)
    return TrainState(np.int32(step), placed["params"], placed["extra"], {}, tree["key"])


def embed_table(
    task: Task, state: TrainState, table: Table, recipe: config.Recipe, mesh: Mesh
) -> EmbeddingSet:
    """Features of every row of a table, in its order, on every process.

    Pictures are brought straight to the size that the network sees.
    """
    options = LoaderOptions(
        canvas=recipe.data.size,
        resize=recipe.data.resize,
        num_workers=recipe.data.num_workers,
        worker_kind=recipe.data.worker_kind,
        prefetch=recipe.data.prefetch,
    )
    indices = samplers.sequential(len(table), recipe.eval.batch_size)
    parts = []
    with (
        Loader(
            table,
            indices,
            options,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        ) as loader,
        jax.set_mesh(mesh),
    ):
        for arrays in loader:
            batch = sharding.put_batch(arrays, mesh)
            parts.append(_embed(task, state.params, state.extra, batch))
    features = np.concatenate([np.asarray(part) for part in parts])[: len(table)]
    return EmbeddingSet(features, table.pid, table.camera, table.media)


@functools.partial(jax.jit, static_argnums=0)
def _embed(task: Task, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
    features = task.embed(params, extra, batch)
    return jax.lax.with_sharding_constraint(features, PartitionSpec())


def write_results(path: pathlib.Path, step: int, result: RankingReport) -> None:
    """The figures of a ranking as JSON."""
    values: dict[str, Any] = {"step": step, **ranking_values(result)}
    values["cmc"] = [float(value) for value in result.cmc]
    values["num_queries"] = result.num_queries
    values["num_valid_queries"] = result.num_valid_queries
    path.write_text(json.dumps(values, indent=2) + "\n")
