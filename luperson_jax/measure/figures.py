"""The figures of a ranking: as a table, and as plain numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.table

from data_pipeline import terminal
from luperson_jax.retrieval import protocols
from luperson_jax.structs import RankingReport

Figures = RankingReport | Mapping[str, float]
"""A ranking, or its figures alone as `ranking_values` gives them."""


SHARES = ("mAP", "mINP", "rank1", "rank5", "rank10", "rank20", "knn", "mAP_trapezoid")
"""Figures that are shares, 0..1, shown in percent."""


def is_share(name: str) -> bool:
    """Whether a figure, `market1501/mAP` or so, is a share."""
    return name.rpartition("/")[2] in SHARES


def ranking_table(rows: Mapping[str, Figures], title: str) -> rich.table.Table:
    """Results as a table in percent, a named row each."""
    table = rich.table.Table(title=terminal.visible_name(title))
    table.add_column("")
    for column in ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP"):
        table.add_column(f"{column}, %", justify="right")
    table.add_column("queries", justify="right")
    for name, report in rows.items():
        if isinstance(report, RankingReport):
            values = ranking_values(report)
            counted = f"{report.num_valid_queries} of {report.num_queries}"
        else:
            values, counted = report, ""
        shares = [f"{100 * values[key]:.2f}" for key in ("mAP", "rank1", "rank5", "rank10", "mINP")]
        table.add_row(terminal.visible_name(name), *shares, counted)
    return table


def ranking_values(report: RankingReport | protocols.Result) -> dict[str, float]:
    """The figures of a ranking as plain numbers, 0..1, for JSON and curves."""
    ranks = {f"rank{k}": float(report.cmc[min(k, len(report.cmc)) - 1]) for k in (1, 5, 10, 20)}
    return {"mAP": report.mAP, "mINP": report.mINP, **ranks}


def all_ranking_values(report: RankingReport) -> dict[str, Any]:
    """`ranking_values`, the whole CMC and the numbers of queries, for JSON."""
    return {
        **ranking_values(report),
        "cmc": [float(value) for value in report.cmc],
        "num_queries": report.num_queries,
        "num_valid_queries": report.num_valid_queries,
    }


def distance_decimals(distances: Sequence[float], least: int = 3) -> int:
    """How many decimals tell distances apart: two digits of the smallest that is none, at most 6.

    Features of a network that was only pre-trained may all lie within 0.001 of each other. What is
    below 5e-7, float32's rounding, counts as none.
    """
    told = [one for one in distances if one >= 5e-7]
    return max(least, min(6, 1 - int(np.floor(np.log10(min(told)))))) if told else least


def distance_words(distance: float, decimals: int | None = None) -> str:
    """A distance as people read it, never minus zero; by default with its own decimals."""
    return f"{distance:z.{distance_decimals([distance]) if decimals is None else decimals}f}"
