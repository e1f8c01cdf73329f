"""The page of a clustering: figures, planes, and the pictures of every cluster."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from luperson_jax.clustering import grouping
from luperson_jax.clustering.dbscan import NOISE
from luperson_jax.lengths import unit_rows
from luperson_jax.measure import page_parts, plots
from luperson_jax.measure.plots import Shown
from luperson_jax.structs import EmbeddingSet

MAX_SHEETS = 100
"""Clusters whose pictures are shown, the largest first."""
MAX_PICTURES = 12
"""Pictures of a cluster; all of them would make a page that no browser opens."""
MAX_POINTS = 1500
"""Pictures on the planes."""
PLANE_WORDS = (
    "pictures, near where their features are similar (t-SNE). Distances between far groups mean "
    "nothing there. Gray: in no cluster, or unknown."
)
COLUMNS = ("cluster", "pictures", "cameras", "identities", "most frequent", "share of it")


def rows(embedded: EmbeddingSet, labels: np.ndarray) -> list[dict[str, int | float | None]]:
    """What is known of each cluster, the largest first.

    Args:
        embedded: N images.
        labels: [N] cluster, -1 for none.

    Returns:
        values by the names of `COLUMNS`; None where cameras or identities are unknown.
    """
    result = []
    for number in _by_size(labels):
        inside = labels == number
        cameras, pid = embedded.camera[inside], embedded.pid[inside]
        cameras, pid = (one[one != UNLABELLED] for one in (cameras, pid))
        identities, counts = np.unique(pid, return_counts=True)
        place = int(counts.argmax()) if len(counts) else -1
        values = (
            int(number),
            int(inside.sum()),
            len(np.unique(cameras)) or None,
            len(identities) or None,
            int(identities[place]) if len(counts) else None,
            float(counts[place] / len(pid)) if len(counts) else None,
        )
        result.append(dict(zip(COLUMNS, values, strict=True)))
    return result


def make(
    title: str,
    embedded: EmbeddingSet,
    labels: np.ndarray,
    figures: Mapping[str, float],
    facts: Mapping[str, object],
) -> str:
    """The page as HTML text.

    Args:
        title: of the page.
        embedded: N images; their keys name the pictures.
        labels: [N] cluster from 0, -1 for none.
        figures: of the clusters, by name.
        facts: how they were made, by name.

    Raises:
        InputError: a picture cannot be read.
    """
    listed = rows(embedded, labels)
    shown = {name: f"{value:.5g}" for name, value in figures.items()}
    drawn = np.random.default_rng(0).permutation(len(labels))[:MAX_POINTS]
    body = [
        page_parts.facts(shown),
        f"<h2>On a plane</h2><p>{len(drawn)} {PLANE_WORDS}</p>",
        *planes(embedded.take(drawn), labels[drawn]),
        "<h2>Clusters</h2>",
        page_parts.table(COLUMNS, [[cell(one[name]) for name in COLUMNS] for one in listed]),
        *_sheets(embedded, labels),
        "<h2>How they were made</h2>",
        page_parts.facts({**facts, "versions": page_parts.versions()}),
    ]
    return page_parts.page(title, "".join(body))


def cell(value: int | float | None) -> str:
    """A value of `rows` as a reader sees it."""
    if value is None:
        return ""
    return f"{100 * value:.0f} %" if isinstance(value, float) else str(value)


def planes(embedded: EmbeddingSet, labels: np.ndarray) -> list[str]:
    """Pictures on the plane of t-SNE, once colored by cluster, camera and identity each.

    Args:
        embedded: the pictures.
        labels: [N] cluster of each, -1 for none.

    Returns:
        parts of a page; what nobody knows of any picture is left out.
    """
    where = plots.places(embedded.features)
    parts = []
    for name, group in (
        ("cluster", labels),
        ("camera", embedded.camera),
        ("identity", embedded.pid),
    ):
        if np.any(group != UNLABELLED):
            figure = plots.colored(where, group, name)
            drawn = page_parts.drawn(figure, f"Points: pictures on a plane, colored by {name}")
            parts.append(f"<h4>By {name}</h4>{drawn}")
    return parts


class Ranked(NamedTuple):
    """Up to `MAX_PICTURES` pictures of a cluster, from the one nearest to its mean to the farthest.

    Attributes:
        number: of the cluster, -1 for those in none.
        rows: of the pictures.
        nearness: cosine of each with the mean; NaN for those in none.
    """

    number: int
    rows: np.ndarray
    nearness: np.ndarray


def ranked(features: np.ndarray, labels: np.ndarray, most: int) -> list[Ranked]:
    """Pictures of the largest clusters, and last those in none.

    Args:
        features: [N, D].
        labels: [N] cluster, -1 for none.
        most: clusters.
    """
    result = []
    for number in _by_size(labels)[:most]:
        inside = np.flatnonzero(labels == number)
        some = features[inside]
        unit = unit_rows(some)
        nearness = unit @ grouping.centers(unit, np.zeros(len(unit), np.int64), 1)[0]
        order = _spread(np.argsort(-nearness, kind="stable"))
        result.append(Ranked(int(number), inside[order], nearness[order]))
    outliers = _spread(np.flatnonzero(labels == NOISE))
    if len(outliers):
        result.append(Ranked(NOISE, outliers, np.full(len(outliers), np.nan)))
    return result


def row_of(embedded: EmbeddingSet, found: Ranked, size: int) -> str:
    """Pictures of one cluster of so many, below its name.

    Raises:
        InputError: a picture cannot be read.
    """
    name = "In no cluster" if found.number == NOISE else f"Cluster {found.number}"
    shown = []
    for row, nearness in zip(found.rows, found.nearness, strict=True):
        words = "" if np.isnan(nearness) else f"{nearness:.3f}"
        about = plots.known(embedded, int(row))
        shown.append(Shown(embedded.shown(int(row)), words, None, about))
    pictures = page_parts.picture_list(shown, of_query=False)
    return f"<h4>{name}: {size} pictures</h4>{pictures}"


def _sheets(embedded: EmbeddingSet, labels: np.ndarray) -> list[str]:
    if not all(embedded.key):
        return ["<p>The embeddings do not say where the pictures lie.</p>"]
    parts = [
        f"<p>Of each of the largest clusters, {MAX_SHEETS} at most, up to {MAX_PICTURES} pictures, "
        "from the one nearest to the mean of the cluster to the farthest, with the cosine.</p>"
    ]
    try:
        for found in ranked(embedded.features, labels, MAX_SHEETS):
            parts.append(row_of(embedded, found, int(np.sum(labels == found.number))))
    except InputError as error:  # embeddings outlive their pictures
        parts.append(f"<p>{page_parts.text(error)}</p>")
    return parts


def _by_size(labels: np.ndarray) -> np.ndarray:
    """The numbers of the clusters, the largest first."""
    numbers, sizes = np.unique(labels[labels != NOISE], return_counts=True)
    return numbers[np.argsort(-sizes, kind="stable")]


def _spread(rows: np.ndarray) -> np.ndarray:
    """A few of some rows, from the first to the last."""
    places = np.linspace(0, len(rows) - 1, min(MAX_PICTURES, len(rows))).round().astype(int)
    return rows[places]
