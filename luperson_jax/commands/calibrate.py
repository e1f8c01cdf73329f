"""`luperson calibrate`: up to which distance two pictures are to count as the same person.

The threshold is the largest distance at which no more than the wanted share of pairs of different
people is accepted. The intervals come from drawing the people again, because pairs of one person
are not independent. For other people and cameras the threshold is as good as these stand for them.
"""

import argparse
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax import embeddings
from luperson_jax.commands import output, ranked
from luperson_jax.retrieval import calibration, verification
from luperson_jax.retrieval.calibration import Calibration, Rate
from luperson_jax.structs import EmbeddingSet


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--embeddings", help=".npz or folder with identities: all pairs within this one set"
    )
    parser.add_argument("--query", help="in place of --embeddings, together with --gallery")
    parser.add_argument("--gallery", action="append", help="may be repeated")
    parser.add_argument(
        "--far", type=float, default=0.001, help="wanted share of false accepts, 0 to 1"
    )
    parser.add_argument(
        "--pairs",
        choices=verification.RULES,
        default="market",
        help="; ".join(f"{name}: {words}" for name, words in verification.RULES.items()),
    )
    parser.add_argument(
        "--leave-out",
        type=int,
        nargs="*",
        default=[-1],
        metavar="PID",
        help="identities that stand for many people or none: -1 junk; in Market-1501 also 0",
    )
    parser.add_argument("--confidence", type=float, default=0.95, help="of the intervals")
    parser.add_argument("--json", metavar="OUT", help="write the figures")
    ranked.add_metric_option(parser)


def run(options: argparse.Namespace) -> None:
    """Calibrates, prints and writes.

    Raises:
        InputError: wrong files, arrays or settings, or no pair of either kind.
    """
    output.check_folder(options.json, "--json")
    if bool(options.embeddings) == bool(options.query or options.gallery) or (
        bool(options.query) != bool(options.gallery)
    ):
        raise InputError("give either --embeddings, or --query and --gallery")
    paths = [options.embeddings or options.query, *(options.gallery or [])]
    first, *rest = (_read(path, options.leave_out) for path in paths)
    found = calibration.calibrate(
        first,
        rest or None,
        false_accepts=options.far,
        metric=options.metric,
        rule=options.pairs,
        confidence=options.confidence,
    )
    output.say(*_lines(found, options))
    if options.json:
        output.write_json(options.json, _values(found, options))


def _read(path: str, left_out: list[int]) -> EmbeddingSet:
    one = embeddings.read(path, labelled=True)
    rows = np.flatnonzero(~np.isin(one.pid, left_out))
    if not len(rows):
        raise InputError(
            f"every identity of {path} is among those to leave out: {left_out}; give others with "
            "--leave-out"
        )
    return one if len(rows) == len(one.pid) else one.take(rows)


def _lines(found: Calibration, options: argparse.Namespace) -> list[str]:
    roc, threshold = found.roc, f"{options.metric} distance <= {found.distance:.6f}"
    if options.metric == "cosine":
        threshold += f" (similarity >= {1 - found.distance:.6f})"
    if found.distance == -np.inf:
        threshold = "none: the nearest pair of all shows different people"
    lines = [
        f"pairs          {roc.num_same} of the same person, {roc.num_different} of different "
        f"people, {found.num_identities} identities",
        f"AUC            {roc.auc:.6f}",
        f"same person    {threshold}",
        f"false accepts  {_rate(found.false_accepts, found)}",
        f"true accepts   {_rate(found.true_accepts, found)}",
    ]
    if found.wanted * roc.num_different < 10:
        lines.append(
            f"A share of {found.wanted:g} is fewer than 10 of these pairs of different people: "
            "this threshold is hardly measured. Give more people, or a larger --far."
        )
    return lines


def _rate(rate: Rate, found: Calibration) -> str:
    low, high = rate.interval
    return (
        f"{100 * rate.value:.4f} %, {rate.accepted} of {rate.pairs}; {100 * found.confidence:g} % "
        f"interval {100 * low:.4f} to {100 * high:.4f} %"
    )


def _values(found: Calibration, options: argparse.Namespace) -> dict[str, Any]:
    measurable = np.isfinite(found.distance)
    distance = found.distance if measurable else None
    values: dict[str, Any] = {"wanted_false_accepts": found.wanted, "distance": distance}
    if options.metric == "cosine":
        values["similarity"] = 1 - found.distance if measurable else None
    for name in ("false_accepts", "true_accepts"):
        rate = getattr(found, name)
        values[name] = {
            "value": rate.value,
            "accepted": rate.accepted,
            "pairs": rate.pairs,
            "interval_by_identities": rate.interval,
            "interval_by_pairs": rate.by_pairs,
        }
    values |= {"auc": found.roc.auc, "auc_error": found.roc.auc_error}
    values |= {"num_identities": found.num_identities, "confidence": found.confidence}
    names = ("metric", "pairs", "leave_out", "embeddings", "query", "gallery")
    values["settings"] = {name: getattr(options, name) for name in names}
    return values
