"""The work of `luperson convert`: reads weights, writes them, and says all that it did."""

import argparse
import dataclasses
import pathlib

import numpy as np

from data_pipeline import terminal
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from luperson_jax import config, tasks, weights
from luperson_jax.augment import recipes
from luperson_jax.commands import new_workdir
from luperson_jax.weights import files, momentum, translate
from luperson_jax.weights.model import FACTS, Model

TORCH_SUFFIXES = (".pth", ".pt", ".safetensors")
MODEL_SUFFIX = ".npz"


def run(options: argparse.Namespace) -> None:
    """Converts; raises InputError, with nothing written, where that is not possible in full."""
    source, target = pathlib.Path(options.source), pathlib.Path(options.target)
    to_workdir = target.suffix not in (MODEL_SUFFIX, *TORCH_SUFFIXES)
    _check(options, target, to_workdir)
    model, lines = _open(source, options)
    if to_workdir:
        recipe = config.resolve(
            config.read(options.config, options.set, options=tasks.OPTIONS), tasks.OPTIONS
        )
        lines += [f"workdir      {line}" for line in new_workdir.write(model, recipe, target)]
    elif target.suffix == MODEL_SUFFIX:
        weights.save(model, target)
    else:
        lines += _export(model, target, options.to)
    terminal.say(f"{terminal.visible_name(source)} -> {terminal.visible_name(target)}", *lines)


def _check(options: argparse.Namespace, target: pathlib.Path, to_workdir: bool) -> None:
    """Refuses options that would do nothing, and targets that cannot be written."""
    if to_workdir and not options.config:
        raise InputError(
            f"OUT is {target}: expected {MODEL_SUFFIX}, {', '.join(TORCH_SUFFIXES)}, or the folder "
            "of a run together with --config FILE"
        )
    if not to_workdir and (options.config or options.set):
        raise InputError(f"--config and --set are for workdirs, and OUT is the file {target}")
    if options.to != translate.AUTO and target.suffix not in TORCH_SUFFIXES:
        raise InputError(f"--to is for {', '.join(TORCH_SUFFIXES)}, and OUT is {target}")
    if not to_workdir and listing.exists(target):
        raise InputError(f"{target} exists; delete it, or write to another name")
    if not to_workdir and not listing.is_folder(target.absolute().parent):
        raise InputError(f"there is no folder {target.parent} for OUT {target}; make it first")


def _open(path: pathlib.Path, options: argparse.Namespace) -> tuple[Model, list[str]]:
    names = ("family", "only_backbone", "skip_classifier", "allow_partial")
    model = weights.load(path, **{name: getattr(options, name) for name in names})
    if options.statistics:
        model = dataclasses.replace(model, pixels=recipes.statistics(options.statistics))
    if options.size:
        model = dataclasses.replace(model, size=_size(options.size))
    return model, [*model.lines(), *([_round_trip(model)] if model.source else [])]


def _round_trip(model: Model) -> str:
    """Writes the model back under the file's names and compares every bit."""
    back = translate.named(model, translate.family_named(model.family))
    same, shared = translate.num_identical(back, model.source)
    if same != shared:
        raise AssertionError(f"{shared - same} of {shared} tensors changed on the way")
    return f"round trip   {same} of {shared} tensors bit-identical"


def _export(model: Model, target: pathlib.Path, name: str) -> list[str]:
    family, tensors = translate.to_torch(model, name)
    beside = {key: value for key, value in model.facts.items() if key in FACTS}
    if model.momentum and family.network == model.spec.kind:
        beside["optimizer"] = momentum.write(family, tensors, model.momentum, model.sgd)
    files.write(
        target,
        tensors,
        wrapper=family.wrapper,
        prefix=family.prefix,
        beside=beside if family.wrapper else {},
    )
    same, _ = translate.num_identical(tensors, files.read(target).tensors)
    num = sum(np.issubdtype(array.dtype, np.floating) for array in tensors.values())
    if same != num:
        raise AssertionError(f"{target} does not hold what was written")
    lines = [
        f"written      {family.title}: {num} tensors, read back and bit-identical, and "
        f"{len(tensors) - num} counters"
    ]
    if "optimizer" in beside and target.suffix not in (".pth", ".pt"):
        lines.append(f"left out     momentum of SGD, which {target.suffix} has no place for")
    return lines


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise InputError(f"--size is {text!r}; expected HEIGHTxWIDTH, such as 256x128")
    return int(height), int(width)
