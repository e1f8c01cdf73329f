"""The page of a clustering: figures, planes, and the pictures of every cluster."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from luperson_jax.clustering import grouping
from luperson_jax.clustering.dbscan import NOISE
from luperson_jax.measure import page_parts, plots
from luperson_jax.measure.plots import Shown
from luperson_jax.structs import EmbeddingSet

MAX_SHEETS = 100
"""Clusters whose pictures are shown, the largest first."""
MAX_PICTURES = 12
"""Pictures of a cluster; all of them would make a page that no browser opens."""
MAX_POINTS = 1500
"""Pictures on the planes."""
COLUMNS = ("cluster", "pictures", "cameras", "identities", "most frequent", "share of it")


def rows(embedded: EmbeddingSet, labels: np.ndarray) -> list[dict[str, int | float | None]]:
    """What is known of each cluster, the largest first.

    Args:
        embedded: N images.
        labels: [N] cluster, -1 for none.

    Returns:
        values by the names of `COLUMNS`; None where cameras or identities are unknown.
    """
    numbers, sizes = np.unique(labels[labels != NOISE], return_counts=True)
    result = []
    for number in numbers[np.argsort(-sizes, kind="stable")]:
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
    body = [
        page_parts.facts(shown),
        *_planes(embedded, labels),
        "<h2>Clusters</h2>",
        page_parts.table(COLUMNS, [[cell(one[name]) for name in COLUMNS] for one in listed]),
        *_sheets(embedded, labels, [int(one["cluster"] or 0) for one in listed]),
        "<h2>How they were made</h2>",
        page_parts.facts({**facts, "versions": page_parts.versions()}),
    ]
    return page_parts.page(title, "".join(body))


def cell(value: int | float | None) -> str:
    """A value of `rows` as a reader sees it."""
    if value is None:
        return ""
    return f"{100 * value:.0f} %" if isinstance(value, float) else str(value)


def _planes(embedded: EmbeddingSet, labels: np.ndarray) -> list[str]:
    chosen = np.random.default_rng(0).permutation(len(labels))[:MAX_POINTS]
    where = plots.places(embedded.features[chosen])
    groups = {"cluster": labels, "camera": embedded.camera, "identity": embedded.pid}
    words = (
        f"<h2>On a plane</h2><p>{len(chosen)} pictures, near where their features are similar "
        "(t-SNE). Distances between far groups mean nothing there. Gray: in no cluster, or "
        "unknown.</p>"
    )
    parts = [words]
    for name, group in groups.items():
        if np.any(group[chosen] != UNLABELLED):
            figure = plots.colored(where, group[chosen], name)
            drawn = page_parts.drawn(figure, f"Points: pictures on a plane, colored by {name}")
            parts.append(f"<h3>By {name}</h3>{drawn}")
    return parts


def _sheets(embedded: EmbeddingSet, labels: np.ndarray, numbers: Sequence[int]) -> list[str]:
    if not all(embedded.key):
        return ["<p>The embeddings do not say where the pictures lie.</p>"]
    features = embedded.features
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    centers = grouping.centers(unit, labels, max([*numbers, 0]) + 1)
    parts = [
        f"<p>Of each of the {min(len(numbers), MAX_SHEETS)} largest clusters up to {MAX_PICTURES} "
        "pictures, from the one nearest to the mean of the cluster to the farthest, with the "
        "cosine.</p>"
    ]
    try:
        for number in numbers[:MAX_SHEETS]:
            inside = np.flatnonzero(labels == number)
            nearness = unit[inside] @ centers[number]
            order = np.argsort(-nearness, kind="stable")
            head = f"<h3>Cluster {number}: {len(inside)} pictures</h3>"
            parts.append(head + _pictures(embedded, inside[order], nearness[order]))
        outliers = np.flatnonzero(labels == NOISE)
        if len(outliers):
            head = f"<h3>In no cluster: {len(outliers)} pictures</h3>"
            parts.append(head + _pictures(embedded, outliers, None))
    except InputError as error:  # embeddings outlive their pictures
        parts.append(f"<p>{page_parts.text(error)}</p>")
    return parts


def _pictures(embedded: EmbeddingSet, inside: np.ndarray, nearness: np.ndarray | None) -> str:
    """A row of pictures, spread over all of them."""
    places = np.linspace(0, len(inside) - 1, min(MAX_PICTURES, len(inside))).round().astype(int)
    shown = []
    for place in places:
        row = int(inside[place])
        words = "" if nearness is None else f"{nearness[place]:.3f}"
        shown.append(Shown(embedded.shown(row), words, None, plots.known(embedded, row)))
    return page_parts.picture_list(shown, of_query=False)
