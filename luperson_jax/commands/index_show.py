"""The work of `luperson index-show`: what an index holds."""

import argparse
from typing import Any

import numpy as np

from luperson_jax.commands import network, output
from luperson_jax.serving import decision
from luperson_jax.serving.camera_names import UNKNOWN
from luperson_jax.serving.decision import DecisionRule
from luperson_jax.serving.gallery_index import Index
from luperson_jax.serving.reid_model import ReidModel
from luperson_jax.weights import packed


def run(options: argparse.Namespace) -> None:
    """Reads and says.

    Raises:
        InputError: no index, a damaged one, or a network that did not make it.
    """
    output.check_file(options.json, "--json")
    model, rules = None, []
    if options.workdir or options.weights:
        model = ReidModel(network.open_chosen(options))
    index = Index.open(options.index, model)
    if options.weights and packed.is_packed(options.weights):
        rules = decision.all_of(options.weights)
    values = _values(index, rules)
    output.say(f"{options.index}: {len(index)} pictures, {index.dimensions} numbers each")
    output.say(*_lines(values, fits=model is not None))
    if options.json:
        output.write_json(options.json, values)


def _values(index: Index, rules: list[DecisionRule]) -> dict[str, Any]:
    cameras, counts = np.unique(index.columns.camera, return_counts=True)
    of_cameras = dict(zip(cameras.tolist(), counts.tolist(), strict=True))
    unknown = of_cameras.pop(UNKNOWN, 0)
    known = index.columns.time[~np.isnat(index.columns.time)].astype("datetime64[us]")
    return {
        "pictures": len(index),
        "dimensions": index.dimensions,
        "made_with": index.made_with,
        "made_by": index.made_by,
        "cameras": {index.cameras.name(one): count for one, count in of_cameras.items()},
        "without_camera": unknown,
        "first": known.min().item().isoformat(" ") if len(known) else None,
        "last": known.max().item().isoformat(" ") if len(known) else None,
        "without_time": len(index) - len(known),
        "thresholds": [
            {
                "false_accepts": rule.wanted,
                "distance": rule.band[0],
                "reject_distance": rule.band[1],
                "pairs_of_cameras": len(rule.of_cameras),
            }
            for rule in rules
        ],
    }


def _lines(values: dict[str, Any], *, fits: bool) -> list[str]:
    made_with = values["made_with"] or "a network whose name is not kept"
    lines = [
        f"network      {made_with}{', the one that is given' if fits else ''}",
        f"weights      {values['made_by']}",
        *(f"camera {name:<5} {count} pictures" for name, count in values["cameras"].items()),
    ]
    if values["without_camera"]:
        lines.append(f"no camera    {values['without_camera']} pictures")
    if values["first"]:
        lines.append(f"taken        {values['first']} to {values['last']}")
    if values["without_time"]:
        lines.append(f"no moment    {values['without_time']} pictures")
    for one in values["thresholds"]:
        share = one["false_accepts"]
        words = f"threshold    distance {one['distance']:.6f}"
        words += "" if share is None else f" for a share of {share:g} false accepts"
        pairs = one["pairs_of_cameras"]
        lines.append(words + (f", and {pairs} of two cameras" if pairs else ""))
    return lines
