"""A model between two worlds: its tensors by tree path, and what one must know to use them."""

import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import array_files, atomic, listing
from luperson_jax import trees
from luperson_jax.augment.recipes import Statistics
from luperson_jax.models.spec import Kind, NetworkSpec, inside_trunk
from luperson_jax.models.spec import describe as spec_of_shapes
from luperson_jax.structs import Tree
from luperson_jax.weights.account import Account, pixel_lines
from luperson_jax.weights.rules import KEY_NETWORK, NETWORK

FORMAT = "luperson_jax model 1"
METADATA = "metadata"
MOMENTUM = "momentum/"
FACTS = ("epoch", "arch", "best_mAP", "iteration")
"""What other programs keep beside their tensors, as they call it."""
SHOWN = ("step", *FACTS)
CLASSIFIER = (
    f"{NETWORK.params}/classifier/",
    f"{KEY_NETWORK.params}/classifier/",
    "extra/prototypes",
)
"""How the paths of what belongs to identities begin: classifiers (one, or one a head of an MGN), a
key encoder's copy, prototypes."""


def backbone_path(path: str) -> str | None:
    """The path in a lone backbone of a tensor of any network; None where it belongs to none.

    The backbone of an MGN is its trunk with the first branch.
    """
    for place in (NETWORK.params, NETWORK.stats):
        inside = inside_trunk(path.removeprefix(f"{place}/")) if path.startswith(place) else ""
        if inside:
            return f"{place}/backbone/{inside}"
    return None


def shapes_of(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a whole model has, by path."""
    params, stats = spec.shapes
    places = {NETWORK.params: params, NETWORK.stats: stats}
    if spec.queue_size:
        places |= {KEY_NETWORK.params: params, KEY_NETWORK.stats: stats}
    found = {
        f"{place}/{name}": shape for place, tree in places.items() for name, shape in tree.items()
    }
    if spec.queue_size:
        found["extra/queue"] = (spec.queue_size, spec.feature_dim)
        found["extra/queue_pointer"] = ()
    if spec.kind == "pnl":
        found["extra/queue_id"] = (spec.queue_size,)
        if spec.num_classes:
            found["extra/prototypes"] = (spec.num_classes, spec.feature_dim)
    return found


def describe(shapes: Mapping[str, tuple[int, ...]], kind: Kind, last_stride: int) -> NetworkSpec:
    """The network that tensors of these paths and shapes come from.

    Raises:
        InputError: their trunk is none that this program has.
    """
    own = f"{NETWORK.params}/"
    params = {path.removeprefix(own): one for path, one in shapes.items() if path.startswith(own)}
    return spec_of_shapes(
        params, kind, last_stride, queue_size=shapes.get("extra/queue", (0, 0))[0]
    )


@dataclasses.dataclass(frozen=True)
class Model:
    """Trained tensors and what goes with them.

    Attributes:
        tensors: [path] -> array, paths as in a checkpoint: `params/backbone/conv1/kernel`.
        spec: the network that they belong to.
        family: where they come from: a name of `FAMILIES`, or "luperson_jax".
        pixels: mean and deviation of the pixels that the weights expect; None = not known.
        size: height and width that the network was trained with.
        resize: filter that brings pictures to it, a key of `decode.FILTERS`.
        absent: paths that a partial conversion left out.
        facts: numbers and names that the file had beside its tensors, such as the epoch.
        momentum: [path of a parameter] -> SGD's momentum, where a pre-training can go on.
        sgd: its settings: `lr`, `momentum`, `weight_decay`.
        beside: of a workdir, what its method keeps besides, by path: centers, memories.
        source: of a foreign file, its arrays by their names there, without what wrappers put
            before them.
        account: of a foreign file, what became of every one of them.
    """

    tensors: dict[str, np.ndarray]
    spec: NetworkSpec
    family: str
    pixels: Statistics | None = None
    size: tuple[int, int] = (256, 128)
    resize: str = "bicubic"
    absent: tuple[str, ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    momentum: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    sgd: Mapping[str, float] = dataclasses.field(default_factory=dict)
    beside: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    source: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    account: Account | None = None

    @property
    def params(self) -> Tree:
        """The parameters as nested dicts, as a task keeps them."""
        return trees.nest(self.tensors)["params"]

    @property
    def extra(self) -> Tree:
        """All else as nested dicts, as a task keeps it: the statistics are at `stats`."""
        return trees.nest({**self.beside, **self.tensors})["extra"]

    @property
    def stats(self) -> Tree:
        """The running statistics as nested dicts."""
        return self.extra["stats"]

    @property
    def num_parameters(self) -> int:
        """Numbers that training changes; running statistics, key encoder and queue apart."""
        own = f"{NETWORK.params}/"
        return sum(array.size for path, array in self.tensors.items() if path.startswith(own))

    def lines(self) -> list[str]:
        """What was read, for a reader."""
        if self.account is not None:
            lines = self.account.lines(self.facts, self.spec, self.num_parameters)
        else:
            facts = "".join(f", {name} {self.facts[name]}" for name in SHOWN if name in self.facts)
            lines = [f"read         a model of {self.family}{facts}", f"network      {self.spec}"]
        return [*lines, *pixel_lines(self.pixels, self.size)]

    def other_pixels(self, statistics: Statistics) -> str:
        """What differs between given pixel statistics and those that the weights expect; empty
        where they agree or the latter are not known."""
        if self.pixels is None or np.allclose(self.pixels, statistics, rtol=0, atol=1e-4):
            return ""
        numbers = ",".join(f"{value:.4f}" for values in self.pixels for value in values)
        return (
            f"the weights expect pixels of mean and deviation {numbers}, and augment.statistics "
            "names others; set it to a name for these, or to these six numbers"
        )

    def backbone(self) -> "Model":
        """The same without head, neck, classifier, key encoder, queue and momentum.

        Of an MGN, the trunk with the first branch.
        """
        tensors = {one: a for path, a in self.tensors.items() if (one := backbone_path(path))}
        absent = tuple(one for path in self.absent if (one := backbone_path(path)))
        changes = {"absent": absent, "momentum": {}, "sgd": {}, "beside": {}}
        return dataclasses.replace(self, tensors=tensors, spec=self.spec.trunk(), **changes)

    def without_classifier(self) -> "Model":
        """The same without the classifier over identities."""
        tensors = {path: a for path, a in self.tensors.items() if not path.startswith(CLASSIFIER)}
        spec = dataclasses.replace(self.spec, num_classes=0)
        return dataclasses.replace(self, tensors=tensors, spec=spec)


def save(model: Model, path: pathlib.Path) -> None:
    """Writes a model file: an .npz of all tensors by path, and `metadata` as JSON.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    if listing.exists(path):
        raise InputError(f"{path} exists; delete it, or write to another name")
    about = {
        "format": FORMAT,
        "network": dataclasses.asdict(model.spec),
        "statistics": model.pixels,
        **{name: getattr(model, name) for name in ("family", "size", "resize", "absent")},
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


def read(path: pathlib.Path) -> Model:
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
            spec=NetworkSpec(**about["network"]),
            family=about["family"],
            pixels=statistics and Statistics(*(tuple(values) for values in statistics)),
            size=tuple(about["size"]),
            resize=about.get("resize", Model.resize),  # files of before do not have it
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
