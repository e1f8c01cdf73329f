"""The work of `luperson pack-model`: a model, its figures and its card in one folder."""

import argparse
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from data_pipeline.errors import InputError
from data_pipeline.read import json_files, listing
from luperson_jax import weights
from luperson_jax.augment import recipes
from luperson_jax.commands import output
from luperson_jax.serving.decision import DecisionRule
from luperson_jax.weights import packed

CARD = """\
---
library_name: luperson_jax
license: {license}
tags:
- person-re-identification
- jax
---
# {name}

{network}. Features of person crops, compared by cosine distance; input {height}x{width} pixels.

    import luperson_jax as lp

    model = lp.load("{name}")
    model.compare("a.jpg", "b.jpg").distance

## Training data

{training_data}

## Intended use

{intended_use}

## Limits

{limits}

Pictures of people are personal data in many countries. Features of a person are, too.
{measured}"""
SHOWN = {"mAP": "mAP", "rank1": "Rank-1", "rank5": "Rank-5", "rank10": "Rank-10", "mINP": "mINP"}

TITLES = "| share of false accepts | distance | promise | people of the calibration |"


def run(options: argparse.Namespace) -> None:
    """Reads, writes and says what was written.

    Raises:
        InputError: no name of the folder or two, a wrong source, or files of figures that cannot
            be read.
    """
    target = _target(options)
    best = options.checkpoint == "best"
    model = weights.load(options.source, best=best, skip_classifier=True)
    if options.statistics:
        model = dataclasses.replace(model, pixels=recipes.statistics(options.statistics))
    metrics = _read(options.metrics) if options.metrics else None
    thresholds = [_read(path) for path in options.thresholds]
    for path, one in zip(options.thresholds, thresholds, strict=True):
        DecisionRule.of_values(one, path)
    card = _card(options, target.name, model, metrics or {}, thresholds)
    packed.write(target, model, card, metrics=metrics, thresholds=thresholds)
    names = ", ".join(sorted(listing.names(target)))
    output.say(f"{target}: {names}", f"a {model.spec}, {model.num_parameters:,} parameters")


def _target(options: argparse.Namespace) -> pathlib.Path:
    given = [one for one in (options.target, options.out) if one is not None]
    if len(given) != 1 or not given[0]:
        raise InputError(
            f"{len(given)} names of a folder to be made, one is needed: `luperson pack-model "
            f"{options.source} OUT`, or --out OUT"
        )
    return pathlib.Path(given[0])


def _read(path: str) -> dict[str, Any]:
    return json_files.read(
        pathlib.Path(path), "expected the JSON of `luperson evaluate` or `luperson calibrate`"
    )


def _card(
    options: argparse.Namespace,
    name: str,
    model: weights.Model,
    metrics: Mapping[str, Any],
    thresholds: Sequence[Mapping[str, Any]],
) -> str:
    lines = []
    shares = [
        f"| {title} | {100 * metrics[name]:.2f} % |"
        for name, title in SHOWN.items()
        if isinstance(metrics.get(name), float)
    ]
    if shares:
        lines += ["", "## Measured", "", "| | |", "|---|---|", *shares]
    if thresholds:
        lines += ["", "## Thresholds", "", TITLES, "|---|---|---|---|"]
        lines += [
            f"| {one.get('wanted_false_accepts', '')} | {one['distance']:.6f} | "
            f"{one.get('promise', '')} | {one.get('num_identities', '')} |"
            for one in thresholds
        ]
    words = {name: getattr(options, name) for name in ("training_data", "intended_use", "limits")}
    return CARD.format(
        name=options.name or name,
        license=options.license,
        network=str(model.spec)[:1].upper() + str(model.spec)[1:],
        height=model.size[0],
        width=model.size[1],
        measured="\n".join([*lines, ""]) if lines else "",
        **words,
    )
