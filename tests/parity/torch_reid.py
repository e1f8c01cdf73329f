"""The networks of re-ID in PyTorch, with the `state_dict` names and shapes of the public files.

See `torch_nets`, whose trunks they stand on.
"""

import copy

import torch
from torch import nn
from torch.nn import functional

from tests.parity.torch_nets import ResNet, kaiming

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
PARTS = {"b1": 1, "b2": 2, "b3": 3}
"""Branches of MGN, and into how many stripes each cuts its map."""
HEADS = ("b1", "b2", "b3", "b21", "b22", "b31", "b32", "b33")
GROUPS = (("b1",), ("b2",), ("b3",), ("b21", "b22"), ("b31", "b32", "b33"))


class Pool(nn.Module):
    """[B, C, H, W] to [B, C, 1, 1]: "avg", "gem" with p = 3, "gem_learned" with a parameter `p`."""

    def __init__(self, kind):
        super().__init__()
        assert kind in ("avg", "gem", "gem_learned"), kind
        self.kind = kind
        self.p = nn.Parameter(torch.full((1,), 3.0)) if kind == "gem_learned" else 3.0

    def forward(self, x):
        if self.kind == "avg":
            return x.mean((2, 3), keepdim=True)
        return x.clamp(min=1e-6).pow(self.p).mean((2, 3), keepdim=True).pow(1 / self.p)


class Head(nn.Module):
    """FastReID's: pooling, perhaps a reduction, BNNeck, and the kernel of a classifier."""

    def __init__(self, channels, pooling, embedding_dim, num_classes):
        super().__init__()
        self.pool_layer = Pool(pooling)
        neck = nn.BatchNorm2d(embedding_dim or channels)
        nn.init.normal_(neck.weight, 1.0, 0.02)
        neck.bias.requires_grad_(False)
        self.bottleneck = nn.Sequential(neck)
        if embedding_dim:
            reduction = nn.Conv2d(channels, embedding_dim, 1, bias=False)
            self.bottleneck = nn.Sequential(kaiming(reduction), neck)
        self.classifier = nn.Linear(embedding_dim or channels, num_classes, bias=False)
        nn.init.normal_(self.classifier.weight, 0.0, 0.001)

    def forward(self, x):
        """A map to (before, after): pooled [B, d], and past the neck [B, E or d]."""
        pooled = self.pool_layer(x)
        return pooled.flatten(1), self.bottleneck(pooled).flatten(1)


def _register_pixels(module):
    module.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1))
    module.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1))


class FastReid(nn.Module):
    """FastReID's Baseline in the names of LUPerson's fork: BoT, AGW and SBS."""

    def __init__(
        self,
        depth,
        width,
        pooling="avg",
        embedding_dim=0,
        extra_bn=False,
        num_classes=751,
        ibn=False,
        last_stride=1,
        non_local=False,
    ):
        super().__init__()
        _register_pixels(self)
        self.backbone = ResNet(depth, width, last_stride, ibn, non_local=non_local)
        d = self.backbone.num_features
        self.heads_extra_bn = nn.BatchNorm2d(d) if extra_bn else None
        self.heads = Head(d, pooling, embedding_dim, num_classes)

    def features(self, images):
        """Normalized images to (before, after), see `Head`; the second serves retrieval."""
        x = self.backbone(images)
        return self.heads(x if self.heads_extra_bn is None else self.heads_extra_bn(x))

    def forward(self, images):
        """Normalized images to (before, after, logits of a linear classifier)."""
        before, after = self.features(images)
        return before, after, self.heads.classifier(after)


class Mgn(nn.Module):
    """MGN in the names of LUPerson's fork: a trunk as far as layer3[0], three branches, 8 heads.

    Wang et al., "Learning Discriminative Features with Multiple Granularities for Person
    Re-Identification", 2018, arXiv 1804.01438.
    """

    def __init__(
        self,
        depth,
        width,
        pooling="gem_learned",
        embedding_dim=256,
        extra_bn=False,
        num_classes=751,
        ibn=False,
    ):
        super().__init__()
        _register_pixels(self)
        net = ResNet(depth, width, 1, ibn)
        stem = net.conv1, net.bn1, net.relu, net.maxpool
        self.backbone = nn.Sequential(*stem, net.layer1, net.layer2, net.layer3[0])
        for branch in PARTS:
            rest = nn.Sequential(*copy.deepcopy(net.layer3[1:]))
            self.add_module(branch, nn.Sequential(rest, copy.deepcopy(net.layer4)))
            if extra_bn:
                self.add_module(f"heads_extra_bn_{branch}", nn.BatchNorm2d(net.num_features))
        for name in HEADS:
            head = Head(net.num_features, pooling, embedding_dim, num_classes)
            self.add_module(f"{name}_head", head)

    def features(self, images):
        """Normalized images to {head: (before, after)}, see `Head`."""
        trunk, maps = self.backbone(images), {}
        for branch, number in PARTS.items():
            x = self.get_submodule(branch)(trunk)
            maps[branch] = getattr(self, f"heads_extra_bn_{branch}", nn.Identity())(x)
            parts = maps[branch].chunk(number, dim=2) if number > 1 else ()
            maps |= {f"{branch}{i}": part for i, part in enumerate(parts, start=1)}
        return {name: self.get_submodule(f"{name}_head")(maps[name]) for name in HEADS}


class ClusterContrast(nn.Module):
    """Cluster Contrast's encoder; with `num_cameras` > 0 also the names of CALR's camera head.

    Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", 2022,
    arXiv 2103.11568.
    """

    def __init__(self, depth, width, pooling="gem_learned", ibn=False, num_cameras=0):
        super().__init__()
        trunk = ResNet(depth, width, last_stride=1, ibn=ibn)
        d = trunk.num_features
        self.base = nn.Sequential(*trunk.children())
        self.gap = Pool(pooling)
        self.feat_bn = nn.BatchNorm1d(d)
        self.feat_bn.bias.requires_grad_(False)
        if num_cameras:
            self.domain_classifier = nn.Module()
            self.domain_classifier.d_fc1 = nn.Linear(d, 100)
            self.domain_classifier.d_bn1 = nn.BatchNorm1d(100)
            self.domain_classifier.d_fc2 = nn.Linear(100, 100)
            self.domain_classifier.d_bn2 = nn.BatchNorm1d(100)
            self.domain_classifier.d_fc3 = nn.Linear(100, num_cameras)

    def forward(self, images):
        """[B, d] of unit norm, in training and evaluation."""
        return functional.normalize(self.feat_bn(self.gap(self.base(images)).flatten(1)), dim=1)
