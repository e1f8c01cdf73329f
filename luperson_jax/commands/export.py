"""The work of `luperson export`: writes a network for another program, and compares."""

import argparse
import dataclasses
import pathlib

import numpy as np

from data_pipeline.datasets import image_folder
from data_pipeline.errors import InputError
from data_pipeline.read import decode, listing
from luperson_jax.commands import output
from luperson_jax.exporting import agreement, reid_folder, targets, tracing
from luperson_jax.exporting.conventions import Convention
from luperson_jax.exporting.targets import Target
from luperson_jax.serving import reid_model, user_pictures
from luperson_jax.serving.reid_model import ReidModel

NUM_PICTURES = 32


def run(options: argparse.Namespace) -> None:
    """Writes, compares and says both.

    Raises:
        InputError: a wrong source, path or option, a library that is not installed, or features
            that do not agree.
    """
    target, path = targets.TARGETS[options.to], pathlib.Path(options.out)
    _check(options, target, path)
    model = reid_model.load(
        options.source, checkpoint=options.checkpoint, statistics=options.statistics
    )
    convention = _convention(options, target, model)
    pictures = _pictures(options.pictures, model)
    found = targets.write(target, model, convention, path, pictures)
    if options.json:
        about = {"target": options.to, "input": str(convention), "filter": model.resize}
        about |= dataclasses.asdict(found)
        output.write_json(options.json, about)
    height, width = model.size
    output.say(
        f"{model.network.origin} -> {path}, for {options.to}",
        f"network  {tracing.spec_of(model)}",
        f"input    {convention}; H {height}, W {width}",
        f"resize   {targets.about_resizing(target, model)}",
        "output   features of unit length",
        f"agrees   {found}",
        *_hints(options.to, model, path),
    )


def _check(options: argparse.Namespace, target: Target, path: pathlib.Path) -> None:
    if listing.exists(path):
        raise InputError(f"{path} exists; delete it, or write to another name")
    output.check_folder(path, "--out")
    output.check_file(options.json, "--json")
    if target.suffixes:
        output.check_suffix(path, "--out", *target.suffixes)
    for name in ("input", "layout"):
        if getattr(options, name) and not target.free:
            raise InputError(f"--{name} is what {options.to} hands over, and fixed; leave it out")


def _convention(options: argparse.Namespace, target: Target, model: ReidModel) -> Convention:
    chosen = {"type": options.input, "layout": options.layout}
    given = {name: value for name, value in chosen.items() if value}
    return dataclasses.replace(target.convention(model), **given)


def _pictures(folder: str | None, model: ReidModel) -> np.ndarray:
    """Pictures in the size of the network, [B, H, W, 3] uint8."""
    if folder is None:
        return agreement.drawn_pictures(model.size)
    paths = image_folder.paths(folder)[:NUM_PICTURES]
    return np.stack(
        [decode.to_canvas(user_pictures.pixels(one), model.size, model.resize) for one in paths]
    )


def _hints(name: str, model: ReidModel, path: pathlib.Path) -> list[str]:
    """How the program takes it, where that is not plain."""
    if name != "reid":
        return []
    arguments = repr(str(path))
    if not reid_folder.name_of(tracing.spec_of(model)):
        program = str(path / reid_folder.PROGRAM)
        arguments += f", architecture=torch.jit.load({program!r})"
    return [f"load     ReIDModel.from_pretrained({arguments})"]
