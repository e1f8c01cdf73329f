"""The argument of the fine-tuning configurations: `FILE.py:depth=101,init=nl,split=id,ratio=0.1`.

What initial weights ask of a recipe (pixel statistics, an extra BatchNorm) is a table of
LUPerson's fast-reid; it stands here once, and configurations apply it.
"""

import dataclasses
from typing import get_type_hints

from ml_collections import ConfigDict

from data_pipeline.errors import InputError, suggest


@dataclasses.dataclass(frozen=True)
class Weights:
    """What initial weights expect.

    Attributes:
        statistics: name of the mean and deviation of the pixels.
        extra_bn: whether LUPerson puts a BatchNorm on the feature map: for all unsupervised ones.
    """

    statistics: str
    extra_bn: bool


WEIGHTS = {
    "lup": Weights("lup_finetune", True),  # MoCo on LUPerson
    "nl": Weights("lmdb_200_20", True),  # PNL on LUPerson-NL
    "imagenet": Weights("imagenet", False),  # supervised
    "imagenet_moco": Weights("imagenet", True),
    "scratch": Weights("imagenet", False),
}
"""By the word that `init` takes."""

SPLITS = {"": "", "id": "ids", "im": "images"}
"""LUPerson's words for its small-scale and few-shot protocols, and those of `data.subset`."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What may stand behind the colon.

    Attributes:
        depth: of the ResNet.
        init: initial weights, a key of `WEIGHTS`.
        split: "id" for few identities (small-scale), "im" for few images (few-shot).
        ratio: share that the split keeps.
        repeat: how often each image stands in an epoch; LUPerson advises 2 or 3 for few images.
    """

    depth: int = 50
    init: str = "lup"
    split: str = ""
    ratio: float = 1.0
    repeat: int = 1


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
    for name, known in (("init", WEIGHTS), ("split", SPLITS)):
        if getattr(arguments, name) not in known:
            words = ", ".join(filter(None, known))
            raise InputError(f"argument {name}={getattr(arguments, name)}; expected {words}")
    return arguments


def apply(config: ConfigDict, argument: str) -> ConfigDict:
    """Sets depth, initial weights and part of the data in a configuration, and returns it.

    The weights are looked for at weights/INIT_rDEPTH.npz, where `luperson convert` may have put
    them; `train.init_from` names any other place.
    """
    arguments = parse(argument)
    weights = WEIGHTS[arguments.init]
    place = f"weights/{arguments.init}_r{arguments.depth}.npz"
    chosen = {
        "model.arch": f"resnet{arguments.depth}",
        "task.extra_bn": weights.extra_bn,
        "augment.statistics": weights.statistics,
        "data.subset": SPLITS[arguments.split],
        "data.ratio": arguments.ratio,
        "data.repeat": arguments.repeat,
        "train.init_from": "" if arguments.init == "scratch" else place,
    }
    config.update_from_flattened_dict(chosen)
    return config
