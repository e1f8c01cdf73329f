"""The argument of the fine-tuning configurations: `FILE.py:depth=101,init=nl,split=id,ratio=0.1`.

What initial weights ask of a recipe (pixel statistics, an extra BatchNorm) is a table of
LUPerson's fast-reid; it stands here once, and configurations apply it.

BoT, AGW and SBS exist twice: in LUPerson's copy of FastReID ("fork"), made in October 2020, and in
FastReID itself ("upstream", as of 2024). `recipe` says which; each has its own values.
"""

import dataclasses
import difflib
import re
from collections.abc import Mapping
from typing import Any, get_type_hints

from ml_collections import ConfigDict

from data_pipeline.errors import InputError, suggest


@dataclasses.dataclass(frozen=True)
class Weights:
    """What initial weights expect.

    Attributes:
        statistics: name of the mean and deviation of the pixels.
        extra_bn: whether LUPerson puts a BatchNorm on the feature map: for all unsupervised ones.
        published: name of the file that they are published in; `{depth}` stands in it.
        expected: name of the statistics that they were trained with.
    """

    statistics: str
    extra_bn: bool
    published: str = ""
    expected: str = ""


WEIGHTS = {
    # MoCo on LUPerson, PNL on LUPerson-NL, supervised, MoCo
    "lup": Weights("lup_finetune", True, "lup_moco_r{depth}.pth", "lup"),
    "nl": Weights("lmdb_200_20", True, "lupws_r{depth}.pth", "lmdb_200_20"),
    "imagenet": Weights("imagenet", False, "resnet{depth}.pth", "imagenet"),
    "imagenet_moco": Weights("imagenet", True, "moco_v2_800ep_pretrain.pth.tar", "imagenet"),
    "scratch": Weights("imagenet", False),
}
"""By the word that `init` takes."""

DEPTHS = (18, 34, 50, 101, 152)
"""Of the ResNets."""

SPLITS = {"": "", "id": "ids", "im": "images"}
"""LUPerson's words for its small-scale and few-shot protocols, and those of `data.subset`."""


RECIPES = {"fork": "lup", "upstream": "imagenet"}
"""Whose values a configuration has, and the weights that it starts from unless told otherwise."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What may stand behind the colon.

    Attributes:
        depth: of the ResNet.
        init: initial weights, a key of `WEIGHTS`; empty: those of the recipe.
        split: "id" for few identities (small-scale), "im" for few images (few-shot).
        ratio: share that the split keeps.
        repeat: how often each image stands in an epoch; LUPerson advises 2 or 3 for few images.
        recipe: "fork" for LUPerson's copy of FastReID, "upstream" for FastReID itself.
    """

    depth: int = 50
    init: str = ""
    split: str = ""
    ratio: float = 1.0
    repeat: int = 1
    recipe: str = "fork"


def parse(argument: str) -> Arguments:
    """The arguments that a text such as "depth=101,init=nl" gives; the rest keep their defaults.

    Raises:
        InputError: unknown name, wrong value.
    """
    kinds = get_type_hints(Arguments)
    values = {}
    for part in filter(None, (part.strip() for part in argument.split(","))):
        name, equals, text = part.partition("=")
        if name not in kinds or not equals:
            raise InputError(
                f"argument {part!r}; expected {', '.join(f'{one}=...' for one in kinds)}"
                f"{suggest(name, kinds) if name not in kinds else ''}"
            )
        try:
            values[name] = kinds[name](text)
        except ValueError as error:
            raise InputError(f"argument {part!r}: expected a {kinds[name].__name__}") from error
    arguments = Arguments(**values)
    choices = (("recipe", RECIPES), ("init", {"": None, **WEIGHTS}), ("split", SPLITS))
    for name, known in choices:
        if (given := getattr(arguments, name)) not in known:
            words = ", ".join(filter(None, known))
            near = difflib.get_close_matches(given, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"argument {name}={given}; expected {words}{hint}")
    if arguments.depth not in DEPTHS:
        words = ", ".join(map(str, DEPTHS))
        raise InputError(f"argument depth={arguments.depth}; expected {words}")
    return arguments


def apply(
    config: ConfigDict, argument: str, upstream: Mapping[str, Any] | None = None
) -> ConfigDict:
    """Sets recipe, depth, initial weights and part of the data in a configuration; returns it.

    The weights are looked for at weights/INIT_rDEPTH.npz, where `luperson convert` may have put
    them; `train.init_from` names any other place. LUPerson's files switch AutoAugment off for
    unsupervised weights, and put the extra BatchNorm before the head; FastReID has none.

    Args:
        config: the recipe of LUPerson's copy.
        argument: what stands behind the colon.
        upstream: by dotted path, the settings that differ in FastReID's own recipe; None where
            there is none.

    Raises:
        InputError: see `parse`; recipe=upstream where there is none.
    """
    arguments = parse(argument)
    is_fork = arguments.recipe == "fork"
    if not is_fork and upstream is None:
        raise InputError(
            "argument recipe=upstream: this network is LUPerson's own; only BoT, AGW and SBS have "
            "FastReID's values"
        )
    init = arguments.init or RECIPES[arguments.recipe]
    weights = WEIGHTS[init]
    place = _place(init, arguments.depth)
    chosen = {} if is_fork else dict(upstream or {})
    if is_fork and weights.extra_bn:
        chosen["augment.recipe"] = "finetune"
    chosen |= {
        "model.arch": f"resnet{arguments.depth}",
        "task.extra_bn": weights.extra_bn and is_fork,
        "augment.statistics": weights.statistics,
        "data.subset": SPLITS[arguments.split],
        "data.ratio": arguments.ratio,
        "data.repeat": arguments.repeat,
        "train.init_from": "" if init == "scratch" else place,
    }
    config.update_from_flattened_dict(chosen)
    return config


def how_to_get(place: str) -> str:
    """How the file of initial weights at a place comes there; ends a message."""
    scratch = (
        "an argument of the configuration, FILE.py:init=scratch, or train.init_from= starts from "
        "random weights"
    )
    match = re.fullmatch(r"weights/(\w+)_r(\d+)\.npz", place)
    if match is None or not (weights := WEIGHTS.get(match[1])) or not weights.published:
        return f"give the workdir of a run or a file of weights; {scratch}"
    published = weights.published.format(depth=match[2])
    return (
        f"`luperson convert {published} {place} --statistics {weights.expected}` makes it "
        "of the published file, after `mkdir -p weights`; train.init_from names any other place; "
        f"{scratch}"
    )


def _place(init: str, depth: int) -> str:
    return f"weights/{init}_r{depth}.npz"
