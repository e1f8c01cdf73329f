"""The reference networks and losses of re-ID against the published layouts and their formulas."""

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

from tests.parity import torch_losses, torch_reid  # noqa: E402
from tests.parity.test_torch_nets import (  # noqa: E402
    batch_norm,
    build,
    close,
    images_of,
    normalized,
    prefixed,
    random_net,
    resnet50,
    shapes,
)

PIXELS = {"pixel_mean": (1, 3, 1, 1), "pixel_std": (1, 3, 1, 1)}


def pointwise(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs, 1, 1), f"{name}.bias": (outputs,)}


def test_names_of_the_non_local_blocks():
    wanted = PIXELS | prefixed("backbone.", resnet50()) | batch_norm("heads.bottleneck.0", 2048)
    wanted |= {"heads.pool_layer.p": (1,), "heads.classifier.weight": (751, 2048)}
    for stage, channels, number in ((2, 512, 2), (3, 1024, 3)):
        for i in range(number):
            block = f"backbone.NL_{stage}.{i}"
            for name in ("g", "theta", "phi"):
                wanted |= pointwise(f"{block}.{name}", channels, channels // 2)
            wanted |= pointwise(f"{block}.W.0", channels // 2, channels)
            wanted |= batch_norm(f"{block}.W.1", channels)
    assert shapes(build("FastReid", 50, 64, "gem_learned", non_local=True)) == wanted


def mgn50():
    """Every name and shape, written out from the table of a ResNet-50."""
    table = dict(PIXELS)
    stages = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5"}
    for key, shape in resnet50().items():
        first, _, rest = key.partition(".")
        index, _, within = rest.partition(".")
        if first in stages:
            table[f"backbone.{stages[first]}.{rest}"] = shape
        elif first == "layer3" and index == "0":
            table[f"backbone.6.{within}"] = shape
        else:
            place = f"0.{int(index) - 1}" if first == "layer3" else f"1.{index}"
            table |= {f"b{branch}.{place}.{within}": shape for branch in (1, 2, 3)}
    for branch in (1, 2, 3):
        table |= batch_norm(f"heads_extra_bn_b{branch}", 2048)
    for name in ("b1", "b2", "b21", "b22", "b3", "b31", "b32", "b33"):
        table[f"{name}_head.pool_layer.p"] = (1,)
        table[f"{name}_head.bottleneck.0.weight"] = (256, 2048, 1, 1)
        table |= batch_norm(f"{name}_head.bottleneck.1", 256)
        table[f"{name}_head.classifier.weight"] = (751, 256)
    return table


@pytest.mark.parametrize(
    ("depth", "tensors", "parameters"),
    [(50, 699, 70_358_088), (101, 1617, 127_334_472), (152, 2391, 172_024_904)],
)
def test_names_of_mgn(depth, tensors, parameters):
    net = build("Mgn", depth, 64, extra_bn=True)
    assert len(net.state_dict()) == tensors
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    if depth == 50:
        assert shapes(net) == mgn50()


def test_a_non_local_block_by_loops():
    block = random_net("FastReid", 18, 4, non_local=True, num_classes=2).eval().backbone.NL_2[0]
    x = torch.randn(2, 8, 3, 2)
    maps = {name: getattr(block, name)(x).flatten(2) for name in ("theta", "phi", "g")}
    read = torch.zeros(2, 4, 6)
    for b in range(2):
        for i in range(6):
            for j in range(6):
                affinity = maps["theta"][b, :, i] @ maps["phi"][b, :, j] / 6
                read[b, :, i] += affinity * maps["g"][b, :, j]
    kernel, bias = block.W[0].weight[:, :, 0, 0], block.W[0].bias
    out = torch.einsum("oc,bcn->bon", kernel, read) + bias[None, :, None]
    close(block(x), normalized(out.unflatten(2, (3, 2)), block.W[1]) + x)


def test_mgn_shares_the_trunk_and_cuts_the_maps():
    net = random_net("Mgn", 18, 4, "avg", embedding_dim=6, extra_bn=True, num_classes=3).eval()
    trunk = net.backbone(images_of(2))
    assert trunk.shape[1:] == (16, 5, 3)
    found = net.features(images_of(2))
    assert list(found) == ["b1", "b2", "b3", "b21", "b22", "b31", "b32", "b33"]
    rows = {"b1": (0, 5), "b2": (0, 5), "b21": (0, 3), "b22": (3, 5)}
    rows |= {"b3": (0, 5), "b31": (0, 2), "b32": (2, 4), "b33": (4, 5)}
    for name, (top, bottom) in rows.items():
        branch, head = name[:2], net.get_submodule(f"{name}_head")
        x = trunk
        for block in (*net.get_submodule(branch)[0], *net.get_submodule(branch)[1]):
            x = block(x)
        x = normalized(x, net.get_submodule(f"heads_extra_bn_{branch}"))
        pooled = x[:, :, top:bottom].mean((2, 3))
        before, after = found[name]
        close(before, pooled)
        reduced = pooled @ head.bottleneck[0].weight[:, :, 0, 0].T
        close(after, normalized(reduced, head.bottleneck[1]), 1e-4)


def test_branches_of_mgn_start_equal_and_apart():
    net = torch_reid.Mgn(18, 4, embedding_dim=6, num_classes=3)
    first = net.b1.state_dict()
    for branch in (net.b2, net.b3):
        for name, value in branch.state_dict().items():
            assert torch.equal(value, first[name])
            assert value.data_ptr() != first[name].data_ptr()
    frozen = [key for key, value in net.named_parameters() if not value.requires_grad]
    assert frozen == [f"{name}_head.bottleneck.1.bias" for name in torch_reid.HEADS]


@dataclasses.dataclass
class Settings:
    """Of the group `task`."""

    classifier: str = "linear"
    classifier_scale: float = 64.0
    classifier_margin: float = 0.35
    mining: str = "hard"
    margin: float = 0.3
    triplet_feature: str = "before"
    label_smoothing: float = 0.1


def loss_by_loops(heads, groups, labels, task):
    entropies, triplets = [], []
    for _, after, kernel in heads.values():
        classes = len(kernel)
        for feature, label in zip(after, labels, strict=True):
            logits = kernel @ feature
            if task.classifier == "circle":
                m = task.classifier_margin
                for c in range(classes):
                    cosine = logits[c] / np.linalg.norm(kernel[c]) / np.linalg.norm(feature)
                    true = max(1 + m - cosine, 0) * (cosine - 1 + m)
                    other = max(cosine + m, 0) * (cosine - m)
                    logits[c] = task.classifier_scale * (true if c == label else other)
            spread = task.label_smoothing / (classes - 1)
            share = [1 - task.label_smoothing if c == label else spread for c in range(classes)]
            entropies.append(np.log(np.exp(logits).sum()) - np.dot(share, logits))
    side = 0 if task.triplet_feature == "before" else 1
    for group in groups:
        rows = np.concatenate([heads[name][side] for name in group], axis=1)
        for row, label in zip(rows, labels, strict=True):
            distance = np.maximum(np.linalg.norm(rows - row, axis=1), 1e-6)
            near, far = distance[labels == label], distance[labels != label]
            positive, negative = near.max(), far.min()
            if task.mining == "weighted":
                positive = np.average(near, weights=np.exp(near))
                negative = np.average(far, weights=np.exp(-far))
            gap = positive - negative
            triplets.append(max(gap + task.margin, 0) if task.margin else np.log1p(np.exp(gap)))
    return np.mean(entropies) + np.mean(triplets)


@pytest.mark.parametrize(
    "task",
    [
        Settings(),
        Settings(label_smoothing=0.3, margin=1.0),
        Settings(mining="weighted", margin=0.0),
        Settings("circle", margin=0.0, triplet_feature="after"),
        Settings("circle", 8.0, 0.1, "weighted"),
    ],
)
def test_the_loss_by_loops(task):
    random = np.random.default_rng(0)
    labels = np.array([0, 0, 4, 4, 4, 2, 1, 1])  # one image alone: its own positive
    heads = {
        name: [random.normal(size=size) for size in ((8, 3), (8, 4), (5, 4))]
        for name in ("b1", "b21", "b22")
    }
    groups = (("b1",), ("b21", "b22"))
    tensors = {
        name: [torch.tensor(one, requires_grad=True) for one in head]
        for name, head in heads.items()
    }
    loss = torch_losses.reid_loss(tensors, groups, torch.tensor(labels), task)
    assert math.isclose(loss.item(), loss_by_loops(heads, groups, labels, task), rel_tol=1e-9)
    loss.backward()
    side = 0 if task.triplet_feature == "before" else 1
    for head in tensors.values():
        assert all(head[i].grad.isfinite().all() and head[i].grad.any() for i in {side, 1, 2})
