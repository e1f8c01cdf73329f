"""The one description of a network, from which recipe, converter and saved file build it."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from data_pipeline.errors import InputError, suggest
from luperson_jax import trees
from luperson_jax.models.baseline import MocoEncoder, PnlEncoder, PooledBackbone, ReidNet
from luperson_jax.models.convolution import Form
from luperson_jax.models.heads import HeadKind
from luperson_jax.models.mgn import MGN, NUM_PARTS
from luperson_jax.models.mobilenet import MOBILENETS, mobilenet, recognize_mobilenet
from luperson_jax.models.parts import PartHead, PartNet, descriptor
from luperson_jax.models.pooling import PoolingKind
from luperson_jax.models.resnet import RESNETS, Strides, recognize_resnet, resnet
from luperson_jax.structs import Tree

Shapes = Mapping[str, tuple[int, ...]]
Kind = Literal["backbone", "moco", "simclr", "pnl", "reid", "mgn", "parts"]
"""A trunk and its pooling; an encoder with a projection, with a slow copy beside it (MoCo), alone
(SimCLR), or with a copy and a classifier (PNL); a network with a BNNeck; an MGN;
stripes of a person (uPMnet)."""

ENCODERS = ("moco", "simclr", "pnl")
"""Kinds that a pre-training compares by angle, and goes on with."""


class Backbone(NamedTuple):
    """A kind of trunk.

    Attributes:
        names: what `NetworkSpec.arch` calls its variants.
        build: the module of a variant, with the options of `resnet`.
        recognize: the fields of a `NetworkSpec` that shapes of parameters by name tell, or, where
            they are not those of such a trunk, what they are instead; empty where nothing speaks
            for one.
    """

    names: tuple[str, ...]
    build: Callable[..., Any]
    recognize: Callable[[Shapes], dict[str, Any] | str]


BACKBONES = (
    Backbone(RESNETS, resnet, recognize_resnet),
    Backbone(MOBILENETS, mobilenet, recognize_mobilenet),
)
ARCHITECTURES = tuple(name for backbone in BACKBONES for name in backbone.names)

TRUNK_PARTS = ("backbone", *NUM_PARTS)
"""Top-level parts of a network that hold a trunk or its end."""


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """Which network it is; the names are those of the configuration.

    Plain values only, so that JSON holds it. 0 stands for a part that is not there.

    Attributes:
        kind: what stands on the trunk, and how `build` puts it together.
        arch: one of `ARCHITECTURES`.
        width, stem, ibn, non_local, last_stride, strides: of the trunk, see `ResNet`.
        pooling: "gem_learned" where the exponent is a parameter.
        extra_bn, embedding_dim: of "reid" and "mgn", see `ReidNet`.
        num_classes: identities of the classifier, which `build` leaves to the task.
        head, hidden, feature_dim: of `ENCODERS`, see `MocoEncoder`; `hidden` 0 = as many as the
            trunk gives. `embedding_dim` of "pnl" is the layer before its classifier.
        num_parts, part_head: of "parts", see `PartNet`, whose relation head has `hidden` features.
        queue_size: keys that stand beside an encoder, with a copy of it that moves slowly.
    """

    kind: Kind
    arch: str
    width: int = 64
    stem: Literal["imagenet", "small"] = "imagenet"
    ibn: bool = False
    non_local: bool = False
    last_stride: int = 2
    strides: Strides = "torchvision"
    pooling: PoolingKind = "avg"
    extra_bn: bool = False
    embedding_dim: int = 0
    num_classes: int = 0
    head: HeadKind = "mlp"
    hidden: int = 0
    feature_dim: int = 128
    queue_size: int = 0
    num_parts: int = 0
    part_head: PartHead = "local"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"no kind of network is called {self.kind!r}")
        if self.arch not in ARCHITECTURES:
            raise InputError(f"model.arch is {self.arch!r}{suggest(self.arch, ARCHITECTURES)}")

    def __str__(self) -> str:
        parts = [f"{self.arch}{'-ibn' if self.ibn else ''} of width {self.width}"]
        parts += ["strides of TensorFlow-slim"] if self.strides == "slim" else []
        parts += ["non-local blocks"] if self.non_local else []
        parts += [f"pooling {self.pooling}"] if self.pooling != "avg" else []
        parts += ["extra BN"] if self.extra_bn else []
        parts += [f"embedding {self.embedding_dim}"] if self.embedding_dim else []
        parts += [f"{self.num_classes} identities"] if self.num_classes else []
        parts += [f"{self.head} head to {self.feature_dim}"] if self.kind in ENCODERS else []
        parts += [f"queue of {self.queue_size}"] if self.queue_size else []
        parts += [f"{self.num_parts} parts, {self.part_head}"] if self.num_parts else []
        return ", ".join(parts)

    def build(
        self,
        *,
        bn_group_size: int = 0,
        bn_momentum: float = 0.1,
        compute_dtype: str = "float32",
        form: Form = "auto",
    ) -> Any:
        """The Flax module, for `models.init` and `models.apply`.

        Args:
            bn_group_size: images that share batch statistics; 0 = the whole batch.
            bn_momentum: weight of a batch in the running statistics of the trunk.
            compute_dtype: "float32", "bfloat16", or "auto" by the device.
            form: how convolutions are computed, see `ResNet`.

        Returns:
            PooledBackbone, MocoEncoder, PnlEncoder, ReidNet, MGN or PartNet, without classifier.

        Raises:
            InputError: a trunk that cannot have such parts.
        """
        if self.kind == "mgn" and (self.arch not in RESNETS or self.strides != "torchvision"):
            raise InputError(
                "MGN cuts a ResNet with the strides of torchvision in two, and the network is a "
                f"{self}"
            )
        trunk = next(one for one in BACKBONES if self.arch in one.names).build(
            self.arch,
            width=self.width,
            stem=self.stem,
            ibn=self.ibn,
            last_stride=self.last_stride,
            non_local=self.non_local,
            strides=self.strides,
            bn_group_size=bn_group_size,
            bn_momentum=bn_momentum,
            compute_dtype=compute_dtype,
            form=form,
        )
        if self.kind == "backbone":
            return PooledBackbone(trunk, self.pooling)
        if self.kind == "pnl":
            parts = (self.hidden, self.feature_dim, self.embedding_dim)
            return PnlEncoder(trunk, self.pooling, *parts)
        if self.kind == "parts":
            return PartNet(trunk, self.num_parts, self.part_head, self.hidden)
        if self.kind in ENCODERS:
            return MocoEncoder(trunk, self.pooling, self.hidden, self.feature_dim, self.head)
        network = MGN if self.kind == "mgn" else ReidNet
        return network(trunk, self.pooling, self.extra_bn, self.embedding_dim)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads, where there are several."""
        return MGN.heads if self.kind == "mgn" else ()

    def feature(self, outputs: Any) -> jax.Array:
        """Features [B, D] float32 that search and evaluation take.

        Args:
            outputs: of the module in evaluation.

        Returns:
            The pooled feature of a trunk and of PNL, the projection of MoCo and SimCLR, the
            descriptor of parts, what comes behind the neck of others, those of all heads side by
            side; only of parts of unit norm.
        """
        if self.kind == "backbone":
            return outputs
        if self.kind == "parts":
            return descriptor(outputs)
        chosen = outputs[0 if self.kind == "pnl" else 1]
        return jnp.concatenate([chosen[name] for name in self.heads], 1) if self.heads else chosen

    def trunk(self) -> "NetworkSpec":
        """Its trunk alone."""
        shared = ("arch", "width", "stem", "ibn", "non_local", "last_stride", "strides")
        return NetworkSpec("backbone", **{name: getattr(self, name) for name in shared})

    @functools.cached_property
    def shapes(self) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
        """Shapes by name of all parameters, the classifier's among them, and of all statistics."""
        height = 32 * math.lcm(self.num_parts or 1, 3)  # a map that can be cut, also into thirds
        images = jax.ShapeDtypeStruct((1, height, 32, 3), jnp.float32)
        module = self.build()

        def start(images: Any) -> tuple[Tree, Tree]:
            variables = module.lazy_init(jax.random.key(0), images, train=False)
            return variables["params"], variables.get("batch_stats", {})

        params, stats = (_shapes(tree) for tree in jax.eval_shape(start, images))
        if self.num_classes:
            width = self.embedding_dim or module.backbone.num_features
            for name in [f"{head}/kernel" for head in self.heads] or ["kernel"]:
                params[f"classifier/{name}"] = (width, self.num_classes)
            if self.kind == "pnl":
                params["classifier/bias"] = (self.num_classes,)
        return params, stats


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in trees.by_name(tree).items()}


def describe(shapes: Shapes, kind: Kind, last_stride: int, *, queue_size: int = 0) -> NetworkSpec:
    """The network that parameters of these names and shapes belong to.

    Args:
        shapes: of the parameters, by name: `backbone/conv1/kernel`.
        kind: of network.
        last_stride: no shape tells it.
        queue_size: see `NetworkSpec`.

    Returns:
        The description. Of a pooling without parameters "avg" is a guess that only a recipe can
        correct.

    Raises:
        InputError: their trunk is none that this program has.
    """
    trunk = {inside: shape for name, shape in shapes.items() if (inside := inside_trunk(name))}
    found = [backbone.recognize(trunk) for backbone in BACKBONES]
    known = next((one for one in found if not isinstance(one, str)), None)
    if known is None:
        raise InputError(
            f"the file holds {' and '.join(filter(None, map(str, found)))}; expected one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    neck, pool, extra_bn, classifier = "neck", "pool", "extra_bn", "classifier"
    if kind == "mgn":  # its heads are alike
        neck, pool, extra_bn, classifier = "b1_head", "b1_head/pool", "extra_bn_b1", "classifier/b1"
    reduction = "embed/kernel" if kind == "pnl" else f"{neck}/reduction/kernel"
    layers = (shapes.get(f"head/{name}/kernel") for name in ("fc_3", "fc_2", "fc"))
    last = next(filter(None, layers), (0, 128))
    width, hidden = shapes.get("head/fc_0/kernel", (0, 0))
    return NetworkSpec(
        kind=kind,
        **known,
        last_stride=last_stride,
        pooling="gem_learned" if f"{pool}/p" in shapes else "avg",
        extra_bn=f"{extra_bn}/scale" in shapes,
        embedding_dim=shapes.get(reduction, (0, 0))[1],
        num_classes=shapes.get(f"{classifier}/kernel", (0, 0))[1],
        head=_head_of(shapes),
        hidden=0 if hidden == width else hidden,
        feature_dim=last[1],
        queue_size=queue_size,
    )


def _head_of(shapes: Shapes) -> HeadKind:
    if "head/fc/kernel" in shapes:
        return "linear"
    return "mlp_bn" if "head/fc_1/scale" in shapes else "mlp"


def inside_trunk(name: str) -> str:
    """The name within the trunk of a parameter or statistic of any network; empty where it belongs
    to none. The trunk of an MGN ends in its first branch."""
    part, _, inside = name.partition("/")
    return inside if part in TRUNK_PARTS[:2] else ""
