"""A model as a folder for others: tensors, network, pre-processing, figures, thresholds, a card.

model.safetensors   the tensors by path, params/backbone/conv1/kernel
config.json         format, and the network as `NetworkSpec` has it
preprocess.json     size, filter, color order, mean and deviation of the pixels
metrics.json        what was measured, where it was
thresholds.json     distances for wanted shares of false accepts, where they are known
README.md           the card
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.numpy

from data_pipeline.errors import InputError
from data_pipeline.read import atomic, json_files, listing
from luperson_jax.augment.recipes import Statistics
from luperson_jax.models import NetworkSpec
from luperson_jax.weights import files
from luperson_jax.weights.model import Model, shapes_of

FORMAT = "luperson_jax hub 1"
TENSORS, NETWORK, PREPROCESS = "model.safetensors", "config.json", "preprocess.json"
METRICS, THRESHOLDS, CARD = "metrics.json", "thresholds.json", "README.md"
FILES = (TENSORS, NETWORK, PREPROCESS, METRICS, THRESHOLDS, CARD)
DAMAGED = "pack the model again, or fetch it anew"


def is_packed(folder: str | pathlib.Path) -> bool:
    """Whether a folder looks like one that `write` made."""
    return all(listing.is_file(pathlib.Path(folder, name)) for name in (TENSORS, NETWORK))


def write(
    folder: pathlib.Path,
    model: Model,
    card: str,
    *,
    metrics: Mapping[str, Any] | None = None,
    thresholds: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes a model without its classifier; all of the folder or nothing.

    Args:
        folder: to be made.
        model: a whole one that knows its pixel statistics.
        card: text of the card, in Markdown.
        metrics: figures by name.
        thresholds: what `luperson calibrate --json` writes, one for each wanted rate.

    Raises:
        InputError: the folder exists, or the model lacks tensors or pixel statistics.
    """
    if listing.exists(folder):
        raise InputError(f"{folder} exists; delete it, or write to another name")
    if model.absent:
        raise InputError(
            f"the model lacks {len(model.absent)} tensors, and only a whole one is packed"
        )
    if model.pixels is None:
        raise InputError(
            "the mean and deviation of the pixels that the weights expect are not known; give "
            "--statistics"
        )
    mean, std = model.pixels
    model = model.without_classifier()
    own = {path: model.tensors[path] for path in shapes_of(model.spec)}
    texts = {
        NETWORK: {"format": FORMAT, "network": dataclasses.asdict(model.spec)},
        PREPROCESS: {
            "size": list(model.size),
            "filter": model.resize,
            "color": "RGB",
            "range": [0, 1],
            "mean": list(mean),
            "std": list(std),
        },
        **({METRICS: dict(metrics)} if metrics else {}),
        **({THRESHOLDS: [dict(one) for one in thresholds]} if thresholds else {}),
    }
    with atomic.making(folder) as part:
        # Not `ascontiguousarray`, which gives a number an axis.
        arrays = {path: np.require(array, requirements="C") for path, array in own.items()}
        safetensors.numpy.save_file(arrays, part / TENSORS, {"format": FORMAT})
        for name, value in texts.items():
            (part / name).write_text(json.dumps(value, indent=2) + "\n")
        (part / CARD).write_text(card)


def read(folder: pathlib.Path) -> Model:
    """The model of a packed folder.

    Raises:
        InputError: a file is missing or damaged, of another version, or tensors do not fit the
            network.
    """
    about, given = (json_files.read(folder / name, DAMAGED) for name in (NETWORK, PREPROCESS))
    if about.get("format") != FORMAT:
        raise InputError(
            f"{folder / NETWORK} is of {str(about.get('format'))[:80]!r}; expected {FORMAT!r}"
        )
    try:
        spec = NetworkSpec(**about["network"])
        height, width = map(int, given["size"])
        red, green, blue = map(float, given["mean"])
        of_red, of_green, of_blue = map(float, given["std"])
        resize = str(given["filter"])
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{folder} describes no model ({error}); {DAMAGED}") from error
    tensors = files.read(folder / TENSORS).tensors
    expected = shapes_of(spec)
    found = {path: array.shape for path, array in tensors.items()}
    if found != expected:
        what = next(one for one in {**expected, **found} if found.get(one) != expected.get(one))
        raise InputError(
            f"{folder / TENSORS} does not hold the network of {NETWORK} ({spec}): {what}; {DAMAGED}"
        )
    pixels = Statistics((red, green, blue), (of_red, of_green, of_blue))
    kept = {path: tensors[path] for path in expected}
    return Model(kept, spec, "luperson_jax", pixels, (height, width), resize)


def read_thresholds(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The thresholds of a packed folder; none where it has none.

    Raises:
        InputError: they are damaged.
    """
    path = folder / THRESHOLDS
    return json_files.read(path, DAMAGED, list) if listing.exists(path) else []
