"""A model between two worlds: its tensors by tree path, and what one must know to use them."""

import dataclasses
import functools
import json
import pathlib
import re
import zipfile
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import array_files, atomic
from luperson_jax import models, trees
from luperson_jax.augment.recipes import Statistics
from luperson_jax.structs import Tree
from luperson_jax.weights.rules import KEY_NETWORK, NETWORK, Kind

FORMAT = "luperson_jax model 1"
METADATA = "metadata"
MOMENTUM = "momentum/"
CLASSIFIER = f"{NETWORK.params}/classifier/"
"""How the paths of the classifiers over identities begin: one, or one a head of an MGN."""

_TRUNK = re.compile(rf"({NETWORK.params}|{NETWORK.stats})/(?:backbone|b1)/(.+)")


def backbone_path(path: str) -> str | None:
    """The path in a lone backbone of a tensor of any network; None where it belongs to none.

    The backbone of an MGN is its trunk with the first branch.
    """
    match = _TRUNK.fullmatch(path)
    return f"{match[1]}/backbone/{match[2]}" if match else None


@dataclasses.dataclass(frozen=True)
class Network:
    """Which network the tensors belong to; the names are those of the configuration.

    `pooling` is "gem_learned" where the exponent is among the tensors. Otherwise a file does not
    tell: "avg" is a guess that only a recipe can correct. 0 stands for a part that is not there.
    """

    kind: Kind
    arch: str
    width: int
    stem: Literal["imagenet", "small"] = "imagenet"
    ibn: bool = False
    non_local: bool = False
    last_stride: int = 2
    pooling: Literal["avg", "max", "gem", "gem_learned"] = "avg"
    extra_bn: bool = False
    embedding_dim: int = 0
    num_classes: int = 0
    head: Literal["mlp", "linear"] = "mlp"
    hidden: int = 0
    feature_dim: int = 128
    queue_size: int = 0

    def __str__(self) -> str:
        parts = [f"{self.arch}{'-ibn' if self.ibn else ''} of width {self.width}"]
        parts += ["non-local blocks"] if self.non_local else []
        parts += [f"pooling {self.pooling}"] if self.pooling != "avg" else []
        parts += ["extra BN"] if self.extra_bn else []
        parts += [f"embedding {self.embedding_dim}"] if self.embedding_dim else []
        parts += [f"{self.num_classes} identities"] if self.num_classes else []
        parts += [f"{self.head} head to {self.feature_dim}"] if self.kind == "moco" else []
        parts += [f"queue of {self.queue_size}"] if self.queue_size else []
        return ", ".join(parts)

    def module(self) -> Any:
        """The Flax module, for `models.apply`: of the backbone, the encoder or the whole net."""
        backbone = models.resnet(
            self.arch,
            width=self.width,
            stem=self.stem,
            ibn=self.ibn,
            last_stride=self.last_stride,
            non_local=self.non_local,
        )
        if self.kind == "backbone":
            return backbone
        if self.kind == "moco":
            return models.MocoEncoder(
                backbone, self.pooling, self.hidden, self.feature_dim, self.head
            )
        network = models.MGN if self.kind == "mgn" else models.ReidNet
        return network(backbone, self.pooling, self.extra_bn, self.embedding_dim)

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor that a whole model has, by path."""
        images = jax.ShapeDtypeStruct((1, 96, 32, 3), jnp.float32)  # enough for three parts
        module = self.module()
        params, stats = jax.eval_shape(
            lambda images: models.init(module, jax.random.key(0), images), images
        )
        if self.kind == "backbone":
            params, stats = {"backbone": params}, {"backbone": stats}
        if self.num_classes:
            width = self.embedding_dim or module.backbone.num_features
            classifier = {"kernel": jax.ShapeDtypeStruct((width, self.num_classes), jnp.float32)}
            if self.kind == "mgn":
                classifier = dict.fromkeys(models.MGN.heads, classifier)
            params = {**params, "classifier": classifier}
        places = {NETWORK.params: params, NETWORK.stats: stats}
        if self.queue_size:
            places |= {KEY_NETWORK.params: params, KEY_NETWORK.stats: stats}
        found = {
            f"{place}/{name}": tuple(leaf.shape)
            for place, tree in places.items()
            for name, leaf in trees.by_name(tree).items()
        }
        if self.queue_size:
            found["extra/queue"] = (self.queue_size, self.feature_dim)
            found["extra/queue_pointer"] = ()
        return found


def describe(
    shapes: Mapping[str, tuple[int, ...]],
    kind: Kind,
    last_stride: int,
    pooling: Literal["avg", "max", "gem", "gem_learned"] = "avg",
) -> Network:
    """The network that tensors of these paths and shapes come from.

    Raises:
        InputError: they are not those of a ResNet that this program has.
    """
    backbone = f"{NETWORK.params}/backbone"
    stem = shapes.get(f"{backbone}/conv1/kernel")
    blocks = [0, 0, 0, 0]
    trunk = [one for path in shapes if (one := backbone_path(path))]
    for path in trunk:
        if match := re.match(rf"{backbone}/layer([1-4])_(\d+)/", path):
            stage, index = int(match[1]) - 1, int(match[2])
            blocks[stage] = max(blocks[stage], index + 1)
    bottleneck = f"{backbone}/layer1_0/conv3/kernel" in shapes
    arch = models.smallest_architecture(blocks, bottleneck=bottleneck)
    if stem is None or not all(blocks) or arch is None:
        raise InputError(
            f"the file holds {'no' if stem is None else 'a'} first convolution and stages of "
            f"{blocks} {'bottlenecks' if bottleneck else 'basic blocks'}; expected one of "
            f"{', '.join(models.ARCHITECTURES)}"
        )
    neck, pool, extra_bn, classifier = "neck", "pool", "extra_bn", "classifier"
    if kind == "mgn":  # its heads are alike
        neck, pool, extra_bn, classifier = "b1_head", "b1_head/pool", "extra_bn_b1", "classifier/b1"
    reduction = shapes.get(f"params/{neck}/reduction/kernel", (0, 0))
    first = shapes.get("params/head/fc_0/kernel", (0, 0))
    last = shapes.get("params/head/fc_2/kernel") or shapes.get("params/head/fc/kernel", (0, 128))
    return Network(
        kind=kind,
        arch=arch,
        width=stem[-1],
        stem="imagenet" if stem[0] == 7 else "small",
        ibn=f"{backbone}/layer1_0/bn1/IN/scale" in shapes,
        non_local=any(path.startswith(f"{backbone}/NL_") for path in trunk),
        last_stride=last_stride,
        pooling="gem_learned" if f"params/{pool}/p" in shapes else pooling,
        extra_bn=f"params/{extra_bn}/scale" in shapes,
        embedding_dim=reduction[1],
        num_classes=shapes.get(f"params/{classifier}/kernel", (0, 0))[1],
        head="linear" if "params/head/fc/kernel" in shapes else "mlp",
        hidden=first[1],
        feature_dim=last[1],
        queue_size=shapes.get("extra/queue", (0, 0))[0],
    )


@dataclasses.dataclass(frozen=True)
class Model:
    """Tensors and what goes with them.

    Attributes:
        tensors: [path] -> array, paths as in a checkpoint: `params/backbone/conv1/kernel`.
        network: what they belong to.
        family: where they come from: a name of `FAMILIES`, or "luperson_jax".
        statistics: mean and deviation of the pixels that the weights expect; None = not known.
        size: height and width that the network was trained with.
        absent: paths that a partial conversion left out.
        facts: numbers and names that the file had beside its tensors, such as the epoch.
        momentum: [path of a parameter] -> SGD's momentum, where a pre-training can go on.
        sgd: its settings: `lr`, `momentum`, `weight_decay`.
    """

    tensors: dict[str, np.ndarray]
    network: Network
    family: str
    statistics: Statistics | None = None
    size: tuple[int, int] = (256, 128)
    absent: tuple[str, ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    momentum: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    sgd: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def tree(self) -> Tree:
        """The tensors as nested dicts: `params` and `extra`, as a task keeps them."""
        return trees.nest(self.tensors)

    @property
    def num_parameters(self) -> int:
        """Numbers that training changes; running statistics, key encoder and queue apart."""
        own = f"{NETWORK.params}/"
        return sum(array.size for path, array in self.tensors.items() if path.startswith(own))

    def other_pixels(self, statistics: Statistics) -> str:
        """What differs between given pixel statistics and those that the weights expect; empty
        where they agree or the latter are not known."""
        if self.statistics is None or np.allclose(self.statistics, statistics, rtol=0, atol=1e-4):
            return ""
        numbers = ",".join(f"{value:.4f}" for values in self.statistics for value in values)
        return (
            f"the weights expect pixels of mean and deviation {numbers}, and augment.statistics "
            "names others; set it to a name for these, or to these six numbers"
        )

    def backbone(self) -> "Model":
        """The same without head, neck, classifier, key encoder, queue and momentum.

        Of an MGN, the trunk with the first branch.
        """
        tensors = {one: a for path, a in self.tensors.items() if (one := backbone_path(path))}
        shapes = {path: array.shape for path, array in tensors.items()}
        network = describe(shapes, "backbone", self.network.last_stride)
        absent = tuple(one for path in self.absent if (one := backbone_path(path)))
        return dataclasses.replace(
            self, tensors=tensors, network=network, absent=absent, momentum={}, sgd={}
        )

    def without_classifier(self) -> "Model":
        """The same without the classifier over identities."""
        tensors = {path: a for path, a in self.tensors.items() if not path.startswith(CLASSIFIER)}
        network = dataclasses.replace(self.network, num_classes=0)
        return dataclasses.replace(self, tensors=tensors, network=network)


def save(model: Model, path: pathlib.Path) -> None:
    """Writes a model file: an .npz of all tensors by path, and `metadata` as JSON.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    if path.exists():
        raise InputError(f"{path} exists; delete it, or write to another name")
    about = {
        "format": FORMAT,
        "network": dataclasses.asdict(model.network),
        **{name: getattr(model, name) for name in ("family", "statistics", "size", "absent")},
        "facts": dict(model.facts),
        "sgd": dict(model.sgd),
    }
    arrays: dict[str, Any] = {METADATA: np.array(json.dumps(about)), **model.tensors}
    arrays |= {f"{MOMENTUM}{path}": array for path, array in model.momentum.items()}
    with atomic.replacing(path) as part, part.open("wb") as stream:
        np.savez(stream, **arrays)


def is_model_file(path: pathlib.Path) -> bool:
    """Whether this is a file that `save` wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            return f"{METADATA}.npy" in archive.namelist()
    except array_files.DAMAGED:
        return False


def load(path: pathlib.Path) -> Model:
    """Reads a model file.

    Raises:
        InputError: the file is damaged or of another version.
    """
    arrays = array_files.read_npz(path, "it is damaged; convert its source again")
    about = _about(path, arrays.pop(METADATA, np.array("")))
    momentum = {
        name.removeprefix(MOMENTUM): arrays.pop(name)
        for name in list(arrays)
        if name.startswith(MOMENTUM)
    }
    try:
        statistics = about["statistics"]
        return Model(
            tensors=arrays,
            network=Network(**about["network"]),
            family=about["family"],
            statistics=statistics and Statistics(*(tuple(values) for values in statistics)),
            size=tuple(about["size"]),
            absent=tuple(about["absent"]),
            facts=dict(about["facts"]),
            momentum=momentum,
            sgd=dict(about["sgd"]),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"the metadata of {path} lacks something or has another form ({error}); convert its "
            "source again"
        ) from error


def _about(path: pathlib.Path, text: np.ndarray) -> dict[str, Any]:
    try:
        about = json.loads(str(text))
    except ValueError as error:
        raise InputError(f"the metadata of {path} is no JSON ({error})") from error
    found = about.get("format") if isinstance(about, dict) else about
    if found != FORMAT:
        raise InputError(f"{path} is {str(found)[:80]!r}; expected {FORMAT!r}")
    return about
