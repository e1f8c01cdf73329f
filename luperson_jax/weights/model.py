"""A model between two worlds: its tensors by tree path, and what one must know to use them."""

import dataclasses
import functools
import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import array_files, atomic
from luperson_jax import models, trees
from luperson_jax.augment.recipes import Statistics
from luperson_jax.models.spec import NetworkSpec, backbone_path, describe
from luperson_jax.structs import Tree
from luperson_jax.weights.files import Source
from luperson_jax.weights.rules import KEY_NETWORK, NETWORK

FORMAT = "luperson_jax model 1"
METADATA = "metadata"
MOMENTUM = "momentum/"
CLASSIFIER = f"{NETWORK.params}/classifier/"
"""How the paths of the classifiers over identities begin: one, or one a head of an MGN."""


@functools.cache
def shapes_of(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a whole model of a network has, by path."""
    images = jax.ShapeDtypeStruct((1, 96, 32, 3), jnp.float32)  # enough for three parts
    module = spec.build()
    params, stats = jax.eval_shape(
        lambda images: models.init(module, jax.random.key(0), images), images
    )
    if spec.num_classes:
        width = spec.embedding_dim or module.backbone.num_features
        classifier = {"kernel": jax.ShapeDtypeStruct((width, spec.num_classes), jnp.float32)}
        if spec.kind == "mgn":
            classifier = dict.fromkeys(models.MGN.heads, classifier)
        params = {**params, "classifier": classifier}
    places = {NETWORK.params: params, NETWORK.stats: stats}
    if spec.queue_size:
        places |= {KEY_NETWORK.params: params, KEY_NETWORK.stats: stats}
    found = {
        f"{place}/{name}": tuple(leaf.shape)
        for place, tree in places.items()
        for name, leaf in trees.by_name(tree).items()
    }
    if spec.queue_size:
        found["extra/queue"] = (spec.queue_size, spec.feature_dim)
        found["extra/queue_pointer"] = ()
    return found


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
        source: the foreign file that it was read from; None = it is this program's.
        report: the `report.Report` of that file's tensors.
    """

    tensors: dict[str, np.ndarray]
    network: NetworkSpec
    family: str
    statistics: Statistics | None = None
    size: tuple[int, int] = (256, 128)
    absent: tuple[str, ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    momentum: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    sgd: Mapping[str, float] = dataclasses.field(default_factory=dict)
    source: Source | None = None
    report: Any = None

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
            network=NetworkSpec(**about["network"]),
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
