"""A model's tensors into the parameters and statistics of a run."""

import re
from typing import Any

from data_pipeline.errors import InputError, shorten
from luperson_jax import trees
from luperson_jax.structs import Tree
from luperson_jax.weights.model import CLASSIFIER, Model
from luperson_jax.weights.rules import NETWORK

_PLACE = re.compile(r"(?:extra/(?:\w+_)?)?(params|stats)/(?:backbone|b[123])/(.+)")
_ORIGINAL = {"params": NETWORK.params, "stats": NETWORK.stats}
_NON_LOCAL = "/backbone/NL_"
_MEMORIES = ("extra/centers",)
"""What a re-ID task may keep beside the network; no model has it."""


def take_backbone(target: Tree, model: Model) -> tuple[Tree, list[str]]:
    """Puts the trunk of a model under the head of a run.

    Args:
        target: `{"params": ..., "extra": ...}` of the run that starts. Its trunk lies at
            `params/backbone` and `extra/stats/backbone`; a copy of the network, such as a key
            encoder, at `extra/<name>_params` and `extra/<name>_stats`, gets the same. Each branch
            of an MGN, `b1` to `b3`, gets the end of the trunk.
        model: the one to start from; its `backbone` counts.

    Returns:
        The filled target, and lines for the log: how much was filled, and what stays random.
        Non-local blocks that the model lacks stay as they are: they start as the identity.

    Raises:
        InputError: a tensor of the trunk is missing or has another shape, or the model has
            non-local blocks and the target none. Nothing is ever left at its random value in
            silence.
    """
    model = model.backbone()
    wanted = trees.by_name(target)
    matches = {path: match for path in wanted if (match := _PLACE.fullmatch(path))}
    sources = {
        path: f"{_ORIGINAL[match[1]]}/backbone/{match[2]}" for path, match in matches.items()
    }
    new = [path for path in sources if _NON_LOCAL in path]
    if model.network.non_local and not new:
        raise InputError(
            f"the weights are a {model.network}, which needs a network with them; set "
            "model.non_local to True"
        )
    if not model.network.non_local:
        sources = {path: source for path, source in sources.items() if path not in new}
    filled, lines = _fill(wanted, sources, model, "backbone tensors")
    if any(path.startswith(f"{NETWORK.params}/b1/") for path in sources):
        lines.append("its end fills each of the branches b1, b2 and b3")
    if new and not model.network.non_local:
        lines.append(f"non-local blocks start as the identity ({len(new)} tensors)")
    return trees.nest(filled), lines


def take_all(target: Tree, model: Model) -> tuple[Tree, list[str]]:
    """Puts every tensor of a model in its place in a run; see `take_backbone`.

    A model without classifier leaves the run's at its random value, and the lines say so, as they
    do of the centers of a center loss.
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
        skipped = source.startswith(CLASSIFIER) and not model.network.num_classes
        skipped |= source in _MEMORIES
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
        skip = any(CLASSIFIER in line for line in problems)
        hint = "; --skip-classifier leaves the classifier of other identities out" if skip else ""
        raise InputError(
            f"only {len(sources) - len(problems)} of {len(sources)} {what} can be filled from "
            f"a {model.network}:\n  " + "\n  ".join(shorten(problems)) + "\n"
            f"the groups model and task of the configuration must describe that network{hint}"
        )
    lines = [f"{len(sources) - len(random)} of {len(sources)} {what} filled"]
    return filled, lines + shorten([f"stays random: {path}" for path in random])
