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

from data_pipeline import decode, storage
from luperson_jax.report import METRICS_FILE, ranking_values
from luperson_jax.retrieval import ranking
from luperson_jax.structs import EmbeddingSet, RankingReport

NUM_QUERIES = 12
NUM_SHOWN = 8
PICTURE_HEIGHT = 96
HIDDEN_CURVES = ("train/images_per_second",)
FIGURES = {"mAP": "mAP", "rank1": "Rank-1", "rank5": "Rank-5", "rank10": "Rank-10", "mINP": "mINP"}

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
.list { display: flex; align-items: flex-end; gap: 6px; margin: 0 0 10px; }
.list figure { margin: 0; text-align: center; font-size: 11px; color: #666; }
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
) -> str:
    """The report of a run as HTML text.

    Args:
        workdir: its `metrics.jsonl` gives the curves.
        query: embedded queries; `key` names their files.
        gallery: embedded gallery.
        report: the ranking of the two.
        metric: the metric that the ranking used.

    Returns:
        A whole page. Queries shown are spread from the worst average precision to the best.
    """
    skipped = report.num_queries - report.num_valid_queries
    body = [
        _table({"": report}),
        f"<p>{report.num_valid_queries} queries; {skipped} more have no match in the gallery "
        "and are not counted.</p>",
        f"<h2>Cumulative matching</h2>{_cmc_curves({'': report})}",
        "<h2>Curves</h2>",
        *_curves(pathlib.Path(workdir) / METRICS_FILE),
        "<h2>Ranked lists</h2><p>Query at the left, then its nearest gallery images, nearest "
        "first: <b style='color:#1a8f3c'>right</b> or <b style='color:#c62828'>wrong</b> "
        "identity. Queries run from the lowest average precision (AP) to the highest; images of "
        "the query's own camera and identity are left out.</p>",
        *_ranked_lists(query, gallery, report, metric),
    ]
    return _page(pathlib.Path(workdir).name, "".join(body))


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
    body = f"{_table(reports)}{_cmc_curves(reports)}<h2>Single runs</h2><ul>{links}</ul>"
    return _page("Runs compared", body)


def _page(title: str, body: str) -> str:
    title = html.escape(title)
    head = f"<meta charset='utf-8'><title>{title}</title><style>{STYLE}</style>"
    return f"<!doctype html><html><head>{head}</head><body><h1>{title}</h1>{body}</body></html>\n"


def _table(reports: Mapping[str, RankingReport]) -> str:
    head = "".join(f"<th>{title}</th>" for title in ("", *FIGURES.values()))
    rows = []
    for name, report in reports.items():
        values = ranking_values(report)
        cells = "".join(f"<td>{100 * values[key]:.2f} %</td>" for key in FIGURES)
        rows.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _cmc_curves(reports: Mapping[str, RankingReport]) -> str:
    figure = Figure(figsize=(5, 3), layout="tight")
    axes = figure.add_subplot()
    for name, report in reports.items():
        axes.plot(np.arange(1, len(report.cmc) + 1), 100 * report.cmc, label=name)
    axes.set(xlabel="rank", ylabel="queries matched, %", ylim=(0, 101))
    axes.grid(alpha=0.3)
    if len(reports) > 1:
        axes.legend(fontsize=8)
    return _as_svg(figure)


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
    return [_as_svg(figure)]


def _ranked_lists(
    query: EmbeddingSet, gallery: EmbeddingSet, report: RankingReport, metric: str
) -> list[str]:
    order = np.argsort(report.ap, kind="stable")[: report.num_valid_queries]
    places = np.linspace(0, len(order) - 1, min(NUM_QUERIES, len(order))).round().astype(int)
    chosen = order[places]
    few = EmbeddingSet(
        query.features[chosen],
        query.pid[chosen],
        query.camera[chosen],
        tuple(query.key[row] for row in chosen),
    )
    top = ranking.top_matches(few, gallery, k=NUM_SHOWN, metric=metric)
    lists = []
    for i, row in enumerate(chosen):
        caption = f"AP {100 * report.ap[row]:.0f} %"
        figures = [_figure(query.key[row], caption, "query")]
        for rank, (found, correct) in enumerate(zip(top.rows[i], top.correct[i], strict=True), 1):
            if found >= 0:
                kind = "right" if correct else "wrong"
                figures.append(_figure(gallery.key[found], str(rank), kind))
        lists.append(f"<div class='list'>{''.join(figures)}</div>")
    return lists


def _figure(path: str, caption: str, kind: str) -> str:
    picture = Image.fromarray(decode.decode(storage.read(path), path))
    width = max(round(picture.width * PICTURE_HEIGHT / picture.height), 1)
    buffer = io.BytesIO()
    picture.resize((width, PICTURE_HEIGHT)).save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    title = html.escape(pathlib.Path(path).name)
    image = f"<img src='data:image/jpeg;base64,{data}' title='{title}' alt='{title}'>"
    return f"<figure class='{kind}'>{image}{html.escape(caption)}</figure>"


def _as_svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
