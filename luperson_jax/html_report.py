"""The page that a run leaves behind: curves, CMC and ranked lists, in one file without links."""

import base64
import html
import io
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from data_pipeline.errors import InputError
from luperson_jax import plots
from luperson_jax.plots import Shown
from luperson_jax.report import METRICS_FILE, Figures, ranking_values
from luperson_jax.retrieval import ranking, verification
from luperson_jax.structs import EmbeddingSet, RankingReport

NUM_QUERIES = 12
NUM_SHOWN = 8
PICTURE_HEIGHT = 96
HIDDEN_CURVES = ("train/images_per_second",)
TITLES = {"mAP": "mAP", "rank1": "Rank-1", "rank5": "Rank-5", "rank10": "Rank-10", "mINP": "mINP"}

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
.list { display: flex; align-items: flex-end; gap: 6px; margin: 0 0 10px; }
.list figure { margin: 0; text-align: center; font-size: 11px; color: #666; }
.absent { height: 96px; width: 48px; border: 3px solid #999; }
.list img { height: 96px; border: 3px solid #999; display: block; }
.list .right img { border-color: #1a8f3c; }
.list .wrong img { border-color: #c62828; }
.query { margin-right: 14px !important; }
"""


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
    body = [
        _table(figures),
        *(f"<p>{html.escape(note)}</p>" for note in notes),
        _counted(report),
        f"<h2>Cumulative matching</h2>{plots.as_svg(plots.cmc({'': report}))}",
        *_pairs(query, gallery, metric),
        "<h2>Curves</h2>",
        *_curves(pathlib.Path(workdir) / METRICS_FILE),
        *_lists(query, gallery, report, metric),
    ]
    return _page(pathlib.Path(workdir).name, "".join(body))


def make_of_sets(
    title: str,
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    reports: Mapping[str, RankingReport],
    *,
    metric: str,
) -> str:
    """The report of two embedded sets as HTML text; `make` without a run.

    Args:
        title: of the page.
        query: its keys name pictures, as far as they are known.
        gallery: likewise.
        reports: rankings of the two by name. Ranked lists are those of the metric, with the AP of
            the first.
        metric: "cosine" or "euclidean".
    """
    first = next(iter(reports.values()))
    body = [
        _table(reports),
        _counted(first),
        f"<h2>Cumulative matching</h2>{plots.as_svg(plots.cmc(reports))}",
        *_pairs(query, gallery, metric),
        *_lists(query, gallery, first, metric),
    ]
    return _page(title, "".join(body))


def make_of_lists(title: str, lists: Sequence[Sequence[Shown]]) -> str:
    """Ranked lists alone as HTML text.

    Args:
        title: of the page.
        lists: a query and its nearest gallery pictures each, as for `plots.sheet`.

    Raises:
        InputError: a picture cannot be read.
    """
    return _page(title, "".join(map(_list, lists)))


def make_overview(
    reports: Mapping[str, RankingReport], folder: pathlib.Path, pages: Sequence[pathlib.Path]
) -> str:
    """Several runs side by side, with links to the page of each.

    Args:
        reports: rankings by name.
        folder: where this page will stand.
        pages: reports of single runs, somewhere below that folder.
    """
    names = [html.escape(page.relative_to(folder).as_posix()) for page in pages]
    links = "".join(f"<li><a href='{name}'>{name}</a>" for name in names)
    body = (
        f"{_table(reports)}{plots.as_svg(plots.cmc(reports))}<h2>Single runs</h2><ul>{links}</ul>"
    )
    return _page("Runs compared", body)


def _page(title: str, body: str) -> str:
    title = html.escape(title)
    head = f"<meta charset='utf-8'><title>{title}</title><style>{STYLE}</style>"
    return f"<!doctype html><html><head>{head}</head><body><h1>{title}</h1>{body}</body></html>\n"


def _table(reports: Mapping[str, Figures]) -> str:
    head = "".join(f"<th>{title}</th>" for title in ("", *TITLES.values()))
    rows = []
    for name, report in reports.items():
        values = ranking_values(report) if isinstance(report, RankingReport) else report
        cells = "".join(f"<td>{100 * values[key]:.2f} %</td>" for key in TITLES)
        rows.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _curves(path: pathlib.Path) -> list[str]:
    series: dict[str, tuple[list[int], list[float]]] = {}
    if path.is_file():
        for line in path.read_text().splitlines():
            values = json.loads(line)
            step = values.pop("step")
            for name, value in values.items():
                steps, points = series.setdefault(name, ([], []))
                steps.append(step)
                points.append(value)
    shown = sorted(name for name in series if name not in HIDDEN_CURVES)
    if not shown:
        return ["<p>Nothing was logged.</p>"]
    rows = -(-len(shown) // 3)
    figure = Figure(figsize=(9.5, 2.4 * rows), layout="tight")
    for place, name in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, 3, place)
        axes.plot(*series[name], marker="o" if len(series[name][0]) < 15 else "", markersize=3)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    return [plots.as_svg(figure)]


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
        return [f"{head}<p>{html.escape(str(error))}</p>"]
    roc = verification.curve(counts)
    return [
        f"{head}<p>{roc.num_same} pairs of the same person under different cameras, "
        f"{roc.num_different} of different people. Accepting pairs up to a distance, from left to "
        "right in the first picture, gives the second.</p>",
        plots.as_svg(plots.distances(counts, metric)),
        plots.as_svg(plots.roc({"": roc})),
        "<h2>Identities</h2><p>Gallery pictures of a few people drawn by lot, near where their "
        "features are similar (t-SNE). Distances between far groups mean nothing there.</p>",
        plots.as_svg(plots.plane(gallery)),
    ]


def _lists(
    query: EmbeddingSet, gallery: EmbeddingSet, report: RankingReport, metric: str
) -> list[str]:
    words = (
        "<h2>Ranked lists</h2><p>Query at the left, then its nearest gallery images, nearest "
        f"first: <b style='color:{plots.SAME}'>right</b> or "
        f"<b style='color:{plots.DIFFERENT}'>wrong</b> identity. Queries run from the lowest "
        "average precision (AP) to the highest; images of the query's own camera and identity are "
        "left out.</p>"
    )
    if not (all(query.key) and all(gallery.key)):
        return [words, "<p>The embeddings do not say where the pictures lie.</p>"]
    try:
        return [words, *_ranked_lists(query, gallery, report, metric)]
    except InputError as error:  # embeddings outlive their pictures
        return [words, f"<p>{html.escape(str(error))}</p>"]


def _ranked_lists(
    query: EmbeddingSet, gallery: EmbeddingSet, report: RankingReport, metric: str
) -> list[str]:
    order = np.argsort(report.ap, kind="stable")[: report.num_valid_queries]
    places = np.linspace(0, len(order) - 1, min(NUM_QUERIES, len(order))).round().astype(int)
    chosen = order[places]
    top = ranking.top_matches(query.take(chosen), gallery, k=NUM_SHOWN, metric=metric)
    lists = []
    for i, row in enumerate(chosen):
        shown = [Shown(query.key[row], f"AP {100 * report.ap[row]:.0f} %", None)]
        for rank, (found, correct) in enumerate(zip(top.rows[i], top.correct[i], strict=True), 1):
            if found >= 0:
                shown.append(Shown(gallery.key[found], str(rank), bool(correct)))
        lists.append(_list(shown))
    return lists


def _list(shown: Sequence[Shown]) -> str:
    kinds = ["query", *({None: "", True: "right", False: "wrong"}[one.right] for one in shown[1:])]
    figures = [_figure(one, kind) for one, kind in zip(shown, kinds, strict=True)]
    return f"<div class='list'>{''.join(figures)}</div>"


def _figure(shown: Shown, kind: str) -> str:
    title = html.escape(pathlib.Path(shown.key).name or "no file")
    image = f"<div class='absent'>{title}</div>"
    if shown.key:
        picture = Image.fromarray(plots.read_picture(shown.key))
        width = max(round(picture.width * PICTURE_HEIGHT / picture.height), 1)
        buffer = io.BytesIO()
        picture.resize((width, PICTURE_HEIGHT)).save(buffer, "JPEG", quality=85)
        data = base64.b64encode(buffer.getvalue()).decode()
        image = f"<img src='data:image/jpeg;base64,{data}' title='{title}' alt='{title}'>"
    caption = html.escape(shown.caption).replace("\n", "<br>")
    return f"<figure class='{kind}'>{image}{caption}</figure>"
