"""Rules: torch key <-> tree path, with what happens to the array on the way. Data, both ways.

A name in braces stands for a number: `layer{stage}.{block}.conv{n}.weight`; where the two worlds
count differently, `{block+1}` stands for the number after it. One table reads and writes a family
of files. Where several rules name the same path, all are read and the first whose
`needs` is met is written: those after it are older names of the same tensor.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Iterable

import numpy as np

from luperson_jax.models.resnet import Strides
from luperson_jax.models.spec import Kind


@dataclasses.dataclass(frozen=True)
class Transform:
    """How an array changes between the two worlds.

    Attributes:
        name: what the report calls it; empty where nothing changes.
        ndim: dimensions of the torch tensor. A key whose tensor has another number is not meant.
        from_torch: torch's array to ours.
        to_torch: the inverse.
    """

    name: str
    ndim: int
    from_torch: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _pointwise(array: np.ndarray) -> np.ndarray:
    return array[:, :, 0, 0].T if array.shape[2:] == (1, 1) else array


def _pointer(array: np.ndarray) -> np.ndarray:
    return array[0].astype(np.int32) if array.shape == (1,) else array


VECTOR = Transform("", 1, _same, _same)
CONVOLUTION = Transform(
    "convolutions OIHW -> HWIO",
    4,
    lambda a: a.transpose(2, 3, 1, 0),
    lambda a: a.transpose(3, 2, 0, 1),
)
HWIO = Transform("", 4, _same, _same)
DEPTHWISE = Transform(
    "depthwise convolutions (h, w, C, 1) -> (h, w, 1, C)",
    4,
    lambda a: a.transpose(0, 1, 3, 2),
    lambda a: a.transpose(0, 1, 3, 2),
)
LINEAR = Transform("linear layers (out, in) -> (in, out)", 2, np.transpose, np.transpose)
POINTWISE = Transform(
    "1x1 convolution OIHW -> (in, out)",
    4,
    _pointwise,
    lambda a: a.T[:, :, None, None],
)
QUEUE = Transform("queue (d, K) -> (K, d)", 2, np.transpose, np.transpose)
ROWS = Transform("", 2, _same, _same)
COLUMN = Transform(
    "labels of the queue int64 [K, 1] -> int32 [K]",
    2,
    lambda a: a[:, 0].astype(np.int32) if a.shape[1] == 1 else a,
    lambda a: a[:, None].astype(np.int64),
)
POINTER = Transform(
    "queue pointer int64 [1] -> int32 []",
    1,
    _pointer,
    lambda a: a.reshape(1).astype(np.int64),
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One line of a table.

    Attributes:
        key: pattern of the torch names.
        path: pattern of the tree paths, with the same numbers.
        transform: of the array.
        needs: a path that the tree must hold for this rule to write; empty = always.
    """

    key: str
    path: str
    transform: Transform = VECTOR
    needs: str = ""

    def path_of(self, key: str, ndim: int) -> str | None:
        """The path of a torch tensor; None where the rule does not mean it."""
        if ndim != self.transform.ndim:
            return None
        return _translate(self.key, self.path, key)

    def key_of(self, path: str, present: Collection[str]) -> str | None:
        """The torch key of a path; None where the rule does not mean it."""
        if self.needs and self.needs not in present:
            return None
        return _translate(self.path, self.key, path)


_NUMBER = re.compile(r"\{(\w+)(?:\+(\d+))?\}")


@functools.cache
def _expression(pattern: str) -> re.Pattern[str]:
    escaped = re.escape(pattern)
    return re.compile(re.sub(r"\\\{(\w+)(?:\\\+\d+)?\\\}", r"(?P<\1>\\d+)", escaped))


def _translate(pattern: str, other: str, name: str) -> str | None:
    match = _expression(pattern).fullmatch(name)
    if match is None:
        return None
    numbers = {one[1]: int(match[one[1]]) - int(one[2] or 0) for one in _NUMBER.finditer(pattern)}
    if min(numbers.values(), default=0) < 0:
        return None
    return _NUMBER.sub(lambda one: str(numbers[one[1]] + int(one[2] or 0)), other)


@dataclasses.dataclass(frozen=True)
class Trees:
    """Where the tensors of a network lie: the query encoder's, or those of its moving average."""

    params: str
    stats: str


NETWORK = Trees("params", "extra/stats")
KEY_NETWORK = Trees("extra/key_params", "extra/key_stats")

COUNTER = "num_batches_tracked"
"""Of PyTorch's BatchNorm: steps that its running statistics have seen. Nothing reads it."""


def affine(key: str, path: str, trees: Trees = NETWORK, needs: str = "") -> tuple[Rule, ...]:
    """Scale and bias of a normalization."""
    pairs = {"weight": "scale", "bias": "bias"}
    return tuple(
        Rule(f"{key}.{torch}", f"{trees.params}/{path}/{ours}", needs=needs)
        for torch, ours in pairs.items()
    )


def batch_norm(key: str, path: str, trees: Trees = NETWORK, needs: str = "") -> tuple[Rule, ...]:
    """Scale, bias and running statistics."""
    pairs = {"running_mean": "mean", "running_var": "var"}
    statistics = tuple(
        Rule(f"{key}.{torch}", f"{trees.stats}/{path}/{ours}", needs=needs)
        for torch, ours in pairs.items()
    )
    return affine(key, path, trees, needs) + statistics


def linear(key: str, path: str, trees: Trees = NETWORK, *, bias: bool = True) -> tuple[Rule, ...]:
    """Kernel and perhaps bias of a linear layer."""
    kernel = Rule(f"{key}.weight", f"{trees.params}/{path}/kernel", LINEAR)
    return (kernel, Rule(f"{key}.bias", f"{trees.params}/{path}/bias")) if bias else (kernel,)


def blocks(key: str, path: str, trees: Trees = NETWORK) -> tuple[Rule, ...]:
    """Residual blocks of a ResNet, with or without IBN-a, at the given places."""
    table: list[Rule] = []
    for torch, ours in (("conv{n}", "conv{n}"), ("downsample.0", "downsample_0")):
        kernel = f"{trees.params}/{path}/{ours}/kernel"
        table.append(Rule(f"{key}.{torch}.weight", kernel, CONVOLUTION))
    table += batch_norm(f"{key}.bn{{n}}", f"{path}/bn{{n}}", trees)
    table += batch_norm(f"{key}.bn{{n}}.BN", f"{path}/bn{{n}}/BN", trees)
    table += affine(f"{key}.bn{{n}}.IN", f"{path}/bn{{n}}/IN", trees)
    return (*table, *batch_norm(f"{key}.downsample.1", f"{path}/downsample_1", trees))


def non_local(key: str, path: str) -> tuple[Rule, ...]:
    """Non-local blocks at the given places."""
    table: list[Rule] = []
    for torch, ours in (("g", "g"), ("theta", "theta"), ("phi", "phi"), ("W.0", "W_0")):
        place = f"{NETWORK.params}/{path}/{ours}"
        table.append(Rule(f"{key}.{torch}.weight", f"{place}/kernel", CONVOLUTION))
        table.append(Rule(f"{key}.{torch}.bias", f"{place}/bias"))
    return (*table, *batch_norm(f"{key}.W.1", f"{path}/W_1"))


def resnet(
    prefix: str = "",
    trees: Trees = NETWORK,
    *,
    stem: tuple[str, str] = ("conv1", "bn1"),
    stages: Iterable[str] = ("layer1", "layer2", "layer3", "layer4"),
) -> tuple[Rule, ...]:
    """A ResNet's trunk, with or without IBN-a, at `backbone`.

    Args:
        prefix: of every torch key.
        trees: where it goes.
        stem: torch names of the first convolution and its normalization.
        stages: torch names of the four stages.
    """
    table = [
        Rule(f"{prefix}{stem[0]}.weight", f"{trees.params}/backbone/conv1/kernel", CONVOLUTION),
        *batch_norm(f"{prefix}{stem[1]}", "backbone/bn1", trees),
    ]
    for number, stage in enumerate(stages, start=1):
        table += blocks(f"{prefix}{stage}.{{block}}", f"backbone/layer{number}_{{block}}", trees)
    return tuple(table)


@dataclasses.dataclass(frozen=True)
class Family:
    """The files of one code base: how to know them, and the table of their names.

    Attributes:
        name: what `--from` and `--to` call it.
        title: what a message calls such a file.
        signature: expressions; a file of the family has a key for each.
        rules: the table.
        network: which of our networks the file holds.
        left_out: (expression, reason) of tensors that a complete conversion leaves behind.
        refused: (expression, reason) of tensors whose network this program does not have.
        statistics: name of the pixel statistics that the weights expect; empty = not known.
        size: height and width that the network was trained with.
        resize: filter that brings pictures to that size, a key of `decode.FILTERS`.
        last_stride, strides: of the network that the file comes from, see `ResNet`.
        wrapper: entry of the top-level dict under which the code base keeps the tensors.
        prefix: before every name that it writes.
        pixels: the statistics lie among the tensors, as `pixel_mean` and `pixel_std` in 0..255.
    """

    name: str
    title: str
    signature: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    network: Kind = "backbone"
    left_out: tuple[tuple[str, str], ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    statistics: str = ""
    size: tuple[int, int] = (256, 128)
    resize: str = "bicubic"
    last_stride: int = 2
    strides: Strides = "torchvision"
    wrapper: str = ""
    prefix: str = ""
    pixels: bool = False

    @functools.cached_property
    def trunk(self) -> tuple[str, ...]:
        """How the torch names of the backbone begin."""
        inside = f"{NETWORK.params}/backbone/"
        keys = (rule.key for rule in self.rules if rule.path.startswith(inside))
        starts = (key.partition("{")[0].removesuffix("weight").removesuffix("bias") for key in keys)
        return tuple(dict.fromkeys(starts))

    def place_of(self, key: str, ndim: int) -> tuple[Rule, str] | None:
        """The rule that means a torch tensor, and the path that it gives it."""
        found = ((rule, rule.path_of(key, ndim)) for rule in self.rules)
        return next(((rule, path) for rule, path in found if path is not None), None)

    def name_of(self, path: str, present: Collection[str]) -> tuple[Rule, str] | None:
        """The rule that writes a path, and the torch key that it gives it."""
        found = ((rule, rule.key_of(path, present)) for rule in self.rules)
        return next(((rule, key) for rule, key in found if key is not None), None)

    def recognizes(self, keys: Collection[str]) -> bool:
        """Whether these are the keys of such a file."""
        return all(any(re.search(one, key) for key in keys) for one in self.signature)
