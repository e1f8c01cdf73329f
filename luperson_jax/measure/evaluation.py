"""Embeds query and gallery with a task and ranks them."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.read import atomic
from data_pipeline.table.records import Splits
from luperson_jax import config, sharding
from luperson_jax.config import best_figure
from luperson_jax.measure import html_report, probes, streaming, tracklet_pooling
from luperson_jax.measure.figures import (
    Figures,
    all_ranking_values,
    ranking_table,
    ranking_values,
)
from luperson_jax.optim import averaging
from luperson_jax.retrieval import average_precision, ranking
from luperson_jax.retrieval.labels import make_labels
from luperson_jax.structs import EmbeddingSet, RankingReport, TrainState
from luperson_jax.tasks.base import Task

RESULTS_FILE = "results.json"
REPORT_FILE = "report.html"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One evaluation: the embedded sets, their ranking, the step they belong to, how frames were
    pooled, and the figures of all probes by their names, such as `market1501/mAP`."""

    step: int
    query: EmbeddingSet
    gallery: EmbeddingSet
    ranking: RankingReport
    figures: dict[str, float]
    pool: str = tracklet_pooling.FRAMES


BEST_IS_OPTIMISTIC = (
    "best: chosen by {} on this query and gallery, so its figures are optimistic; "
    "compare runs by their last step"
)
BEST_BY_OTHER = "best: chosen by {}"


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
        if not recipe.eval.root.strip():
            raise InputError(
                f"eval.root is empty; expected the folder of the data set {recipe.eval.dataset}, "
                "whose pictures measure the run. To train without measuring, set eval.dataset="
            )
        sharding.check_batch_size(recipe.eval.batch_size, mesh.size, "eval.batch_size")
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
            streaming.embed_table(self.task, state, table, self.recipe, self.mesh, **how)
            for table in (self.splits.query, self.splits.gallery)
        )
        report = ranking.rank(query, gallery, metric=settings.metric)
        values = ranking_values(report)
        for name in settings.probes:
            values |= probes.PROBES[name](query, gallery, report)
        figures = {f"{settings.dataset}/{name}": value for name, value in values.items()}
        return Measurement(int(state.step), query, gallery, report, figures, pool)

    def is_known(self, figures: Mapping[str, float]) -> bool:
        """Whether there are figures of this evaluation among some."""
        return f"{self.recipe.eval.dataset}/mAP" in figures

    def _own(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The figures of this evaluation, without its name; none where it was not made."""
        start = f"{self.recipe.eval.dataset}/"
        return {
            name.removeprefix(start): value
            for name, value in figures.items()
            if name.startswith(start) and self.is_known(figures)
        }

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
            criterion, own = best_figure(self.recipe), self._own(best[1])
            best = (best[0], own)
            rows = {f"last, step {measured.step}": measured.ranking}
            rows |= {f"best, step {best[0]}": own} if own else {}
            by_these = criterion in measured.figures
            notes = [(BEST_IS_OPTIMISTIC if by_these else BEST_BY_OTHER).format(criterion)]
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
    labels = make_labels(query, gallery)
    try:
        average_precision.check_any_match(labels.num_matches)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def write_results(
    path: pathlib.Path, measured: Measurement, best: tuple[int, dict[str, float]] | None = None
) -> None:
    """The figures of an evaluation as JSON; below `best` those of the best one of the run."""
    values: dict[str, Any] = {"step": measured.step, **all_ranking_values(measured.ranking)}
    values["pool"] = measured.pool
    values["figures"] = measured.figures
    if best is not None:
        values["best"] = {"step": best[0], **best[1]}
    atomic.write_text(path, json.dumps(values, indent=2) + "\n")
