"""The arguments of the fine-tuning configurations: `FILE.py:data=duke,depth=101,init=nl`.

What initial weights ask of a recipe (pixel statistics, an extra BatchNorm) is a table of
LUPerson's fast-reid; it stands here once, and configurations apply it.

BoT, AGW and SBS exist twice: in LUPerson's copy of FastReID ("fork"), made in October 2020, and in
FastReID itself ("upstream", as of 2024). `recipe` says which; each has its own values.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal

from ml_collections import ConfigDict

from data_pipeline.errors import InputError
from luperson_jax import arguments


@dataclasses.dataclass(frozen=True)
class InitialWeights:
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
    "lup": InitialWeights("lup_finetune", True, "lup_moco_r{depth}.pth", "lup"),
    "nl": InitialWeights("lmdb_200_20", True, "lupws_r{depth}.pth", "lmdb_200_20"),
    "imagenet": InitialWeights("imagenet", False, "resnet{depth}.pth", "imagenet"),
    "imagenet_moco": InitialWeights("imagenet", True, "moco_v2_800ep_pretrain.pth.tar", "imagenet"),
    "imagenet_ibn": InitialWeights("imagenet", False, "resnet{depth}_ibn_a.pth.tar", "imagenet"),
    "scratch": InitialWeights("imagenet", False),
}
"""By the word that `init` takes."""

DATA = {
    "market1501": "market1501",
    "duke": "dukemtmc",
    "msmt17": "msmt17",
    "cuhk03": "cuhk03_np_labeled",
}
"""The data set that a word of `data` stands for."""

SPLITS = {"": "", "id": "ids", "im": "images"}
"""LUPerson's words for its small-scale and few-shot protocols, and those of `data.subset`."""

RECIPES = {"fork": "lup", "upstream": "imagenet"}
"""Whose values a configuration has, and the weights that it starts from unless told otherwise."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What may stand behind the colon.

    Attributes:
        data: the data set that is trained on and evaluated.
        depth: of the ResNet.
        init: initial weights; empty: those of the recipe.
        split: "id" for few identities (small-scale), "im" for few images (few-shot).
        ratio: share that the split keeps, 0 to 1.
        repeat: how often each image stands in an epoch; LUPerson advises 2 or 3 for few images.
        recipe: "fork" for LUPerson's copy of FastReID, "upstream" for FastReID itself.
    """

    data: Literal["market1501", "duke", "msmt17", "cuhk03"] = "market1501"
    depth: Literal[18, 34, 50, 101, 152] = 50
    init: Literal["", "lup", "nl", "imagenet", "imagenet_moco", "scratch"] = ""
    split: Literal["", "id", "im"] = ""
    ratio: float = 1.0
    repeat: int = 1
    recipe: Literal["fork", "upstream"] = "fork"


def apply(config: ConfigDict, text: str, upstream: Mapping[str, Any] | None = None) -> ConfigDict:
    """Sets data set, depth, initial weights and recipe in a configuration; returns it.

    The weights are looked for at weights/INIT_rDEPTH.npz, where `luperson convert` may have put
    them; `train.init_from` names any other place. LUPerson's files switch AutoAugment off for
    unsupervised weights, and put the extra BatchNorm before the head; FastReID has none.

    Args:
        config: the recipe of LUPerson's copy.
        text: what stands behind the colon.
        upstream: by dotted path, the settings that differ in FastReID's own recipe; None where
            there is none.

    Raises:
        InputError: see `arguments.parse`; recipe=upstream where there is none.
    """
    given = arguments.parse(text, Arguments)
    is_fork = given.recipe == "fork"
    if not is_fork and upstream is None:
        raise InputError(
            "argument recipe=upstream: this network is LUPerson's own; only BoT, AGW and SBS have "
            "FastReID's values"
        )
    init = given.init or RECIPES[given.recipe]
    weights = WEIGHTS[init]
    place = _place(init, given.depth)
    chosen = {} if is_fork else dict(upstream or {})
    if is_fork and weights.extra_bn:
        chosen["augment.recipe"] = "finetune"
    chosen |= {
        "data.dataset": DATA[given.data],
        "eval.dataset": DATA[given.data],
        "model.arch": f"resnet{given.depth}",
        "task.extra_bn": weights.extra_bn and is_fork,
        "augment.statistics": weights.statistics,
        "data.subset": SPLITS[given.split],
        "data.ratio": given.ratio,
        "data.repeat": given.repeat,
        "train.init_from": "" if init == "scratch" else place,
    }
    config.update_from_flattened_dict(chosen)
    return config


@dataclasses.dataclass(frozen=True)
class ClusteringArguments:
    """What may stand behind the colon of a method that clusters.

    Attributes:
        data: the data set that is trained on without its identities, and evaluated.
        depth: of the ResNet.
        ibn: IBN-a in its first three stages.
        pooling: "gem" learns the exponent; empty: that of the method.
        init: initial weights.
    """

    data: Literal[
        "market1501",
        "msmt17",
        "dukemtmc",
        "personx",
        "veri776",
        "prid2011",
        "ilids_vid",
        "dukemtmc_videoreid",
        "mars",
    ] = "market1501"
    depth: Literal[18, 34, 50, 101, 152] = 50
    ibn: bool = False
    pooling: Literal["", "gem", "avg"] = ""
    init: Literal["lup", "nl", "imagenet", "imagenet_moco", "scratch"] = "imagenet"


VIDEOS = ("prid2011", "ilids_vid", "dukemtmc_videoreid", "mars")
"""Whose tracklets are grouped as a whole by methods that can."""
VEHICLES = ("veri776",)
VEHICLE_SIZE = (224, 224)


def apply_clustering(
    config: ConfigDict, given: ClusteringArguments, by_data: Mapping[str, Mapping[str, Any]]
) -> ConfigDict:
    """Sets data set, network and initial weights in the configuration of a method that clusters;
    returns it. Weights lie as those of `apply`; with ibn those of ImageNet at
    weights/imagenet_ibn_rDEPTH.npz.

    Args:
        config: the recipe.
        given: what stands behind the colon.
        by_data: by the word of `data`, the settings that differ there, by dotted path.
    """
    init = "imagenet_ibn" if given.ibn and given.init == "imagenet" else given.init
    sizes = ("data.canvas", "data.size") if given.data in VEHICLES else ()
    chosen = dict.fromkeys(sizes, VEHICLE_SIZE) | {
        "data.dataset": given.data,
        "eval.dataset": given.data,
        "model.arch": f"resnet{given.depth}",
        "model.ibn": given.ibn,
        "augment.statistics": WEIGHTS[init].statistics,
        "train.init_from": "" if init == "scratch" else _place(init, given.depth),
        **by_data.get(given.data, {}),
    }
    if given.data in VIDEOS and "units" in config.to_dict()["task"]:
        chosen["task.units"] = "tracklets"
    if given.pooling:
        chosen["model.pooling"] = {"gem": "gem_learned"}.get(given.pooling, given.pooling)
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
