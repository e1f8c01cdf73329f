"""The work of `luperson calibrate`: finds the threshold for a wanted share of false accepts."""

import argparse
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from luperson_jax.commands import output
from luperson_jax.measure import embeddings
from luperson_jax.retrieval import calibration
from luperson_jax.retrieval.calibration import Calibration, Rate
from luperson_jax.structs import EmbeddingSet


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
    left_out = sorted({UNLABELLED, *left_out})
    rows = np.flatnonzero(~np.isin(one.pid, left_out))
    if not len(rows):
        raise InputError(
            f"every identity of {path} is among those to leave out: {left_out}; give others with "
            "--leave-out"
        )
    if len(rows) == len(one.pid):
        return one
    num = len(one.pid) - len(rows)
    output.say(f"left aside: {num} rows of {path} with identity {' or '.join(map(str, left_out))}")
    return one.take(rows)


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
