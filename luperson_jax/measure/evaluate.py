"""Embeds query and gallery with a task and ranks them."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.read import atomic
from data_pipeline.read.loader import Loader, LoaderOptions
from data_pipeline.table import samplers
from data_pipeline.table.records import Splits, Table
from luperson_jax import config, sharding
from luperson_jax.measure import html_report, tracklet_pooling
from luperson_jax.measure.figures import Figures, all_ranking_values, ranking_table
from luperson_jax.optim import averaging
from luperson_jax.retrieval import measures, ranking
from luperson_jax.retrieval.labels import make_labels
from luperson_jax.structs import Batch, EmbeddingSet, RankingReport, TrainState, Tree
from luperson_jax.tasks.base import Embedder, Task

RESULTS_FILE = "results.json"
REPORT_FILE = "report.html"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One evaluation: the embedded sets, their ranking, the step they belong to, and how frames
    were pooled."""

    step: int
    query: EmbeddingSet
    gallery: EmbeddingSet
    ranking: RankingReport
    pool: str = tracklet_pooling.FRAMES


BEST_IS_OPTIMISTIC = (
    "best: chosen by mAP on this query and gallery, so its figures are optimistic; "
    "compare runs by their last step"
)


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
            InputError: the data set has no query or no gallery, no query can be found, the devices
                cannot share `eval.batch_size`, or the processes of the job see different pictures.
        """
        if not recipe.eval.dataset:
            return None
        sharding.check_batch_size(recipe.eval.batch_size, mesh, "eval.batch_size")
        splits = load_splits(recipe.eval.dataset, recipe.eval.root, "eval.root", recipe.eval.split)
        parts = {"the queries": splits.query, "the gallery": splits.gallery}
        sharding.check_alike({name: table.fingerprint() for name, table in parts.items()})
        pool = tracklet_pooling.chosen(recipe.eval.pool, splits)
        check_matches(splits, pool, f"{recipe.eval.dataset} at {recipe.eval.root!r}")
        return cls(recipe, task, mesh, splits)

    def measure(self, state: TrainState) -> Measurement:
        """Embeds query and gallery with the network of `state` and ranks them."""
        settings = self.recipe.eval
        if settings.weights == "average":
            state = averaging.averaged(state)
        pool = tracklet_pooling.chosen(settings.pool, self.splits)
        how = {"flip": settings.flip, "pool": pool}
        query, gallery = (
            embed_table(self.task, state, table, self.recipe, self.mesh, **how)
            for table in (self.splits.query, self.splits.gallery)
        )
        report = ranking.rank_embeddings(query, gallery, metric=settings.metric)
        return Measurement(int(state.step), query, gallery, report, pool)

    def publish(
        self,
        measured: Measurement,
        workdir: pathlib.Path,
        say: Callable[[Any], None],
        best: tuple[int, dict[str, float]] | None = None,
    ) -> None:
        """Says the figures and writes `results.json` and `report.html` to the workdir.

        Args:
            measured: the evaluation.
            workdir: the run's.
            say: takes the lines and tables.
            best: after a training with several evaluations, step and figures of the best one.
        """
        rows: dict[str, Figures] = {f"step {measured.step}": measured.ranking}
        notes = []
        if best is not None:
            rows = {f"last, step {measured.step}": measured.ranking}
            rows[f"best, step {best[0]}"] = best[1]
            notes = [BEST_IS_OPTIMISTIC]
        say(ranking_table(rows, self._title(measured)))
        for note in notes:
            say(note)
        if jax.process_index() == 0:
            write_results(workdir / RESULTS_FILE, measured, best)
            page = html_report.make(
                workdir,
                measured.query,
                measured.gallery,
                measured.ranking,
                metric=self.recipe.eval.metric,
                figures=rows,
                notes=notes,
            )
            atomic.write_text(workdir / REPORT_FILE, page)
            say(f"results in {workdir / RESULTS_FILE}, report in {workdir / REPORT_FILE}")

    def _title(self, measured: Measurement) -> str:
        settings = self.recipe.eval
        title = f"{settings.dataset}, {settings.metric} distance"
        title += tracklet_pooling.words(
            measured.pool, len(measured.query.pid), len(measured.gallery.pid)
        )
        title += ", averaged weights" if settings.weights == "average" else ""
        return title + (", with mirror images" if settings.flip else "")


def load_splits(dataset: str, root: str, setting: str, split: int) -> Splits:
    """Query and gallery to evaluate on.

    Args:
        dataset: a key of `datasets.DATASETS`.
        root: its folder.
        setting: what messages call the root.
        split: which of the published divisions.

    Raises:
        InputError: no such data set, or one without query or gallery.
    """
    splits = datasets.load(dataset, root, setting, split)
    for part in ("query", "gallery"):
        if not len(getattr(splits, part)):
            raise InputError(
                f"{dataset} at {root!r} has no {part} images; name a data set with identities to "
                "evaluate on"
            )
    return splits


def check_matches(splits: Splits, pool: str, what: str) -> None:
    """Raises InputError where no gallery image can be the answer to any query, so that the ranking
    would fail once all is embedded."""
    query, gallery = (tracklet_pooling.of(part, pool) for part in (splits.query, splits.gallery))
    labels = make_labels(query.pid, query.camera, gallery.pid, gallery.camera)
    try:
        measures.check_any_match(labels.num_matches)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def embed_table(
    task: Embedder,
    state: TrainState,
    table: Table,
    recipe: config.Recipe,
    mesh: Mesh,
    *,
    flip: bool = False,
    pool: str = tracklet_pooling.FRAMES,
) -> EmbeddingSet:
    """Features of every row of a table, in its order, on every process; or with `pool` "mean" or
    "max" of every tracklet, named after its first row, without keeping those of the frames.

    Pictures are brought straight to the size that the network sees, by the filter that the
    published evaluations use. With `flip` a feature is the mean of those of the picture and of its
    mirror image, before the metric normalizes it.
    """
    options = LoaderOptions(
        canvas=recipe.data.size,
        resize="bicubic",
        num_workers=recipe.data.num_workers,
        worker_kind=recipe.data.worker_kind,
        prefetch=recipe.data.prefetch,
    )
    indices = samplers.sequential(len(table), recipe.eval.batch_size)
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
        batches = (sharding.put_batch(arrays, mesh) for arrays in loader)
        parts = _fetched(_embed(task, flip, state.params, state.extra, batch) for batch in batches)
        if pool == tracklet_pooling.FRAMES:
            features = np.concatenate(list(parts))[: len(table)]
        else:
            table, number = tracklet_pooling.table_of(table)
            features = tracklet_pooling.pooled(parts, number, pool)
    return EmbeddingSet(features, table.pid, table.camera, tuple(table.media))


def _fetched(parts: Iterable[jax.Array]) -> Iterator[np.ndarray]:
    """The arrays on the host, each fetched while the device works on the one after it."""
    last = None
    for part in parts:
        if last is not None:
            yield np.asarray(last)
        last = part
    if last is not None:
        yield np.asarray(last)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _embed(task: Embedder, flip: bool, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
    features = task.embed(params, extra, batch)
    if flip:
        mirrored = dataclasses.replace(batch, images=jnp.flip(batch.images, axis=3))
        features = (features + task.embed(params, extra, mirrored)) / 2
    return jax.lax.with_sharding_constraint(features, PartitionSpec())


def write_results(
    path: pathlib.Path, measured: Measurement, best: tuple[int, dict[str, float]] | None = None
) -> None:
    """The figures of an evaluation as JSON; below `best` those of the best one of the run."""
    values: dict[str, Any] = {"step": measured.step, **all_ranking_values(measured.ranking)}
    values["pool"] = measured.pool
    if best is not None:
        values["best"] = {"step": best[0], **best[1]}
    atomic.write_text(path, json.dumps(values, indent=2) + "\n")
