"""The reference networks against the published layouts: counts, names, shapes and formulas."""

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

from tests.parity import torch_losses, torch_nets, torch_reid  # noqa: E402

COUNTER = "num_batches_tracked"
# By depth: convolutions, tensors with and without counters, parameters.
SIZES = {
    50: (53, 318, 265, 23_508_032),
    101: (104, 624, 520, 42_500_160),
    152: (155, 930, 775, 58_143_808),
}
# Hidden channels, input of the first block, number of blocks of a ResNet-50.
STAGES = ((64, 64, 3), (128, 256, 4), (256, 512, 6), (512, 1024, 3))


def build(name, *args, **options):
    """A network without values, which costs neither time nor memory."""
    with torch.device("meta"):
        return find(name)(*args, **options)


def find(name):
    return getattr(torch_nets, name, None) or getattr(torch_reid, name)


def shapes(module):
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def prefixed(prefix, table):
    return {prefix + key: shape for key, shape in table.items()}


def affine(name, channels):
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def batch_norm(name, channels):
    statistics = {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}
    return {**affine(name, channels), **statistics, f"{name}.{COUNTER}": ()}


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def resnet50(ibn=False):
    """Every name and shape of a ResNet-50, written out from the table of its layers."""
    table = {"conv1.weight": (64, 3, 7, 7), **batch_norm("bn1", 64)}
    for stage, (mid, inputs, number) in enumerate(STAGES, start=1):
        for i in range(number):
            block = f"layer{stage}.{i}"
            table[f"{block}.conv1.weight"] = (mid, 4 * mid if i else inputs, 1, 1)
            table[f"{block}.conv2.weight"] = (mid, mid, 3, 3)
            table[f"{block}.conv3.weight"] = (4 * mid, mid, 1, 1)
            if ibn and stage < 4:
                table |= affine(f"{block}.bn1.IN", mid // 2)
                table |= batch_norm(f"{block}.bn1.BN", mid // 2)
            else:
                table |= batch_norm(f"{block}.bn1", mid)
            table |= batch_norm(f"{block}.bn2", mid) | batch_norm(f"{block}.bn3", 4 * mid)
        table[f"layer{stage}.0.downsample.0.weight"] = (4 * mid, inputs, 1, 1)
        table |= batch_norm(f"layer{stage}.0.downsample.1", 4 * mid)
    return table


@pytest.mark.parametrize("depth", SIZES)
def test_counts_of_the_bottleneck_networks(depth):
    net = build("ResNet", depth)
    convs, tensors, without_counters, parameters = SIZES[depth]
    assert sum(isinstance(module, torch.nn.Conv2d) for module in net.modules()) == convs
    assert len(net.state_dict()) == tensors
    assert sum(not key.endswith(COUNTER) for key in net.state_dict()) == without_counters
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


def test_the_shallow_network():
    table = shapes(build("ResNet", 18))
    assert table["layer1.1.conv2.weight"] == (64, 64, 3, 3)
    assert table["layer4.0.conv1.weight"] == (512, 256, 3, 3)
    assert table["layer4.0.downsample.0.weight"] == (512, 256, 1, 1)
    assert not any("conv3" in key or key.startswith("layer1.0.downsample") for key in table)
    assert len(table) == 6 * 20  # 17 convolutions and 3 shortcuts, each with its normalization


def test_names_of_torchvision():
    assert shapes(build("ResNet", 50)) == resnet50()
    assert shapes(build("ResNet", 50, ibn=True)) == resnet50(ibn=True)
    classifier = linear("fc", 2048, 1000)
    assert shapes(build("ResNet", 50, num_classes=1000)) == resnet50() | classifier


def test_names_of_moco():
    net = build("Moco", 50, 64, queue_size=65536)
    head = linear("fc.0", 2048, 2048) | linear("fc.2", 2048, 128)
    encoder = resnet50() | head
    queue = {"queue": (128, 65536), "queue_ptr": (1,)}
    both = prefixed("encoder_q.", encoder) | prefixed("encoder_k.", encoder)
    assert shapes(net) == both | queue
    assert net.queue_ptr.dtype == torch.int64
    assert sum(math.prod(shape) for shape in head.values()) == 4_458_624
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 23_508_032 + 4_458_624

    encoder = resnet50() | linear("fc", 2048, 128)
    both = prefixed("encoder_q.", encoder) | prefixed("encoder_k.", encoder)
    assert shapes(build("Moco", 50, 64, head="linear", queue_size=65536)) == both | queue


def test_names_of_simclr_and_pnl():
    head = linear("fc.0", 2048, 2048) | batch_norm("fc.1", 2048) | linear("fc.3", 2048, 128)
    assert shapes(build("SimClr", 50, 64)) == prefixed("encoder.", resnet50() | head)
    assert shapes(build("SimClr", 50, 64, 2048))["encoder.fc.3.weight"] == (2048, 2048)

    heads = linear("embed_fc", 2048, 256) | linear("classifier", 256, 1000)
    heads |= linear("fc1", 2048, 2048) | linear("fc2", 2048, 128)
    encoder = resnet50() | heads
    state = {"queue": (128, 512), "queue_id": (512, 1), "queue_ptr": (1,)}
    state |= {"prototypes": (1000, 128)}
    net = build("Pnl", 50, 64, num_classes=1000, queue_size=512)
    assert shapes(net) == prefixed("encoder_q.", encoder) | prefixed("encoder_k.", encoder) | state
    assert net.queue_id.dtype == net.queue_ptr.dtype == torch.int64


def test_names_of_fastreid():
    pixels = {"pixel_mean": (1, 3, 1, 1), "pixel_std": (1, 3, 1, 1)}
    common = pixels | prefixed("backbone.", resnet50())
    neck = batch_norm("heads.bottleneck.0", 2048)
    head = neck | {"heads.classifier.weight": (751, 2048)}
    for pooling in ("avg", "gem"):
        assert shapes(build("FastReid", 50, 64, pooling)) == common | head
    net = build("FastReid", 50, 64, "gem_learned", extra_bn=True, ibn=True, num_classes=702)
    wanted = pixels | prefixed("backbone.", resnet50(ibn=True)) | neck
    wanted |= batch_norm("heads_extra_bn", 2048) | {"heads.pool_layer.p": (1,)}
    assert shapes(net) == wanted | {"heads.classifier.weight": (702, 2048)}
    reduced = {"heads.bottleneck.0.weight": (256, 2048, 1, 1)}
    reduced |= batch_norm("heads.bottleneck.1", 256) | {"heads.classifier.weight": (751, 256)}
    assert shapes(build("FastReid", 50, 64, embedding_dim=256)) == common | reduced


POSITIONS = {"conv1": "base.0", "bn1": "base.1"} | {
    f"layer{i}": f"base.{i + 3}" for i in range(1, 5)
}


def renamed(table):
    split = ((key.partition("."), value) for key, value in table.items())
    return {f"{POSITIONS[first]}.{rest}": value for (first, _, rest), value in split}


def test_names_of_cluster_contrast():
    plain = renamed(resnet50()) | batch_norm("feat_bn", 2048)
    assert shapes(build("ClusterContrast", 50, 64, "avg")) == plain
    camera_head = linear("d_fc1", 2048, 100) | batch_norm("d_bn1", 100)
    camera_head |= linear("d_fc2", 100, 100) | batch_norm("d_bn2", 100) | linear("d_fc3", 100, 6)
    wanted = renamed(resnet50(ibn=True)) | batch_norm("feat_bn", 2048) | {"gap.p": (1,)}
    wanted |= prefixed("domain_classifier.", camera_head)
    assert shapes(build("ClusterContrast", 50, 64, ibn=True, num_cameras=6)) == wanted


@pytest.mark.parametrize(("last_stride", "last_map"), [(2, (8, 4)), (1, (16, 8))])
def test_shapes_of_the_feature_maps(last_stride, last_map):
    net = build("ResNet", 50, last_stride=last_stride)
    images = torch.empty(2, 3, 256, 128, device="meta")
    maps = [(64, 64, 32), (256, 64, 32), (512, 32, 16), (1024, 16, 8), (2048, *last_map)]
    assert [tuple(x.shape) for x in net.stages(images)] == [(2, *wanted) for wanted in maps]
    assert net(images).shape == (2, 2048, *last_map)
    assert net.pooled(images).shape == (2, net.num_features)


def images_of(number, seed=0):
    """Odd at every stage, so that each padding matters."""
    return torch.randn(number, 3, 65, 33, generator=torch.Generator().manual_seed(seed))


def random_net(name, *args, **options):
    torch.manual_seed(0)
    return torch_nets.randomize(find(name)(*args, **options), seed=1)


def close(got, wanted, tolerance=1e-5):
    got, wanted = (value.detach().numpy() for value in (got, torch.as_tensor(wanted)))
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def normalized(x, norm):
    """Normalization by running statistics, channels in the second dimension of `x`."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    scale = norm.weight / (norm.running_var + 1e-5).sqrt()
    return (x - norm.running_mean.view(shape)) * scale.view(shape) + norm.bias.view(shape)


def unit_rows(x):
    return x / x.norm(dim=1, keepdim=True)


def test_a_bottleneck_step_by_step():
    """One block in evaluation, from functions: the stride is on the 3x3 and on the shortcut."""
    block = random_net("ResNet", 50, 8).eval().layer2[0]
    x, conv = torch.randn(2, 32, 9, 5), torch.nn.functional.conv2d
    y = normalized(conv(x, block.conv1.weight), block.bn1).relu()
    y = normalized(conv(y, block.conv2.weight, stride=2, padding=1), block.bn2).relu()
    y = normalized(conv(y, block.conv3.weight), block.bn3)
    shortcut = normalized(conv(x, block.downsample[0].weight, stride=2), block.downsample[1])
    close(block(x), (y + shortcut).relu())


def test_ibn_normalizes_the_first_half_by_image():
    net = random_net("ResNet", 50, 8, ibn=True).eval()
    assert not isinstance(net.layer4[0].bn1, torch_nets.IBN)
    norm = net.layer1[0].bn1
    x = torch.randn(2, 8, 6, 5)
    variance, mean = torch.var_mean(x[:, :4], dim=(2, 3), keepdim=True, correction=0)
    scale, bias = norm.IN.weight.view(-1, 1, 1), norm.IN.bias.view(-1, 1, 1)
    first = (x[:, :4] - mean) / (variance + 1e-5).sqrt() * scale + bias
    close(norm(x), torch.cat([first, normalized(x[:, 4:], norm.BN)], dim=1))


def gem(x, p):
    powers = np.maximum(x.detach().numpy().astype(np.float64), 1e-6) ** p
    return torch.from_numpy((powers.mean((2, 3)) ** (1 / p)).astype(np.float32))


@pytest.mark.parametrize("pooling", ["avg", "gem", "gem_learned"])
def test_the_head_of_fastreid(pooling):
    net = random_net("FastReid", 18, 4, pooling, extra_bn=True, num_classes=5).eval()
    x = normalized(net.backbone(images_of(3)), net.heads_extra_bn)
    p = net.heads.pool_layer.p.item() if pooling == "gem_learned" else 3.0
    pooled = x.mean((2, 3)) if pooling == "avg" else gem(x, p)
    before, after, logits = net(images_of(3))
    close(before, pooled)
    close(after, normalized(pooled, net.heads.bottleneck[0]), 1e-4)
    close(logits, after @ net.heads.classifier.weight.T)


def test_the_reduction_of_fastreid():
    net = random_net("FastReid", 18, 4, embedding_dim=6, num_classes=5).eval()
    before, after, logits = net(images_of(3))
    reduction, neck = net.heads.bottleneck
    assert (before.shape, after.shape, logits.shape) == ((3, 32), (3, 6), (3, 5))
    close(after, normalized(before @ reduction.weight[:, :, 0, 0].T, neck), 1e-4)


def test_the_neck_keeps_its_bias():
    for net, name in (
        (torch_reid.FastReid(18, 4, embedding_dim=6, num_classes=5), "heads.bottleneck.1.bias"),
        (torch_reid.ClusterContrast(18, 4), "feat_bn.bias"),
    ):
        frozen = [key for key, value in net.named_parameters() if not value.requires_grad]
        assert frozen == [name]
        assert not net.get_parameter(name).any()


def test_the_feature_of_cluster_contrast():
    """The same trunk under other names, then GeM, normalization and unit norm."""
    net = random_net("ClusterContrast", 18, 4, ibn=True, num_cameras=3).eval()
    trunk = torch_nets.ResNet(18, 4, last_stride=1, ibn=True).eval()
    state = net.state_dict()
    trunk.load_state_dict({key: state[next(iter(renamed({key: 0})))] for key in trunk.state_dict()})
    feature = net(images_of(3))
    close(feature.norm(dim=1), torch.ones(3), 1e-6)
    rows = normalized(gem(trunk(images_of(3)), net.gap.p.item()), net.feat_bn)
    close(feature, unit_rows(rows))
    close(net.train()(images_of(3)).norm(dim=1), torch.ones(3), 1e-6)


@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_steps_of_moco(head):
    """Three steps of 4 keys into a queue of 10: loss, both encoders, statistics and the wrap."""
    net = random_net("Moco", 18, 4, head, 6, queue_size=10, momentum=0.7, temperature=0.2)
    optimizer = torch.optim.SGD(net.encoder_q.parameters(), lr=0.1)
    for number in range(3):
        old = copy.deepcopy(net)
        queries, keys = images_of(4, 2 * number), images_of(4, 2 * number + 1)
        loss = net.step(queries, keys, optimizer)

        twin = copy.deepcopy(old)
        with torch.no_grad():
            for name, parameter in twin.encoder_k.named_parameters():
                parameter.copy_(0.7 * parameter + 0.3 * old.encoder_q.get_parameter(name))
        q = unit_rows(twin.encoder_q.fc(twin.encoder_q.pooled(queries)))
        with torch.no_grad():
            k = unit_rows(twin.encoder_k.fc(twin.encoder_k.pooled(keys)))
        scores = torch.cat([torch.diag(q @ k.T)[:, None], q @ old.queue], dim=1) / 0.2
        wanted = (scores.logsumexp(1) - scores[:, 0]).mean()
        gradient = torch.autograd.grad(wanted, list(twin.encoder_q.parameters()))
        close(loss, wanted)
        for (name, before), slope in zip(old.encoder_q.named_parameters(), gradient, strict=True):
            close(net.encoder_q.get_parameter(name), before - 0.1 * slope)
        for name, value in net.encoder_k.state_dict().items():
            close(value, twin.encoder_k.state_dict()[name])
        columns = [(4 * number + i) % 10 for i in range(4)]
        queue = old.queue.clone()
        queue[:, columns] = k.T
        close(net.queue, queue)
        assert net.queue_ptr.tolist() == [4 * (number + 1) % 10]


def test_moco_starts_with_equal_encoders_and_a_unit_queue():
    net = torch_nets.Moco(18, 4, feature_dim=6, queue_size=10)
    state = net.state_dict()
    for key in torch_nets.ResNet(18, 4).state_dict():
        assert torch.equal(state[f"encoder_q.{key}"], state[f"encoder_k.{key}"]), key
    close(net.queue.norm(dim=0), torch.ones(10), 1e-6)


def test_smoothing_of_equal_logits_is_the_log_of_the_classes():
    labels = torch.tensor([0, 3, 1])
    close(torch_losses.smoothed_cross_entropy(torch.zeros(3, 7), labels), math.log(7))
    sure = torch.tensor([[200.0, 0, 0], [0, 0, 0]])
    loss = torch_losses.smoothed_cross_entropy(sure, labels[[0, 0]], epsilon=0.0)
    close(loss, math.log(3))  # a loss of zero is not counted


def test_randomize():
    build_one = lambda: torch_reid.FastReid(18, 4, "gem_learned", num_classes=5, ibn=True)  # noqa: E731
    net = build_one()
    start = copy.deepcopy(net.state_dict())
    state = torch_nets.randomize(net, seed=1).state_dict()
    again = torch_nets.randomize(build_one(), seed=1).state_dict()
    other = torch_nets.randomize(build_one(), seed=2).state_dict()
    for key, value in state.items():
        if value.ndim > 1:
            assert torch.equal(value, start[key]), key
            continue
        assert torch.equal(value, again[key]), key
        assert not torch.equal(value, other[key]) or value.ndim == 0, key
        assert (value != start[key]).all(), key
        assert value.ndim == 0 or len(value.unique()) == len(value), key
        if key.endswith(("running_var", "weight")):
            assert ((value >= 0.5) & (value <= 1.5)).all(), key
    counters = {int(value) for key, value in state.items() if key.endswith(COUNTER)}
    assert min(counters) > 0
    assert len(counters) > 10
