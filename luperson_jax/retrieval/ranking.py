"""Exact ranking of a gallery by distance, and the measures of the Market-1501 protocol.

Zheng et al., "Scalable Person Re-identification: A Benchmark", 2015 (mAP, CMC, the removal rule);
Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", 2021 (mINP).

A query is compared with every gallery image except those of its own identity from its own camera.
Nearer is better, and a wrong image that is as near as a match ranks before it. Distances are
compared exactly (`grid_rows`): a report depends on the features alone, neither on tiles, threads
and devices nor on the order of the gallery. Features are read from the host in blocks, so that
memory-mapped ones may be larger than memory, and several devices share the gallery.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from luperson_jax.retrieval import average_precision, inputs, match_ranks
from luperson_jax.retrieval.execution import ANYHOW, Execution
from luperson_jax.retrieval.labels import MARKET_RULE, Columns, Labels, RemovalRule, make_labels
from luperson_jax.retrieval.rows import HostRows, KnownDistances, cut, read_rows
from luperson_jax.structs import EmbeddingSet, RankingReport


class TopMatches(NamedTuple):
    """The nearest gallery images of every query, nearest first.

    Attributes:
        rows: [Q, k] int32 row of the gallery; -1 past the last image that may be shown.
        correct: [Q, k] bool, the identity is known and that of the query.
        distance: [Q, k] float32; inf where the row is -1.
    """

    rows: np.ndarray
    correct: np.ndarray
    distance: np.ndarray


def rank(
    query: EmbeddingSet,
    gallery: EmbeddingSet | Sequence[EmbeddingSet],
    *,
    metric: str = "cosine",
    max_rank: int = 50,
    rule: RemovalRule = MARKET_RULE,
    execution: Execution = ANYHOW,
) -> RankingReport:
    """Ranks the gallery for every query and reports mAP, mINP and CMC.

    A query without a match among the images that are not removed is left out of the averages. So is
    a query of nobody known (identity -1); a gallery image of nobody known is junk, which no query
    sees, unless `rule.junk` says otherwise.

    Args:
        query: the Q queries; features not necessarily normalized, perhaps memory-mapped.
        gallery: the N gallery images, or several sets that are ranked as if joined in this order.
        metric: "cosine" (1 - cosine similarity) or "euclidean".
        max_rank: length of the CMC; may exceed N.
        rule: gallery images that a query does not see.
        execution: tiles and devices.

    Returns:
        The report, its numbers between 0 and 1.

    Raises:
        InputError: empty, misshapen or non-finite input, an unknown metric or removal, or no query
            with a match.
    """
    galleries = [gallery] if isinstance(gallery, EmbeddingSet) else list(gallery)
    inputs.check_embeddings(query, galleries, metric)
    labels = make_labels(query, Columns.of(galleries), rule)
    _check(labels, max_rank)
    sides = HostRows(query.features), HostRows([one.features for one in galleries])
    ranks = match_ranks.ranks_of_features(*sides, labels, metric, execution)
    return average_precision.make_report(labels.offsets, ranks, max_rank=max_rank)


def rank_rows(
    distances: KnownDistances,
    labels: Labels,
    *,
    max_rank: int = 50,
) -> RankingReport:
    """`rank` for distances that a function knows, such as re-ranked ones.

    Args:
        distances: rows of the query set, [t] -> their distances to the whole gallery, [t, N],
            compared as float32: a wrong image at the same distance ranks before a match. Called
            once for every query that has a match, in any order.
        labels: of both sides, see `labels.make_labels`.
        max_rank: length of the CMC.

    Returns:
        The report.

    Raises:
        InputError: as `rank`.
    """
    _check(labels, max_rank)
    ranks = match_ranks.ranks_of_rows(distances, labels)
    return average_precision.make_report(labels.offsets, ranks, max_rank=max_rank)


def rank_distances(distance: np.ndarray, labels: Labels, *, max_rank: int = 50) -> RankingReport:
    """`rank_rows` of a matrix.

    Args:
        distance: [Q, N], compared as float32.
        labels: as `rank_rows`.
        max_rank: length of the CMC.

    Returns:
        The report.

    Raises:
        InputError: as `rank`.
    """
    distance = np.asarray(distance)
    expected = (len(labels.query_group), len(labels.gallery_group))
    if distance.shape != expected or 0 in expected:
        raise InputError(
            f"the distances have shape {distance.shape}; expected [queries, gallery images], "
            f"{expected}, both at least 1"
        )
    return rank_rows(lambda rows: distance[rows], labels, max_rank=max_rank)


def _check(labels: Labels, max_rank: int) -> None:
    average_precision.check_max_rank(max_rank)
    average_precision.check_any_match(labels.num_matches)


def top_matches(
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    *,
    k: int,
    metric: str = "cosine",
    distances: KnownDistances | None = None,
    rule: RemovalRule = MARKET_RULE,
    execution: Execution = ANYHOW,
) -> TopMatches:
    """The k nearest gallery images of every query, for ranked lists.

    Args:
        query: the Q queries.
        gallery: the N gallery images.
        k: length of the lists, >= 1; may exceed N.
        metric: "cosine" or "euclidean".
        distances: as in `rank_rows`; the features do not matter then.
        rule: as `rank`; where nobody in the gallery is known, none of it is junk by default.
        execution: as `rank`.

    Returns:
        See `TopMatches`; the order is that of `rank`, but that equal distances of float32 go by
        gallery row.

    Raises:
        InputError: as `rank`, but queries without a match are welcome.
    """
    if k < 1:
        raise InputError(f"a ranked list of length {k} was asked for; expected at least 1")
    inputs.check_embeddings(query, [gallery], metric)
    from luperson_jax.retrieval import nearest_lists, tiles  # late: they import JAX

    labels, grid = make_labels(query, gallery, rule), tiles.grid_of(execution)
    blocks = cut(np.arange(len(query.pid)), grid.shape.queries)
    if execution.on_host:
        nearest = nearest_lists.HostLists(len(query.pid), k, labels)
    else:
        nearest = nearest_lists.DeviceLists(len(query.pid), k, grid, labels)
    if distances is None:
        sides = HostRows(query.features), HostRows(gallery.features)
        walk = tiles.walk(*sides, blocks, metric, grid)
    else:
        known, num_gallery = distances, len(gallery.pid)
        walk = (
            tile
            for number, rows in enumerate(blocks)
            for tile in tiles.tiles_of_matrix(
                read_rows(known, rows, num_gallery), number, rows, grid
            )
        )
    for tile in tiles.one_ahead(walk) if execution.on_host else walk:
        nearest.add(tile)
    rows, distance = nearest.finish()
    same = (gallery.pid[rows] == query.pid[:, None]) & (query.pid[:, None] != UNLABELLED)
    return TopMatches(rows, (rows >= 0) & same, distance)
