"""The work of `luperson estimate`: mAP and Rank-1 from tracklets, without identities."""

import argparse
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from luperson_jax.commands import output
from luperson_jax.measure import embeddings, estimation, tracklet_labels
from luperson_jax.retrieval import inputs, label_free, ranking

TITLES = {"mAP": "mAP", "rank1": "Rank-1"}


def run(options: argparse.Namespace) -> None:
    """Estimates, prints and writes.

    Raises:
        InputError: wrong files, or too few cameras or tracklets.
    """
    output.check_folder(options.json, "--json")
    embedded = embeddings.join(
        [embeddings.read(path, labelled=options.truth) for path in options.embeddings]
    )
    inputs.check_features("the", embedded.features)
    kept = np.flatnonzero(embedded.pid != UNLABELLED)
    if len(kept) and len(kept) < len(embedded.pid):
        output.say(f"left aside: {len(embedded.pid) - len(kept)} rows with identity {UNLABELLED}")
        embedded = embedded.take(kept)
    labelled = tracklet_labels.of_tracklets(embedded, options.tracklet, options.camera)
    rows = label_free.thin(labelled.pid)
    if len(rows) < len(labelled.pid):
        output.say(f"of each tracklet at most {label_free.MOST_FRAMES} pictures, evenly taken")
        embedded, labelled = embedded.take(rows), labelled.take(rows)
    tracklets = label_free.gather(labelled.features, labelled.pid, labelled.camera)
    traces = label_free.statistics(tracklets)
    fit = estimation.shipped()
    found = fit.estimate(label_free.vector(traces), options.confidence)
    strange = fit.strange(label_free.vector(traces))
    truth: dict[str, float] = {}
    if options.truth:
        report = ranking.rank(embedded, embedded)
        if not report.num_valid_queries:
            raise InputError("nobody is seen by two cameras; there is no truth to compare with")
        truth = {"mAP": report.mAP, "rank1": float(report.cmc[0])}
    num, cameras = len(tracklets.camera), len(np.unique(tracklets.camera))
    output.say(f"{len(tracklets.owner)} pictures in {num} tracklets before {cameras} cameras")
    for name, title in TITLES.items():
        value, (low, high) = found[name]
        beside = f"; measured {100 * truth[name]:.1f} %" if truth else ""
        output.say(
            f"{title:8}{100 * value:5.1f} %   {100 * options.confidence:g} % interval "
            f"{100 * low:.1f} to {100 * high:.1f} %{beside}"
        )
    output.say(*_limits(strange, fit.worlds))
    if options.json:
        values: dict[str, Any] = {
            name: {"value": one.value, "interval": one.interval} for name, one in found.items()
        }
        values |= {"truth": truth or None, "traces": traces, "outside": strange}
        values |= {"confidence": options.confidence, "worlds": fit.worlds}
        output.write_json(options.json, values)


def _limits(strange: list[str], worlds: int) -> list[str]:
    lines = [
        f"Learned from {worlds} drawn worlds: as good for your cameras as these stand for them."
    ]
    if strange:
        lines.append(
            f"Outside of what drawn worlds have: {', '.join(strange)}. Do not rely on the interval."
        )
    return lines
