"""The page that a run leaves behind: curves, CMC and ranked lists, in one file without links."""

import html
import json
import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.terminal import visible
from luperson_jax.measure import epoch_clusters, page_parts, plots
from luperson_jax.measure.figures import Figures, distance_words, is_share, ranking_values
from luperson_jax.measure.plots import Shown
from luperson_jax.retrieval import ranking, verification
from luperson_jax.structs import EmbeddingSet, RankingReport
from luperson_jax.workdir import metrics_file, recipe_file
from luperson_jax.workdir.metrics_file import METRICS_FILE

NUM_QUERIES = 12
NUM_SHOWN = 8
HIDDEN_CURVES = ("train/images_per_second",)
TITLES = {
    "mAP": "mAP, %",
    "rank1": "Rank-1, %",
    "rank5": "Rank-5, %",
    "rank10": "Rank-10, %",
    "rank20": "Rank-20, %",
    "mINP": "mINP, %",
}
CLUSTERS = "clusters/"
CLUSTER_TITLES = {
    "count": "clusters",
    "outliers": "outliers",
    "median_size": "median size",
    "largest": "largest",
    "camera_entropy": "camera entropy",
    "silhouette": "silhouette",
    "stability": "stability",
    "purity": "purity",
    "pairwise_f": "pairwise F",
    "ari": "ARI",
    "v_measure": "V-measure",
}
"""Figures of the clusters of an epoch, as `clustering.quality` names them, and their columns."""
CMC_WORDS = "Curve: share of queries with a match among the first places, by rank"


def make(
    workdir: str | pathlib.Path,
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    report: RankingReport,
    *,
    metric: str,
    figures: Mapping[str, Figures],
    notes: Sequence[str] = (),
) -> str:
    """The report of a run as HTML text.

    Args:
        workdir: its `metrics.jsonl` gives the curves.
        query: embedded queries; `key` names their files.
        gallery: embedded gallery.
        report: the ranking of the two.
        metric: the metric that the ranking used.
        figures: rows of the table of figures, by name.
        notes: what the reader must know of them.

    Returns:
        A whole page. Queries shown are spread from the worst average precision to the best.
    """
    folder = pathlib.Path(workdir)
    body = [
        _table(figures),
        *(f"<p>{page_parts.text(note)}</p>" for note in notes),
        _counted(report),
        f"<h2>Cumulative matching</h2>{page_parts.drawn(plots.cmc({'': report}), CMC_WORDS)}",
        *_pairs(query, gallery, metric),
        *_clusters(folder / METRICS_FILE),
        *epoch_clusters.section(folder),
        "<h2>Curves</h2>",
        *_curves(folder / METRICS_FILE),
        *_lists(query, gallery, report, metric),
        *_run(folder),
    ]
    return page_parts.page(folder.name, "".join(body))


def make_of_sets(
    title: str,
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    reports: Mapping[str, RankingReport],
    *,
    metric: str,
    facts: Mapping[str, object] | None = None,
) -> str:
    """The report of two embedded sets as HTML text; `make` without a run.

    Args:
        title: of the page.
        query: its keys name pictures, as far as they are known.
        gallery: likewise.
        reports: rankings of the two by name. Ranked lists are those of the metric, with the AP of
            the first.
        metric: "cosine" or "euclidean".
        facts: what was ranked and how, by name.
    """
    first = next(iter(reports.values()))
    body = [
        _table(reports),
        _counted(first),
        f"<h2>Cumulative matching</h2>{page_parts.drawn(plots.cmc(reports), CMC_WORDS)}",
        *_pairs(query, gallery, metric),
        *_lists(query, gallery, first, metric),
        "<h2>What was ranked</h2>",
        page_parts.facts({**(facts or {}), "versions": page_parts.versions()}),
    ]
    return page_parts.page(title, "".join(body))


def make_of_lists(title: str, lists: Sequence[Sequence[Shown]]) -> str:
    """Ranked lists alone as HTML text.

    Args:
        title: of the page.
        lists: a query and its nearest gallery pictures each, as for `plots.sheet`.

    Raises:
        InputError: a picture cannot be read.
    """
    return page_parts.page(title, "".join(map(page_parts.picture_list, lists)))


def make_overview(
    reports: Mapping[str, RankingReport], folder: pathlib.Path, pages: Sequence[pathlib.Path]
) -> str:
    """Several runs side by side, with links to the page of each.

    Args:
        reports: rankings by name.
        folder: where this page will stand.
        pages: reports of single runs, somewhere below that folder.
    """
    names = [page.relative_to(folder).as_posix() for page in pages]
    links = "".join(
        f"<li><a href='{urllib.parse.quote(os.fsencode(name))}'>{page_parts.text(name)}</a>"
        for name in names
    )
    drawn = page_parts.drawn(plots.cmc(reports), CMC_WORDS)
    body = f"{_table(reports)}{drawn}<h2>Single runs</h2><ul>{links}</ul>"
    return page_parts.page("Runs compared", body)


def _run(workdir: pathlib.Path) -> list[str]:
    """What was trained and evaluated, with the whole recipe."""
    if not listing.is_file(workdir / recipe_file.RECIPE_FILE):
        return []
    recipe = recipe_file.read(workdir)
    data, evaluated, table = (recipe.get(name, {}) for name in ("data", "eval", "table"))
    facts = {
        "trained on": f"{data.get('dataset')}, {data.get('root')}",
        "pictures": f"{table.get('images')}, fingerprint {table.get('fingerprint')}",
        "evaluated on": f"{evaluated.get('dataset')}, {evaluated.get('root')}",
        "versions": page_parts.versions(),
    }
    listed = json.dumps(recipe_file.settings(workdir), indent=2)
    return [
        "<h2>About this run</h2>",
        page_parts.facts(facts),
        f"<details><summary>Recipe</summary><pre>{html.escape(visible(listed))}</pre></details>",
    ]


def _table(reports: Mapping[str, Figures]) -> str:
    head = "".join(f"<th>{title}</th>" for title in ("", *TITLES.values()))
    rows = []
    for name, report in reports.items():
        values = ranking_values(report) if isinstance(report, RankingReport) else report
        cells = "".join(f"<td>{100 * values[key]:.2f}</td>" for key in TITLES)
        rows.append(f"<tr><th>{page_parts.text(name)}</th>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _clusters(path: pathlib.Path) -> list[str]:
    """What every epoch of a method that clusters has begun with."""
    lines = [line for line in metrics_file.read(path)[0] if f"{CLUSTERS}count" in line.values]
    if not lines:
        return []
    found = {name for line in lines for name in line.values}
    names = [name for name in CLUSTER_TITLES if f"{CLUSTERS}{name}" in found]
    rows = []
    for number, line in enumerate(lines, 1):
        values = [line.values.get(f"{CLUSTERS}{name}") for name in names]
        cells = ["" if value is None else f"{value:.5g}" for value in values]
        rows.append([number, line.step, *cells])
    titles = ["epoch", "step", *(CLUSTER_TITLES[name] for name in names)]
    words = (
        "<h2>Clusters</h2><p>Of the training pictures at the start of each epoch; the last row is "
        "of the end, where it was measured. Figures that take true identities are for the reader "
        "alone. <code>luperson cluster</code> shows the pictures.</p>"
    )
    return [words, page_parts.table(titles, rows)]


def _curves(path: pathlib.Path) -> list[str]:
    series: dict[str, tuple[list[int], list[float]]] = {}
    lines, num_bad = metrics_file.read(path)
    for line in lines:
        for name, value in line.values.items():
            steps, points = series.setdefault(name, ([], []))
            steps.append(line.step)
            points.append(value)
    words = [f"<p>{num_bad} lines of {METRICS_FILE} cannot be read.</p>"] if num_bad else []
    shown = sorted(name for name in series if name not in HIDDEN_CURVES)
    if not shown:
        return [*words, "<p>Nothing was logged.</p>"]
    drawings = []
    for name in shown:
        figure = Figure(figsize=(3.2, 2.4), layout="tight")
        axes = figure.add_subplot()
        steps, points = series[name]
        share = is_share(name)
        values = [100 * value for value in points] if share else points
        title = f"{name}, %" if share else name
        axes.plot(steps, values, marker="o" if len(steps) < 15 else "", markersize=3)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        drawings.append(page_parts.drawn(figure, f"Curve: {title} by step"))
    return [*words, *drawings]


def _counted(report: RankingReport) -> str:
    skipped = report.num_queries - report.num_valid_queries
    return (
        f"<p>{report.num_valid_queries} queries; {skipped} more have no match in the gallery "
        "and are not counted.</p>"
    )


def _pairs(query: EmbeddingSet, gallery: EmbeddingSet, metric: str) -> list[str]:
    """Same person or not: distances, ROC, and a few identities on a plane."""
    head = "<h2>Same person or not</h2>"
    try:
        counts = verification.count_pairs(query, gallery, metric=metric)
    except InputError as error:  # all pictures show one person
        return [f"{head}<p>{page_parts.text(error)}</p>"]
    roc = verification.curve(counts)
    return [
        f"{head}<p>{roc.num_same} pairs of the same person under different cameras, "
        f"{roc.num_different} of different people. Accepting pairs up to a distance, from left to "
        "right in the first picture, gives the second.</p>",
        page_parts.drawn(plots.distances(counts, metric), "Bars: distances of pairs of each kind"),
        page_parts.drawn(plots.roc({"": roc}), "Curve: true accepts by false accepts"),
        "<h2>Identities</h2><p>Gallery pictures of a few people drawn by lot, near where their "
        "features are similar (t-SNE). Distances between far groups mean nothing there.</p>",
        page_parts.drawn(
            plots.plane(gallery), "Points: gallery pictures of a few identities on a plane"
        ),
    ]


def _lists(
    query: EmbeddingSet, gallery: EmbeddingSet, report: RankingReport, metric: str
) -> list[str]:
    words = (
        "<h2>Ranked lists</h2><p>Query at the left, then its nearest gallery images, nearest "
        f"first: <b style='color:{plots.SAME}'>right &#10003;</b> or "
        f"<b style='color:{plots.DIFFERENT}'>wrong &#10007;</b> identity. Queries run from the "
        "lowest average precision (AP) to the highest; images of the query's own camera and "
        f"identity are left out. Below each picture: {metric} distance, identity, camera and "
        "file.</p>"
    )
    if not (all(query.key) and all(gallery.key)):
        return [words, "<p>The embeddings do not say where the pictures lie.</p>"]
    try:
        return [words, *_ranked_lists(query, gallery, report, metric)]
    except InputError as error:  # embeddings outlive their pictures
        return [words, f"<p>{page_parts.text(error)}</p>"]


def _ranked_lists(
    query: EmbeddingSet, gallery: EmbeddingSet, report: RankingReport, metric: str
) -> list[str]:
    order = np.argsort(report.ap, kind="stable")[: report.num_valid_queries]
    places = np.linspace(0, len(order) - 1, min(NUM_QUERIES, len(order))).round().astype(int)
    chosen = order[places]
    top = ranking.top_matches(query.take(chosen), gallery, k=NUM_SHOWN, metric=metric)
    lists = []
    for i, row in enumerate(chosen):
        caption = f"query, AP {100 * report.ap[row]:.0f} %"
        shown = [Shown(query.shown(row), caption, None, plots.known(query, row))]
        nearest = zip(top.rows[i], top.correct[i], top.distance[i], strict=True)
        for rank, (found, correct, distance) in enumerate(nearest, 1):
            if found >= 0:
                about = plots.known(gallery, found)
                caption = f"{rank}: {distance_words(distance)}"
                shown.append(Shown(gallery.shown(found), caption, bool(correct), about))
        lists.append(page_parts.picture_list(shown))
    return lists
