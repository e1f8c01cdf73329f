"""A model's tensors into the parameters and statistics of a run."""

from collections.abc import Collection
from typing import Any

from data_pipeline.errors import InputError, shorten
from luperson_jax import trees
from luperson_jax.models import TRUNK_PARTS, NetworkSpec
from luperson_jax.structs import Tree
from luperson_jax.weights.model import CLASSIFIER, Model, shapes_of
from luperson_jax.weights.rules import NETWORK

_ORIGINAL = {"params": NETWORK.params, "stats": NETWORK.stats}
_NON_LOCAL = "/backbone/NL_"


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
    sources = {path: source for path in wanted if (source := _in_a_backbone(path))}
    new = [path for path in sources if _NON_LOCAL in path]
    if model.spec.non_local and not new:
        raise InputError(
            f"the weights are a {model.spec}, which needs a network with them; set "
            "model.non_local to True"
        )
    if not model.spec.non_local:
        sources = {path: source for path, source in sources.items() if path not in new}
    filled, lines = _fill(wanted, sources, model, "backbone tensors")
    if any(path.startswith(f"{NETWORK.params}/b1/") for path in sources):
        lines.append("its end fills each of the branches b1, b2 and b3")
    if new and not model.spec.non_local:
        lines.append(f"non-local blocks start as the identity ({len(new)} tensors)")
    return trees.nest(filled), lines


def take_all(target: Tree, spec: NetworkSpec, model: Model) -> tuple[Tree, list[str]]:
    """Puts every tensor of a model in its place in a run whose network is `spec`; see
    `take_backbone`.

    A model without classifier leaves the run's at its random value, and the lines say so, as they
    do of what a method keeps beside its network, such as the centers of a center loss.

    Raises:
        InputError: as `take_backbone`, or the network has no place for a tensor of the model.
    """
    wanted = trees.by_name(target)
    beside = wanted.keys() - shapes_of(spec)
    filled, lines = _fill(wanted, {path: path for path in wanted}, model, "tensors", beside)
    unused = [path for path in model.tensors if path not in wanted]
    if unused:
        raise InputError(
            f"the network of the configuration has no place for {len(unused)} tensors of the model "
            f"({model.spec}):\n  " + "\n  ".join(shorten(unused)) + "\n"
            "its groups model and task must describe that network"
        )
    return trees.nest(filled), lines


def _in_a_backbone(path: str) -> str | None:
    """The path in a lone backbone of what a run keeps of its trunk, or of a copy of it; None for
    all else."""
    # `params`, or behind `extra` `stats`, `key_params` and the like; then the part of the network.
    tree, _, name = path.removeprefix("extra/").partition("/")
    part, _, inside = name.partition("/")
    place = _ORIGINAL.get(tree.rpartition("_")[2])
    return f"{place}/backbone/{inside}" if place and part in TRUNK_PARTS else None


def _fill(
    wanted: dict[str, Any],
    sources: dict[str, str],
    model: Model,
    what: str,
    beside: Collection[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    filled, random, problems = dict(wanted), [], []
    for path, source in sources.items():
        array = model.tensors.get(source)
        skipped = source.startswith(CLASSIFIER) and not model.spec.num_classes
        skipped |= source in beside
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
        skip = any(start in line for line in problems for start in CLASSIFIER)
        hint = "; --skip-classifier leaves the classifier of other identities out" if skip else ""
        raise InputError(
            f"only {len(sources) - len(problems)} of {len(sources)} {what} can be filled from "
            f"a {model.spec}:\n  " + "\n  ".join(shorten(problems)) + "\n"
            f"the groups model and task of the configuration must describe that network{hint}"
        )
    lines = [f"{len(sources) - len(random)} of {len(sources)} {what} filled"]
    return filled, lines + shorten([f"stays random: {path}" for path in random])
