"""What `luperson metrics` and `luperson evaluate` share: options, ranking, what is written."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luperson_jax import embeddings, html_report
from luperson_jax.commands import output
from luperson_jax.report import ranking_table, ranking_values
from luperson_jax.retrieval import inputs, ranking
from luperson_jax.retrieval.rerank import Reranked, rerank
from luperson_jax.structs import EmbeddingSet, RankingReport

PLAIN, RERANKED = "distance", "re-ranked"
"""Rows of the table."""


def add_metric_option(parser: argparse.ArgumentParser, default: str | None = "cosine") -> None:
    """`--metric`."""
    parser.add_argument("--metric", choices=inputs.METRICS, default=default, help="distance")


def add_rerank_options(parser: argparse.ArgumentParser) -> None:
    """`--rerank` and its settings."""
    parser.add_argument(
        "--rerank", action="store_true", help="rank by k-reciprocal neighborhoods too"
    )
    parser.add_argument("--k1", type=int, default=20, help="neighbors that may be reciprocal")
    parser.add_argument("--k2", type=int, default=6, help="neighbors that are averaged")
    parser.add_argument(
        "--lambda",
        dest="lambda_value",
        metavar="LAMBDA",
        type=float,
        default=0.3,
        help="share of the original distance in the re-ranked one",
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """`--max-rank`, `--json` and `--report`."""
    parser.add_argument("--max-rank", type=int, default=50, help="length of the CMC")
    parser.add_argument("--json", metavar="OUT", help="write the figures")
    parser.add_argument("--report", metavar="OUT.html", help="write a page with curves and lists")


def check_outputs(options: argparse.Namespace) -> None:
    """Raises InputError where `publish` could not write: before the work, not after it."""
    output.check_folder(options.json, "--json")
    output.check_folder(options.report, "--report")
    output.check_suffix(options.report, "--report", ".html")


def rank(
    query: EmbeddingSet, galleries: Sequence[EmbeddingSet], options: argparse.Namespace
) -> dict[str, RankingReport]:
    """The ranking by distance and, with --rerank, the re-ranked one after it.

    Raises:
        InputError: sets that cannot be compared, or no query with a match.
    """
    metric, max_rank = options.metric, options.max_rank
    reports = {PLAIN: ranking.rank_embeddings(query, galleries, metric=metric, max_rank=max_rank)}
    if options.rerank:
        pid, camera = (
            np.concatenate([getattr(one, name) for one in galleries]) for name in ("pid", "camera")
        )
        rows = reranked(query, galleries, options).rows
        reports[RERANKED] = ranking.rank_rows(
            rows, query.pid, query.camera, pid, camera, max_rank=max_rank
        )
    return reports


def reranked(
    query: EmbeddingSet, galleries: Sequence[EmbeddingSet], options: argparse.Namespace
) -> Reranked:
    """Re-ranked distances with the settings of the options."""
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
        values = {**_figures(final), **facts, "settings": _settings(options)}
        if RERANKED in reports:
            values["without_rerank"] = _figures(reports[PLAIN])
        output.write_json(options.json, values)
    if options.report:
        page = html_report.make_of_sets(
            title, query, embeddings.join(galleries), reports, metric=options.metric
        )
        output.write_text(options.report, page)
    written = [path for path in (options.json, options.report) if path]
    if written:
        output.say(f"written: {', '.join(written)}")


def _figures(report: RankingReport) -> dict[str, Any]:
    return {
        **ranking_values(report),
        "cmc": [float(value) for value in report.cmc],
        "num_queries": report.num_queries,
        "num_valid_queries": report.num_valid_queries,
    }


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    again = {"k1": options.k1, "k2": options.k2, "lambda": options.lambda_value}
    return {
        "metric": options.metric,
        "rerank": again if options.rerank else False,
        "max_rank": options.max_rank,
    }
