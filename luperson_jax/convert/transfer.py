"""A model's tensors into the parameters and statistics of a run."""

import re
from typing import Any

from data_pipeline.errors import InputError, shorten
from luperson_jax import trees
from luperson_jax.convert.model import CLASSIFIER, Model
from luperson_jax.structs import Tree

_BACKBONE = re.compile(r"(?:params|extra/(?:\w+_)?(?:params|stats))/backbone/")
_COPY = re.compile(r"extra/\w+_(params|stats)/")
_ORIGINAL = {"params": "params/", "stats": "extra/stats/"}


def take_backbone(target: Tree, model: Model) -> tuple[Tree, list[str]]:
    """Puts the trunk of a model under the head of a run.

    Args:
        target: `{"params": ..., "extra": ...}` of the run that starts. Its trunk lies at
            `params/backbone` and `extra/stats/backbone`; a copy of the network, such as a key
            encoder, at `extra/<name>_params` and `extra/<name>_stats`, gets the same.
        model: the one to start from.

    Returns:
        The filled target, and lines for the log: how much was filled, and what stays random.

    Raises:
        InputError: a tensor of the trunk is missing or has another shape. Nothing is ever left
            at its random value in silence.
    """
    wanted = trees.by_name(target)
    sources = {
        path: _COPY.sub(lambda match: _ORIGINAL[match[1]], path)
        for path in wanted
        if _BACKBONE.match(path)
    }
    filled, lines = _fill(wanted, sources, model, "backbone tensors")
    return trees.nest(filled), lines


def take_all(target: Tree, model: Model) -> tuple[Tree, list[str]]:
    """Puts every tensor of a model in its place in a run; see `take_backbone`.

    A model without classifier leaves the run's at its random value, and the lines say so.
    """
    wanted = trees.by_name(target)
    filled, lines = _fill(wanted, {path: path for path in wanted}, model, "tensors")
    unused = [path for path in model.tensors if path not in wanted]
    if unused:
        raise InputError(
            f"the network of the configuration has no place for {len(unused)} tensors of the model "
            f"({model.network}):\n  " + "\n  ".join(shorten(unused)) + "\n"
            "its groups model and task must describe that network"
        )
    return trees.nest(filled), lines


def _fill(
    wanted: dict[str, Any], sources: dict[str, str], model: Model, what: str
) -> tuple[dict[str, Any], list[str]]:
    filled, random, problems = dict(wanted), [], []
    for path, source in sources.items():
        array = model.tensors.get(source)
        skipped = source == CLASSIFIER and not model.network.num_classes
        if array is None and (skipped or source in model.absent):
            random.append(path)
        elif array is None:
            problems.append(f"missing      {path} {tuple(wanted[path].shape)}")
        elif array.shape != tuple(wanted[path].shape):
            expected = tuple(wanted[path].shape)
            problems.append(f"other shape  {path}: {array.shape}, expected {expected}")
        else:
            filled[path] = array
    if problems:
        skip = CLASSIFIER in sources and any(CLASSIFIER in line for line in problems)
        hint = "; --skip-classifier leaves the classifier of other identities out" if skip else ""
        raise InputError(
            f"only {len(sources) - len(problems)} of {len(sources)} {what} can be filled from "
            f"a {model.network}:\n  " + "\n  ".join(shorten(problems)) + "\n"
            f"the groups model and task of the configuration must describe that network{hint}"
        )
    lines = [f"{len(sources) - len(random)} of {len(sources)} {what} filled"]
    return filled, lines + shorten([f"stays random: {path}" for path in random])
