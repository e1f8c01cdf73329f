"""The work of `luperson estimate`: mAP and Rank-1 without identities."""

import argparse
import dataclasses
from typing import Any, NamedTuple

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from luperson_jax.commands import output
from luperson_jax.measure import embeddings, estimation, picture_traces, tracklet_labels
from luperson_jax.retrieval import inputs, label_free, ranking
from luperson_jax.structs import EmbeddingSet

TITLES = {"mAP": "mAP", "rank1": "Rank-1"}


class Looked(NamedTuple):
    """What was looked at.

    Attributes:
        kind: a key of `estimation.NAMES`.
        pictures: with cameras.
        traces: of success.
        words: how many there are of what.
    """

    kind: str
    pictures: EmbeddingSet
    traces: dict[str, float]
    words: str


def run(options: argparse.Namespace) -> None:
    """Estimates, prints and writes.

    Raises:
        InputError: wrong files, or too few cameras, tracklets or pictures.
    """
    output.check_file(options.json, "--json")
    if options.pseudo_labels and options.tracklet:
        raise InputError("--pseudo-labels is for pictures without tracklets; leave out --tracklet")
    embedded = _read(options)
    looked = (_pictures if options.pseudo_labels else _tracklets)(embedded, options)
    fit = estimation.shipped(looked.kind)
    values = estimation.vector(looked.traces)
    found, strange = fit.estimate(values, options.confidence), fit.strange(values)
    truth = _truth(looked.pictures) if options.truth else {}
    output.say(looked.words)
    for name, title in TITLES.items():
        value, (low, high) = found[name]
        beside = f"; measured {100 * truth[name]:.1f} %" if truth else ""
        output.say(
            f"{title:8}{100 * value:5.1f} %   {100 * options.confidence:g} % interval "
            f"{100 * low:.1f} to {100 * high:.1f} %{beside}"
        )
    output.say(*_limits(looked.kind, strange, fit.worlds))
    if options.json:
        figures: dict[str, Any] = {
            name: {"value": one.value, "interval": one.interval} for name, one in found.items()
        }
        figures |= {"truth": truth or None, "from": looked.kind, "traces": looked.traces}
        figures |= {"outside": strange, "confidence": options.confidence, "worlds": fit.worlds}
        output.write_json(options.json, figures)


def _read(options: argparse.Namespace) -> EmbeddingSet:
    embedded = embeddings.join(
        [embeddings.read(path, labelled=options.truth) for path in options.embeddings]
    )
    inputs.check_features("the", embedded.features)
    kept = np.flatnonzero(embedded.pid != UNLABELLED)
    if len(kept) and len(kept) < len(embedded.pid):
        output.say(f"left aside: {len(embedded.pid) - len(kept)} rows with identity {UNLABELLED}")
        embedded = embedded.take(kept)
    return embedded


def _tracklets(embedded: EmbeddingSet, options: argparse.Namespace) -> Looked:
    labelled = tracklet_labels.of_tracklets(embedded, options.tracklet, options.camera)
    rows = label_free.thin(labelled.pid)
    if len(rows) < len(labelled.pid):
        output.say(f"of each tracklet at most {label_free.MOST_FRAMES} pictures, evenly taken")
        embedded, labelled = embedded.take(rows), labelled.take(rows)
    tracklets = label_free.gather(labelled.features, labelled.pid, labelled.camera)
    num, cameras = len(tracklets.camera), len(np.unique(tracklets.camera))
    words = f"{len(tracklets.owner)} pictures in {num} tracklets before {cameras} cameras"
    pictures = dataclasses.replace(embedded, camera=labelled.camera)
    return Looked("tracklets", pictures, label_free.statistics(tracklets), words)


def _pictures(embedded: EmbeddingSet, options: argparse.Namespace) -> Looked:
    camera = tracklet_labels.of_cameras(embedded, options.camera)
    traces = picture_traces.statistics(embedded.features, camera)
    words = (
        f"{len(camera)} pictures before {len(np.unique(camera))} cameras; groups of similar ones "
        "in place of people"
    )
    return Looked("pictures", dataclasses.replace(embedded, camera=camera), traces, words)


def _truth(pictures: EmbeddingSet) -> dict[str, float]:
    report = ranking.rank(pictures, pictures)
    if not report.num_valid_queries:
        raise InputError("nobody is seen by two cameras; there is no truth to compare with")
    return {"mAP": report.mAP, "rank1": float(report.cmc[0])}


def _limits(kind: str, strange: list[str], worlds: int) -> list[str]:
    lines = [
        f"Learned from {worlds} drawn worlds: as good for your cameras as these stand for them."
    ]
    if kind == "pictures":
        lines.append(
            "No labels and no tracklets were used: a network that takes two people for one before "
            "all cameras alike may look better here than it is. Have some pictures labelled before "
            "anything depends on it."
        )
    if strange:
        lines.append(
            f"Outside of what drawn worlds have: {', '.join(strange)}. Do not rely on the interval."
        )
    return lines
