"""Pictures of an evaluation: curves, distances, identities on a plane, and ranked lists.

Every function draws on a `Figure` of its own, so that nothing is shared with a program that uses
pyplot. `as_svg` and `save` turn one into text and files.
"""

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from data_pipeline.read import atomic
from data_pipeline.read.picture_files import read_picture
from data_pipeline.table.records import UNLABELLED
from luperson_jax.lengths import unit_rows
from luperson_jax.retrieval.verification import Curve, PairCounts
from luperson_jax.structs import EmbeddingSet, RankingReport

SAME, DIFFERENT, PLAIN = "#1a8f3c", "#c62828", "#555555"
"""Right, wrong, and neither: also of frames around pictures."""
MAX_POINTS = 2000
"""Of a curve; more cannot be seen."""
NUM_BARS = 60
MARKERS = "osD^v<>PX*"
MAX_NAMED = 20
"""Groups in a legend."""
MAX_EMBEDDED = 400
"""Pictures on the plane: more only cover each other, and the time grows with them."""


class Shown(NamedTuple):
    """A picture of a ranked list.

    Attributes:
        keys: where it lies, or the frames of a tracklet; none where nobody knows.
        caption: lines below it.
        right: whether it shows the person of the query; None where that is unknown.
        about: further lines, for pages, which have the room.
    """

    keys: tuple[str, ...]
    caption: str
    right: bool | None
    about: str = ""


def known(one: EmbeddingSet, row: int) -> str:
    """Lines with the identity and the camera of a picture, as far as they are known."""
    lines = [
        f"{name} {value}"
        for name, value in (("identity", one.pid[row]), ("camera", one.camera[row]))
        if value != UNLABELLED
    ]
    return "\n".join(lines)


def cmc(reports: Mapping[str, RankingReport]) -> Figure:
    """Cumulative matching curves by name."""
    figure, axes = _axes(5, 3)
    for name, report in reports.items():
        axes.plot(np.arange(1, len(report.cmc) + 1), 100 * report.cmc, label=name)
    axes.set(xlabel="rank", ylabel="queries matched, %", ylim=(0, 101))
    if len(reports) > 1:
        axes.legend(fontsize=8)
    return figure


def roc(curves: Mapping[str, Curve]) -> Figure:
    """ROC curves by name, false accepts on a logarithmic axis down to what can be measured."""
    figure, axes = _axes(5, 3)
    lowest = 1.0
    for name, one in curves.items():
        label = f"{name} AUC {one.auc:.4f}".strip()
        lowest = min(lowest, 1 / one.num_different)
        # The last place of every rate, so that steps stay steps.
        places = np.flatnonzero(np.diff(one.fpr, append=2.0))
        if len(places) > MAX_POINTS:
            floor = np.log(max(one.fpr[places[1]], 1e-12))
            wanted = np.exp(np.linspace(floor, 0, MAX_POINTS))
            places = np.unique(np.searchsorted(one.fpr, wanted, side="right") - 1)
        x = np.maximum(one.fpr[places], 0.5 / one.num_different)
        axes.step(x, 100 * one.tpr[places], where="post", label=label)
    axes.set_xscale("log")
    axes.set(xlabel="false accepts, share of pairs of different people", xlim=(lowest / 2, 1))
    axes.set(ylabel="true accepts, %", ylim=(0, 101))
    axes.legend(fontsize=8)
    return figure


def distances(counts: PairCounts, metric: str) -> Figure:
    """Shares of pairs of the same and of different people by distance."""
    figure, axes = _axes(5, 3)
    ends = counts.distance[[0, -1]].astype(np.float64)
    edges = np.linspace(ends[0], max(ends[1], ends[0] + 1e-6), NUM_BARS + 1)
    for name, num, color in (
        ("same person", counts.same, SAME),
        ("different people", counts.different, DIFFERENT),
    ):
        share = 100 * num / num.sum()
        bars = {"histtype": "stepfilled", "color": color, "alpha": 0.4, "label": name}
        axes.hist(counts.distance, edges, weights=share, **bars)
    axes.set(xlabel=f"{metric} distance", ylabel="pairs of their kind, %")
    axes.legend(fontsize=8)
    return figure


def plane(embedded: EmbeddingSet, *, num_identities: int = 12, seed: int = 0) -> Figure:
    """Pictures of a few identities on a plane where near means similar (t-SNE).

    Distances between far groups mean nothing there. L. van der Maaten, G. Hinton, "Visualizing Data
    using t-SNE", 2008.

    Args:
        embedded: [N, D]; identities below 1 (junk, distractors) are left out where others remain.
        num_identities: how many are drawn by lot.
        seed: of the lot and of the optimization.
    """
    rows = _chosen(embedded, num_identities, np.random.default_rng(seed))
    return colored(places(embedded.features[rows], seed=seed), embedded.pid[rows], "identity")


def places(features: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Where features [N, D] lie on the plane of t-SNE: [N, 2]."""
    import threadpoolctl  # with scikit-learn, which takes a second to import
    from sklearn.manifold import TSNE

    features = np.asarray(features, np.float32)
    features = unit_rows(features)
    perplexity = min(30.0, max((len(features) - 1) / 3, 0.5))
    tsne = TSNE(perplexity=perplexity, init="random", random_state=seed)
    # Its threads wait for each other after every small step: on a busy machine for minutes.
    with threadpoolctl.threadpool_limits(1):
        return tsne.fit_transform(features) if len(features) > 1 else np.zeros((1, 2))


def colored(where: np.ndarray, group: np.ndarray, title: str) -> Figure:
    """Points on a plane with a color and a marker for each group, gray where there is none.

    Args:
        where: [N, 2].
        group: [N] number; -1 for none.
        title: what a group is; the legend has at most `MAX_NAMED` of them.
    """
    figure, axes = _axes(6.4, 4)
    none = group == UNLABELLED
    axes.scatter(*where[none].T, s=10, color="#bbbbbb", linewidths=0)
    numbers = np.unique(group[~none])
    for number, one in enumerate(numbers):
        marker, color = MARKERS[number // 10 % len(MARKERS)], f"C{number % 10}"
        look = {"marker": marker, "color": color, "edgecolors": "white", "linewidths": 0.4}
        axes.scatter(*where[group == one].T, s=22, label=one, **look)
    axes.set(xticks=[], yticks=[])
    if 0 < len(numbers) <= MAX_NAMED:
        axes.legend(
            title=title, fontsize=7, title_fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    return figure


def sheet(lists: Sequence[Sequence[Shown]], title: str = "") -> Figure:
    """Ranked lists as rows of pictures, the query at the left.

    Args:
        lists: the query first, then its nearest gallery pictures. Lists may differ in length.
        title: above all of them.

    Raises:
        InputError: a picture cannot be read.
    """
    num_columns = max(map(len, lists))
    wide = max(len(one.keys) or 1 for shown in lists for one in shown)
    # 1.05 inches a frame, 2.1 for the picture and 0.5 for two lines below it.
    height = 2.6 * len(lists) + (0.4 if title else 0.1)
    figure = Figure(figsize=(1.05 * wide * num_columns + 0.55, height))
    top = 1 - (0.4 if title else 0.1) / height
    grid = figure.add_gridspec(
        len(lists),
        num_columns + 1,
        width_ratios=[1, 0.15, *[1] * (num_columns - 1)],
        left=0.01,
        right=0.99,
        top=top,
        bottom=0.5 / height,
        wspace=0.08,
        hspace=0.5 / 2.1,
    )
    for row, shown in enumerate(lists):
        for place, one in enumerate(shown):
            _draw(figure.add_subplot(grid[row, place if not place else place + 1]), one)
    if title:
        figure.suptitle(title, fontsize=10, x=0.01, ha="left", y=1 - 0.08 / height, va="top")
    return figure


def read_strip(keys: Sequence[str], height: int) -> Image.Image:
    """Pictures side by side, each resized to one height.

    Raises:
        InputError: a picture cannot be read.
    """
    pictures = [Image.fromarray(read_picture(key)) for key in keys]
    widths = [max(round(one.width * height / one.height), 1) for one in pictures]
    strip = Image.new("RGB", (sum(widths), height))
    for one, width, left in zip(pictures, widths, np.cumsum([0, *widths]), strict=False):
        strip.paste(one.resize((width, height)), (int(left), 0))
    return strip


def as_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as a PNG file.

    Raises:
        InputError: `path` cannot be written.
    """
    with atomic.replacing(path) as part, part.open("wb") as stream:
        figure.savefig(stream, format="png", dpi=120)


def _axes(width: float, height: float):
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    return figure, axes


def _chosen(
    embedded: EmbeddingSet, num_identities: int, generator: np.random.Generator
) -> np.ndarray:
    """Rows of a few identities drawn by lot, of each equally many at most."""
    identities = np.unique(embedded.pid)
    people = identities[identities > 0] if np.any(identities > 0) else identities
    drawn = generator.choice(people, min(num_identities, len(people)), replace=False)
    most = max(MAX_EMBEDDED // len(drawn), 1)
    rows = [generator.permutation(np.flatnonzero(embedded.pid == pid))[:most] for pid in drawn]
    return np.sort(np.concatenate(rows))


def _draw(axes, shown: Shown) -> None:
    if not shown.keys:
        axes.text(0.5, 0.5, "no file", ha="center", va="center", fontsize=8, color=PLAIN)
        axes.set(xlim=(0, 1), ylim=(0, 1))
    else:
        axes.imshow(np.asarray(read_strip(shown.keys, 256)), aspect="auto")
    color = PLAIN if shown.right is None else SAME if shown.right else DIFFERENT
    for spine in axes.spines.values():
        spine.set(color=color, linewidth=3)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(shown.caption, fontsize=8, color="#222222", labelpad=4)
