"""What `luperson metrics` and `luperson evaluate` share: options, ranking, what is written."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from luperson_jax.commands import output
from luperson_jax.measure import embeddings
from luperson_jax.measure.figures import all_ranking_values, ranking_table, ranking_values
from luperson_jax.retrieval import inputs, protocols, ranking
from luperson_jax.retrieval.labels import Columns, make_labels
from luperson_jax.structs import EmbeddingSet, RankingReport

if TYPE_CHECKING:
    from luperson_jax.retrieval.rerank import Reranked

PLAIN, RERANKED = "distance", "re-ranked"
"""Rows of the table."""

DIRECTIONS = ("query_to_gallery", "gallery_to_query")
"""Results of a protocol that exchanges both sides, in the JSON."""


def check_outputs(options: argparse.Namespace) -> None:
    """Raises InputError where the options do not go together or `publish` could not write."""
    if not _follows_market(options):
        for option in ("rerank", "report"):
            if getattr(options, option):
                raise InputError(
                    f"--{option} goes with the protocol of Market-1501 alone, and --protocol is "
                    f"{options.protocol}; leave one of them out"
                )
    output.check_file(options.json, "--json")
    output.check_file(options.report, "--report")
    output.check_suffix(options.report, "--report", ".html")


def _follows_market(options: argparse.Namespace) -> bool:
    return protocols.PROTOCOLS[options.protocol] == protocols.MARKET


def rank_and_publish(
    title: str,
    query: EmbeddingSet,
    galleries: Sequence[EmbeddingSet],
    options: argparse.Namespace,
    facts: Mapping[str, Any],
) -> None:
    """Ranks, prints the figures and writes what is asked for. Rows of nobody known (identity -1)
    are left aside on both sides, and their number is said.

    Args:
        title: above the figures.
        query, galleries: what is ranked.
        options: of the command.
        facts: more for the JSON.

    Raises:
        InputError: sets that cannot be compared, or no query with a match.
    """
    given = query.features, [one.features for one in galleries]
    query, galleries, left_aside = without_nobody(query, galleries)
    if any(left_aside.values()) or options.expand:
        inputs.check_pair(*given, options.metric)  # a message counts the rows that were given
    facts = {**facts, "left_aside": left_aside}
    if options.expand:
        query, galleries = _expanded(query, embeddings.join(galleries), options.expand)
    if _follows_market(options):
        publish(title, query, galleries, rank(query, galleries, options), options, facts)
    else:
        _by_protocol(title, query, embeddings.join(galleries), options, facts)


def without_nobody(
    query: EmbeddingSet, galleries: Sequence[EmbeddingSet]
) -> tuple[EmbeddingSet, list[EmbeddingSet], dict[str, int]]:
    """The rows of identities, and how many others were left aside; says so where there are any.

    Raises:
        InputError: no row is left on a side.
    """
    parts = [one.known() for one in galleries]
    known = query.known()
    gallery = sum(len(one.pid) for one in galleries), sum(len(one.pid) for one in parts)
    if not (len(known.pid) and gallery[1]):
        side = "gallery" if len(known.pid) else "query"
        raise InputError(
            f"every identity of the {side} is {UNLABELLED}, which stands for nobody known; save "
            "the identities with the features"
        )
    left = {"query": len(query.pid) - len(known.pid), "gallery": gallery[0] - gallery[1]}
    if any(left.values()):
        output.say(
            f"left aside: {left['query']} rows of the query and {left['gallery']} of the gallery "
            f"with identity {UNLABELLED}, which is nobody's"
        )
    return known, [one for one in parts if len(one.pid)], left


def _by_protocol(
    title: str,
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    options: argparse.Namespace,
    facts: Mapping[str, Any],
) -> None:
    protocol = protocols.PROTOCOLS[options.protocol]
    result = protocols.evaluate(
        query, gallery, protocol, metric=options.metric, max_rank=options.max_rank
    )
    values: dict[str, Any] = {**ranking_values(result)}
    averaged = f", mean of {result.num_averaged}" if result.num_averaged > 1 else ""
    averaged = ", mean of both directions" if result.directions else averaged
    output.say(f"{title}, protocol {options.protocol}{averaged}", _shares(values))
    ways = map(ranking_values, result.directions)
    directions = dict(zip(DIRECTIONS[: len(result.directions)], ways, strict=True))
    output.say(*(f"{name.replace('_', ' ')}: {_shares(one)}" for name, one in directions.items()))
    if options.json:
        values |= {"cmc": result.cmc.tolist(), "cmc_std": result.cmc_std.tolist()}
        values |= {"mAP_std": result.mAP_std, "mINP_std": result.mINP_std}
        values |= {"num_averaged": result.num_averaged, **facts, "settings": _settings(options)}
        values |= {"directions": directions} if directions else {}
        output.write_json(options.json, values)
        output.say(f"written: {options.json}")


def _shares(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {100 * value:.2f} %" for name, value in values.items())


def rank(
    query: EmbeddingSet, galleries: Sequence[EmbeddingSet], options: argparse.Namespace
) -> dict[str, RankingReport]:
    """The ranking by distance and, with --rerank, the re-ranked one after it.

    Raises:
        InputError: sets that cannot be compared, or no query with a match.
    """
    metric, max_rank = options.metric, options.max_rank
    reports = {PLAIN: ranking.rank(query, galleries, metric=metric, max_rank=max_rank)}
    if options.rerank:
        labels = make_labels(query, Columns.of(galleries))
        rows = reranked(query, galleries, options).rows
        reports[RERANKED] = ranking.rank_rows(rows, labels, max_rank=max_rank)
    return reports


def _expanded(
    query: EmbeddingSet, gallery: EmbeddingSet, num: int
) -> tuple[EmbeddingSet, list[EmbeddingSet]]:
    from luperson_jax.retrieval import expansion  # late: it imports JAX

    features = expansion.average_both(query.features, gallery.features, k=num)
    sides = zip((query, gallery), features, strict=True)
    one, other = (dataclasses.replace(side, features=means) for side, means in sides)
    return one, [other]


def reranked(
    query: EmbeddingSet, galleries: Sequence[EmbeddingSet], options: argparse.Namespace
) -> "Reranked":
    """Re-ranked distances with the settings of the options."""
    from luperson_jax.retrieval.rerank import rerank  # with scipy.sparse

    features = [one.features for one in galleries]
    return rerank(
        query.features,
        features[0] if len(features) == 1 else np.concatenate(features),
        k1=options.k1,
        k2=options.k2,
        lambda_value=options.lambda_value,
        metric=options.metric,
    )


def publish(
    title: str,
    query: EmbeddingSet,
    galleries: Sequence[EmbeddingSet],
    reports: Mapping[str, RankingReport],
    options: argparse.Namespace,
    facts: Mapping[str, Any],
) -> None:
    """Prints the table, and writes JSON and the page where they are asked for.

    In the JSON the figures of the re-ranked ranking, where there is one, stand at the top, and
    those of the plain distance under `without_rerank`.

    Args:
        title: above the table.
        query, galleries: what was ranked.
        reports: as `rank` gives them.
        options: of the command.
        facts: more for the JSON.
    """
    output.say(ranking_table(reports, title))
    if options.json:
        *_, final = reports.values()
        values = {**all_ranking_values(final), **facts, "settings": _settings(options)}
        if RERANKED in reports:
            values["without_rerank"] = all_ranking_values(reports[PLAIN])
        output.write_json(options.json, values)
    if options.report:
        from luperson_jax.measure import html_report  # late: matplotlib takes a second

        page = html_report.make_of_sets(
            title,
            query,
            embeddings.join(galleries),
            reports,
            metric=options.metric,
            facts={**facts, **_settings(options)},
        )
        output.write_text(options.report, page)
    written = [path for path in (options.json, options.report) if path]
    if written:
        output.say(f"written: {', '.join(written)}")


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    again = {"k1": options.k1, "k2": options.k2, "lambda": options.lambda_value}
    return {
        "metric": options.metric,
        "protocol": options.protocol,
        "expand": options.expand,
        "rerank": again if options.rerank else False,
        "max_rank": options.max_rank,
    }
