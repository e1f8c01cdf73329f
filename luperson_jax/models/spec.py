"""What a network is: the one description that recipes, files of weights and exports share."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from data_pipeline.errors import InputError
from luperson_jax.models.baseline import MocoEncoder, PooledBackbone, ReidNet
from luperson_jax.models.heads import HeadKind
from luperson_jax.models.mgn import MGN
from luperson_jax.models.pooling import PoolingKind
from luperson_jax.models.resnet import ARCHITECTURES, ResNet, resnet, smallest_architecture

Kind = Literal["backbone", "moco", "reid", "mgn"]
"""A trunk alone, the encoders and the queue of MoCo, a network with a BNNeck, or an MGN."""
KINDS = get_args(Kind)


@dataclass(frozen=True)
class NetworkSpec:
    """A network and the arrays that belong to it; the names are those of the configuration.

    `pooling` is "gem_learned" where the exponent is among the tensors. Otherwise a file does not
    tell: "avg" is a guess that only a recipe can correct. 0 stands for a part that is not there,
    and for a `hidden` layer as wide as the backbone's features.
    """

    kind: Kind
    arch: str
    width: int = 64
    stem: Literal["imagenet", "small"] = "imagenet"
    ibn: bool = False
    non_local: bool = False
    last_stride: int = 2
    pooling: PoolingKind = "avg"
    extra_bn: bool = False
    embedding_dim: int = 0
    num_classes: int = 0
    head: HeadKind = "mlp"
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

    def build(
        self,
        *,
        bn_group_size: int = 0,
        compute_dtype: str = "float32",
        frozen_parts: Sequence[str] = ("backbone",),
    ) -> PooledBackbone | MocoEncoder | ReidNet | MGN:
        """The module, with what matters to its run alone.

        Args:
            bn_group_size: images that share BatchNorm statistics; 0 = the whole batch.
            compute_dtype: "float32", "bfloat16", or "auto" by the device.
            frozen_parts: top-level parts whose BatchNorm stands still where `frozen` says so.
        """
        backbone = self.backbone(bn_group_size=bn_group_size, compute_dtype=compute_dtype)
        if self.kind == "backbone":
            return PooledBackbone(backbone, self.pooling)
        if self.kind == "moco":
            return MocoEncoder(backbone, self.pooling, self.hidden, self.feature_dim, self.head)
        parts = (backbone, self.pooling, self.extra_bn, self.embedding_dim, tuple(frozen_parts))
        return MGN(*parts) if self.kind == "mgn" else ReidNet(*parts)

    def backbone(self, *, bn_group_size: int = 0, compute_dtype: str = "float32") -> ResNet:
        """The trunk alone."""
        return resnet(
            self.arch,
            width=self.width,
            stem=self.stem,
            ibn=self.ibn,
            last_stride=self.last_stride,
            non_local=self.non_local,
            bn_group_size=bn_group_size,
            compute_dtype=compute_dtype,
        )


_TRUNK = re.compile(r"(params|extra/stats)/(?:backbone|b1)/(.+)")


def backbone_path(path: str) -> str | None:
    """The path in a lone backbone of a tensor of any network; None where it belongs to none.

    The backbone of an MGN is its trunk with the first branch.
    """
    match = _TRUNK.fullmatch(path)
    return f"{match[1]}/backbone/{match[2]}" if match else None


def describe(
    shapes: Mapping[str, tuple[int, ...]],
    kind: Kind,
    last_stride: int,
    pooling: PoolingKind = "avg",
) -> NetworkSpec:
    """The network that tensors of these paths and shapes come from.

    Raises:
        InputError: they are not those of a ResNet that this program has.
    """
    stem = shapes.get("params/backbone/conv1/kernel")
    blocks = [0, 0, 0, 0]
    trunk = [one for path in shapes if (one := backbone_path(path))]
    for path in trunk:
        if match := re.match(r"params/backbone/layer([1-4])_(\d+)/", path):
            stage, index = int(match[1]) - 1, int(match[2])
            blocks[stage] = max(blocks[stage], index + 1)
    bottleneck = "params/backbone/layer1_0/conv3/kernel" in shapes
    arch = smallest_architecture(blocks, bottleneck=bottleneck)
    if stem is None or not all(blocks) or arch is None:
        raise InputError(
            f"the file holds {'no' if stem is None else 'a'} first convolution and stages of "
            f"{blocks} {'bottlenecks' if bottleneck else 'basic blocks'}; expected one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    return NetworkSpec(
        kind=kind,
        arch=arch,
        width=stem[-1],
        stem="imagenet" if stem[0] == 7 else "small",
        ibn="params/backbone/layer1_0/bn1/IN/scale" in shapes,
        non_local=any(path.startswith("params/backbone/NL_") for path in trunk),
        last_stride=last_stride,
        **_heads(shapes, kind, pooling),
    )


def _heads(
    shapes: Mapping[str, tuple[int, ...]], kind: Kind, pooling: PoolingKind
) -> dict[str, Any]:
    """What stands behind the trunk."""
    neck, pool, extra_bn, classifier = "neck", "pool", "extra_bn", "classifier"
    if kind == "mgn":  # its heads are alike
        neck, pool, extra_bn, classifier = "b1_head", "b1_head/pool", "extra_bn_b1", "classifier/b1"
    last = shapes.get("params/head/fc_2/kernel") or shapes.get("params/head/fc/kernel", (0, 128))
    return {
        "pooling": "gem_learned" if f"params/{pool}/p" in shapes else pooling,
        "extra_bn": f"params/{extra_bn}/scale" in shapes,
        "embedding_dim": shapes.get(f"params/{neck}/reduction/kernel", (0, 0))[1],
        "num_classes": shapes.get(f"params/{classifier}/kernel", (0, 0))[1],
        "head": "linear" if "params/head/fc/kernel" in shapes else "mlp",
        "hidden": shapes.get("params/head/fc_0/kernel", (0, 0))[1],
        "feature_dim": last[1],
        "queue_size": shapes.get("extra/queue", (0, 0))[0],
    }
