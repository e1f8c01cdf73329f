"""Networks of PyTorch to convert, one for every kind of file, and their conversion.

The tests build them narrow, `full_width.py` as wide as they are published.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from luperson_jax.weights import translate
from luperson_jax.weights.model import Model
from tests.parity import torch_nets, torch_reid

Arrays = dict[str, np.ndarray]
NUM_CLASSES = 4


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of file.

    Attributes:
        family: what detection must call it.
        build: width -> twin.
        pooling: what the file does not tell about it; empty = it does.
    """

    family: str
    build: Callable[[int], nn.Module]
    pooling: str = ""


def _case(family: str, net: type[nn.Module], depth: int, **options: Any) -> Case:
    untold = "gem" if options.get("pooling") == "gem" else ""
    return Case(family, functools.partial(net, depth, **options), untold)


_fastreid = functools.partial(_case, "fastreid", torch_reid.FastReid, num_classes=NUM_CLASSES)
_contrast = functools.partial(_case, "cluster_contrast", torch_reid.ClusterContrast)
_mgn = functools.partial(_case, "mgn", torch_reid.Mgn, num_classes=NUM_CLASSES)

CASES = {
    "torchvision R18": _case("torchvision", torch_nets.ResNet, 18, num_classes=10),
    "torchvision R34": _case("torchvision", torch_nets.ResNet, 34, num_classes=10),
    "torchvision R50": _case("torchvision", torch_nets.ResNet, 50, num_classes=10),
    "torchvision R101": _case("torchvision", torch_nets.ResNet, 101, num_classes=10),
    "torchvision R152": _case("torchvision", torch_nets.ResNet, 152, num_classes=10),
    "IBN-Net R18": _case("luperson", torch_nets.ResNet, 18, ibn=True),
    "IBN-Net R50": _case("luperson", torch_nets.ResNet, 50, ibn=True),
    "IBN-Net R101": _case("luperson", torch_nets.ResNet, 101, ibn=True),
    "LUPerson R50": _case("luperson", torch_nets.ResNet, 50),
    "MoCo v1 R18": _case("moco", torch_nets.Moco, 18, head="linear"),
    "MoCo v1 R50": _case("moco", torch_nets.Moco, 50, head="linear"),
    "MoCo v2 R50": _case("moco", torch_nets.Moco, 50),
    "MoCo v2 R101": _case("moco", torch_nets.Moco, 101),
    "SimCLR R50": _case("simclr", torch_nets.SimClr, 50),
    "PNL R50": _case("pnl", torch_nets.Pnl, 50, num_classes=NUM_CLASSES),
    "BoT R18": _fastreid(18),
    "BoT R50": _fastreid(50),
    "BoT R50, GeM": _fastreid(50, pooling="gem"),
    "BoT R50, learned GeM": _fastreid(50, pooling="gem_learned"),
    "BoT R50, extra BN": _fastreid(50, extra_bn=True),
    "BoT R50, embedding 512": _fastreid(50, embedding_dim=512),
    "BoT R18 IBN, all parts": _fastreid(
        18, ibn=True, pooling="gem_learned", extra_bn=True, embedding_dim=24
    ),
    "BoT R50 IBN, all parts": _fastreid(
        50, ibn=True, pooling="gem_learned", extra_bn=True, embedding_dim=512
    ),
    "BoT R101 IBN": _fastreid(101, ibn=True),
    "IDE R50": _fastreid(50, embedding_dim=1024),
    "AGW R18": _fastreid(18, pooling="gem", non_local=True),
    "AGW R50": _fastreid(50, pooling="gem", non_local=True),
    "SBS R18": _fastreid(18, pooling="gem_learned", non_local=True),
    "SBS R50": _fastreid(50, pooling="gem_learned", non_local=True),
    "MGN R18 IBN": _mgn(18, ibn=True, embedding_dim=24),
    "MGN R50": _mgn(50, extra_bn=True),
    "Cluster Contrast R50": _contrast(50, pooling="avg"),
    "Cluster Contrast R50, GeM": _contrast(50, pooling="gem"),
    "CALR R50 IBN": _contrast(50, ibn=True, num_cameras=6),
}

LARGE = {
    "AGW R101": _fastreid(101, pooling="gem", non_local=True),
    "SBS R152": _fastreid(152, pooling="gem_learned", non_local=True),
    "MGN R101": _mgn(101, extra_bn=True),
    "MGN R152": _mgn(152, extra_bn=True),
}
"""Too slow to compile for the tests; `full_width.py` has them too."""


def make_twin(case: Case, width: int, seed: int = 0, *, trainable: bool = False) -> nn.Module:
    """A random network in which no tensor equals another.

    Args:
        case: what to build.
        width: channels of the stem.
        seed: of all its values.
        trainable: scale the last normalization of every bottleneck and non-local block by a tenth,
            which is nearer to a trained network: where residual branches are as large as their
            shortcuts, a random ResNet-50 is chaotic, and rounding moves PyTorch's own gradients by
            percents. And leave the bias of the necks at 0, which the files have because it is never
            trained.
    """
    torch.manual_seed(seed)
    twin = torch_nets.randomize(case.build(width), seed + 1)
    with torch.no_grad():
        if isinstance(twin, torch_nets.Moco | torch_nets.Pnl):
            for value in twin.encoder_k.state_dict().values():
                if value.is_floating_point():
                    value.mul_(0.8 + 0.4 * torch.rand(value.shape))
            twin.queue_ptr.fill_(twin.queue.shape[1] - 5)  # the next keys wrap around
        if isinstance(twin, torch_reid.FastReid):
            _measure_non_local(twin.backbone)
        if trainable:
            for name, value in twin.named_parameters():
                if name.endswith(("bn3.weight", "W.1.weight")):
                    value.mul_(0.1)
                elif isinstance(twin, torch_reid.FastReid | torch_reid.Mgn) and (
                    not value.requires_grad
                ):
                    value.zero_()
    return twin


def _measure_non_local(backbone: torch_nets.ResNet) -> None:
    """Gives the normalizations of non-local blocks the statistics of their maps. Products of three
    maps are far from what others have, and without this would grow beyond all numbers."""
    norms = [one.W[1] for one in backbone.modules() if isinstance(one, torch_nets.NonLocal)]
    backbone.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None  # the average of all batches, of which there is one
        norm.reset_running_stats()
    backbone(torch.randn(4, 3, 96, 48))
    for norm in norms:
        norm.momentum = 0.1
    backbone.train()


def arrays_of(twin: nn.Module) -> Arrays:
    """Copies of its tensors by name: training changes the tensors in place."""
    return {name: value.numpy().copy() for name, value in twin.state_dict().items()}


def convert(case: Case, twin: nn.Module) -> Model:
    """The twin as a model of ours."""
    model = translate.from_torch(arrays_of(twin))
    assert model.account is not None
    assert model.account.complete, model.account.problems()
    assert model.family == case.family, (model.family, case.family)
    spec = dataclasses.replace(model.spec, pooling=case.pooling or model.spec.pooling)
    return dataclasses.replace(model, spec=spec)


def to_nchw(images: np.ndarray) -> torch.Tensor:
    """[B, h, w, C] for PyTorch."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def to_nhwc(x: torch.Tensor) -> np.ndarray:
    """[B, C, ...] for us."""
    return np.moveaxis(x.detach().numpy(), 1, -1)
