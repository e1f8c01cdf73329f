"""Our networks against a ResNet written in PyTorch with torchvision's layout and names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import models
from luperson_jax.models.resnet import Conv

torch = pytest.importorskip("torch", reason="needs the [torch] extra")
nn = torch.nn


class TorchIBN(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.half = planes // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(planes - self.half)

    def forward(self, x):
        first, second = torch.split(x, [self.half, x.shape[1] - self.half], dim=1)
        return torch.cat([self.IN(first.contiguous()), self.BN(second.contiguous())], dim=1)


class TorchBlock(nn.Module):
    def __init__(self, inplanes, planes, stride, bottleneck, ibn):
        super().__init__()
        out = planes * (4 if bottleneck else 1)
        kernels, strides = ((1, 3, 1), (1, stride, 1)) if bottleneck else ((3, 3), (stride, 1))
        widths = (inplanes, planes, planes, out) if bottleneck else (inplanes, planes, planes)
        self.depth = len(kernels)
        for i, (size, step) in enumerate(zip(kernels, strides, strict=True)):
            conv = nn.Conv2d(widths[i], widths[i + 1], size, step, size // 2, bias=False)
            setattr(self, f"conv{i + 1}", conv)
            norm = TorchIBN if ibn and i == 0 else nn.BatchNorm2d
            setattr(self, f"bn{i + 1}", norm(widths[i + 1]))
        self.downsample = None
        if stride != 1 or inplanes != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = torch.relu(y) if i < self.depth else y
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNet(nn.Module):
    def __init__(self, blocks, width, last_stride, bottleneck, ibn):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, (number, stride) in enumerate(zip(blocks, (1, 2, 2, last_stride), strict=True)):
            layer = nn.Sequential()
            for i in range(number):
                planes = width * 2**stage
                step = stride if i == 0 else 1
                layer.append(TorchBlock(channels, planes, step, bottleneck, ibn and stage < 3))
                channels = planes * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", layer)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return x


# Compiling these networks well would take longer than running them.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

LEAVES = {"running_mean": "mean", "running_var": "var", "bias": "bias"}


def trees_of(module):
    """The state of a PyTorch module as our params and stats."""
    params, stats = {}, {}
    for key, value in module.state_dict().items():
        *path, leaf = key.split(".")
        if leaf == "num_batches_tracked":
            continue
        value = value.detach().numpy().copy()
        if leaf == "weight":
            name = "kernel" if value.ndim == 4 else "scale"
            value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
        else:
            name = LEAVES[leaf]
        node = stats if leaf.startswith("running") else params
        for part in join_indices(path):
            node = node.setdefault(part, {})
        node[name] = jnp.asarray(value)
    return params, stats


def join_indices(path):
    """["layer1", "0", "conv1"] -> ["layer1_0", "conv1"]."""
    joined = []
    for part in path:
        if part.isdigit():
            joined[-1] += f"_{part}"
        else:
            joined.append(part)
    return joined


def randomize(module):
    """Every parameter and statistic away from its start, at a harmless size."""
    generator = torch.Generator().manual_seed(0)
    for key, value in module.state_dict().items():
        if key.endswith("running_var") or (key.endswith("weight") and value.ndim == 1):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif key.endswith(("running_mean", "bias")):
            value.copy_(0.2 * torch.randn(value.shape, generator=generator))


def to_nchw(x):
    return torch.from_numpy(np.array(x).transpose(0, 3, 1, 2).copy())


def to_nhwc(x):
    return x.detach().numpy().transpose(0, 2, 3, 1)


def close_trees(got, wanted, tolerance):
    compare = lambda a, b: np.testing.assert_allclose(a, b, tolerance, tolerance)  # noqa: E731
    jax.tree.map(compare, got, wanted)


CASES = [
    (50, {"last_stride": 2, "ibn": False}),
    (50, {"last_stride": 1, "ibn": True}),
    (18, {"last_stride": 1, "ibn": False}),
    (18, {"last_stride": 2, "ibn": True}),
]
WIDTH = 8
NUM_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def twins(depth, last_stride, ibn):
    theirs = TorchResNet(NUM_BLOCKS[depth], WIDTH, last_stride, depth >= 50, ibn)
    randomize(theirs)
    return theirs, models.ResNet(depth=depth, width=WIDTH, last_stride=last_stride, ibn=ibn)


@pytest.fixture(scope="module")
def images():
    """65 x 33 pixels: odd at every stage, so that each padding matters."""
    return jax.random.normal(jax.random.key(0), (4, 65, 33, 3))


@pytest.mark.parametrize(("depth", "options"), CASES)
def test_resnet_in_evaluation(depth, options, images):
    theirs, ours = twins(depth, **options)
    params, stats = trees_of(theirs)
    expected_tree = jax.eval_shape(lambda k: models.init(ours, k, images), jax.random.key(0))
    assert jax.tree.map(jnp.shape, (params, stats)) == jax.tree.map(jnp.shape, expected_tree)

    wanted = to_nhwc(theirs.eval()(to_nchw(images)))
    got = quick_jit(lambda x: models.apply(ours, params, stats, x, train=False)[0])(images)
    assert got.shape == wanted.shape
    scale = np.abs(wanted).max()
    assert scale > 0.1
    np.testing.assert_allclose(got / scale, wanted / scale, atol=1e-5)


def test_resnet_in_training(images):
    """Features, running statistics and the gradient of every parameter.

    The shallow network: deeper ones are ill-conditioned at this size. A ReLU whose input rounds
    to the other side of zero moves PyTorch's own float32 gradient by percents.
    """
    theirs, ours = twins(18, last_stride=1, ibn=True)
    params, stats = trees_of(theirs)

    @quick_jit
    def step(params):
        def loss(params):
            features, updated = models.apply(ours, params, stats, images, train=True)
            return jnp.square(features).mean(), (features, updated)

        return jax.grad(loss, has_aux=True)(params)

    output = theirs.train()(to_nchw(images))
    output.square().mean().backward()
    gradient, (features, updated) = step(params)
    np.testing.assert_allclose(features, to_nhwc(output), rtol=1e-3, atol=1e-3)
    close_trees(updated, trees_of(theirs)[1], 1e-4)

    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(parameter.grad)
    wanted = trees_of(theirs)[0]
    for path, leaf in jax.tree_util.tree_leaves_with_path(wanted):
        got = functools.reduce(lambda node, part: node[part.key], path, gradient)
        error = np.linalg.norm(got - leaf) / np.linalg.norm(leaf)
        assert error < 3e-4, (path, error)


@pytest.mark.parametrize("group_size", [2, 4])
def test_grouped_norm_is_torchs_norm_of_each_group(group_size):
    x = jax.random.normal(jax.random.key(0), (8, 3, 2, 5)) * 2 + 1
    norm = nn.BatchNorm2d(5)
    randomize(norm)
    params, stats = trees_of(norm)
    module = models.GroupedBatchNorm(group_size)
    got, updated = module.apply(
        {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
    )
    start = {key: value.clone() for key, value in norm.state_dict().items()}
    outputs, running = [], []
    for first in range(0, 8, group_size):
        norm.load_state_dict(start)
        outputs.append(to_nhwc(norm(to_nchw(x[first : first + group_size]))))
        running.append(trees_of(norm)[1])
    np.testing.assert_allclose(got, np.concatenate(outputs), atol=1e-5)
    mean_of_groups = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *running)
    close_trees(updated["batch_stats"], mean_of_groups, 1e-6)


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", [8, 9])
def test_padding_of_convolutions(size, stride, height):
    x = jax.random.normal(jax.random.key(0), (2, height, 6, 3))
    theirs = nn.Conv2d(3, 4, size, stride, size // 2, bias=False)
    params, _ = trees_of(nn.ModuleDict({"conv": theirs}))
    got = Conv(4, size, stride).apply({"params": params["conv"]}, x)
    np.testing.assert_allclose(got, to_nhwc(theirs(to_nchw(x))), atol=1e-5)


def test_initial_values_of_the_projection_head_have_torchs_distribution():
    theirs = nn.Linear(256, 512)
    x = jnp.zeros((1, 256))
    ours = models.ProjectionHead(512, 8).init(jax.random.key(0), x)["params"]["fc_0"]
    for mine, torchs in ((ours["kernel"], theirs.weight), (ours["bias"], theirs.bias)):
        torchs = torchs.detach().numpy()
        np.testing.assert_allclose(np.std(mine), torchs.std(), rtol=0.1)
        np.testing.assert_allclose(np.abs(mine).max(), np.abs(torchs).max(), rtol=0.02)
