"""Reference trunks and pre-trainings in PyTorch: `state_dict` names and shapes of the public files.

Written from the published layouts to check conversions and whole steps against; nothing here reads
from `luperson_jax`. The files put `module.` before the names of MoCo, SimCLR, PNL and Cluster
Contrast, because those were trained inside a parallel wrapper; a test that wants it adds it.
Construction draws from torch's global generator; under `torch.device("meta")` it costs nothing.
"""

import copy

import torch
from torch import nn
from torch.nn import functional

NUM_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
NUM_NON_LOCAL = {18: (1, 1), 34: (2, 3), 50: (2, 3), 101: (2, 9), 152: (4, 12)}
"""In layer2 and layer3, after the last blocks. The files have none at depths 18 and 34."""


class IBN(nn.Module):
    """IBN-a: instance normalization of the first half of the channels, batch of the second."""

    def __init__(self, channels):
        super().__init__()
        self.sizes = (channels // 2, channels - channels // 2)
        self.IN = nn.InstanceNorm2d(self.sizes[0], affine=True)
        self.BN = nn.BatchNorm2d(self.sizes[1])

    def forward(self, x):
        instance, batch = x.split(self.sizes, dim=1)
        return torch.cat([self.IN(instance), self.BN(batch)], dim=1)


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1; the stride is on the first 3x3."""

    def __init__(self, inputs, planes, stride, bottleneck, ibn):
        super().__init__()
        outputs = 4 * planes if bottleneck else planes
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        channels = (inputs, *(len(kernels) - 1) * (planes,), outputs)
        for i, size in enumerate(kernels):
            step = stride if i == kernels.index(3) else 1
            conv = nn.Conv2d(channels[i], channels[i + 1], size, step, size // 2, bias=False)
            norm = IBN if ibn and i == 0 else nn.BatchNorm2d
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", norm(channels[i + 1]))
        self.num_convs = len(kernels)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        for i in range(1, self.num_convs + 1):
            x = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x))
            if i < self.num_convs:
                x = functional.relu(x)
        return functional.relu(x + shortcut)


class NonLocal(nn.Module):
    """Every pixel adds what it reads of all others, by products of two maps without softmax.

    Wang et al., "Non-local Neural Networks", 2018, arXiv 1711.07971.
    """

    def __init__(self, channels):
        super().__init__()
        self.g, self.theta, self.phi = (nn.Conv2d(channels, channels // 2, 1) for _ in range(3))
        self.W = nn.Sequential(nn.Conv2d(channels // 2, channels, 1), nn.BatchNorm2d(channels))
        nn.init.zeros_(self.W[1].weight)

    def forward(self, x):
        theta, phi, g = (part(x).flatten(2) for part in (self.theta, self.phi, self.g))
        affinity = theta.transpose(1, 2) @ phi / phi.shape[2]
        read = (affinity @ g.transpose(1, 2)).transpose(1, 2)
        return self.W(read.unflatten(2, x.shape[2:])) + x


def kaiming(module):
    """Draws the kernel of a convolution as ResNets do; returns the module."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return module


class ResNet(nn.Module):
    """torchvision's ResNet of 18 to 152 layers; `fc` only where `num_classes` > 0.

    The children stand in torchvision's order, so that `nn.Sequential(*net.children())` numbers
    them as the files do that wrap a network this way. `num_features` are the channels of the map.
    """

    def __init__(self, depth, width=64, last_stride=2, ibn=False, num_classes=0, non_local=False):
        super().__init__()
        bottleneck = depth >= 50
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, stride in enumerate((1, 2, 2, last_stride)):
            blocks = []
            for i in range(NUM_BLOCKS[depth][stage]):
                planes, step = width * 2**stage, stride if i == 0 else 1
                blocks.append(Block(channels, planes, step, bottleneck, ibn and stage < 3))
                channels = 4 * planes if bottleneck else planes
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.num_features = channels
        if num_classes:
            self.fc = nn.Linear(channels, num_classes)
        self.apply(kaiming)
        if non_local:
            for stage, number in zip((2, 3), NUM_NON_LOCAL[depth], strict=True):
                inside = channels // 2 ** (4 - stage)
                blocks = nn.ModuleList(NonLocal(inside) for _ in range(number))
                self.add_module(f"NL_{stage}", blocks)

    def stages(self, x):
        """The maps after the stem (max-pooling included) and after layer1 to layer4."""
        maps = [self.maxpool(self.relu(self.bn1(self.conv1(x))))]
        for i in range(1, 5):
            maps.append(self._stage(i, maps[-1]))
        return maps

    def _stage(self, number, x):
        layer, readers = self.get_submodule(f"layer{number}"), getattr(self, f"NL_{number}", None)
        if readers is None:
            return layer(x)
        for i, block in enumerate(layer, start=len(readers) - len(layer)):
            x = readers[i](block(x)) if i >= 0 else block(x)
        return x

    def forward(self, x):
        """The final feature map; `fc` is left out."""
        return self.stages(x)[-1]

    def pooled(self, x):
        """[B, num_features]: the map averaged over its pixels."""
        return self(x).mean((2, 3))


def _add_key_encoder_and_queue(module, feature_dim, queue_size):
    module.encoder_k = copy.deepcopy(module.encoder_q).requires_grad_(False)
    queue = functional.normalize(torch.randn(feature_dim, queue_size), dim=0)
    module.register_buffer("queue", queue)
    module.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.int64))


class Moco(nn.Module):
    """MoCo with the head of v2 ("mlp") or v1 ("linear") and its training step.

    BatchNorm is over the whole batch and the keys are not shuffled. `step` expects training mode,
    in which a module is built.

    He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", 2020,
    arXiv 1911.05722; the head: Chen et al., 2020, arXiv 2003.04297.
    """

    def __init__(
        self,
        depth,
        width,
        head="mlp",
        feature_dim=128,
        queue_size=64,
        momentum=0.999,
        temperature=0.1,
    ):
        super().__init__()
        self.momentum, self.temperature = momentum, temperature
        self.encoder_q = ResNet(depth, width)
        d = self.encoder_q.num_features
        assert head in ("mlp", "linear"), head
        self.encoder_q.fc = nn.Linear(d, feature_dim)
        if head == "mlp":
            self.encoder_q.fc = nn.Sequential(nn.Linear(d, d), nn.ReLU(), self.encoder_q.fc)
        _add_key_encoder_and_queue(self, feature_dim, queue_size)

    def project(self, encoder, images):
        """[B, feature_dim] of unit norm."""
        return functional.normalize(encoder.fc(encoder.pooled(images)), dim=1, eps=1e-12)

    def step(self, query_images, key_images, optimizer):
        """One update of query encoder, key encoder and queue; returns the loss, detached."""
        query = self.project(self.encoder_q, query_images)
        with torch.no_grad():
            pairs = zip(self.encoder_k.parameters(), self.encoder_q.parameters(), strict=True)
            for theta_k, theta_q in pairs:
                theta_k.mul_(self.momentum).add_(theta_q, alpha=1 - self.momentum)
            key = self.project(self.encoder_k, key_images)
        positive = (query * key).sum(1, keepdim=True)
        logits = torch.cat([positive, query @ self.queue], dim=1) / self.temperature
        target = torch.zeros(len(query), dtype=torch.int64, device=query.device)
        loss = functional.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        self._enqueue(key)
        return loss.detach()

    def _enqueue(self, key):
        queue_size = self.queue.shape[1]
        assert len(key) <= queue_size, (len(key), queue_size)
        columns = (self.queue_ptr + torch.arange(len(key), device=key.device)) % queue_size
        self.queue[:, columns] = key.T
        self.queue_ptr.copy_((self.queue_ptr + len(key)) % queue_size)


class SimClr(nn.Module):
    """The names of SimCLR and SupCont: `encoder.*`, its `fc` Linear, BatchNorm, ReLU, Linear."""

    def __init__(self, depth, width, feature_dim=128):
        super().__init__()
        self.encoder = ResNet(depth, width)
        d = self.encoder.num_features
        self.encoder.fc = nn.Sequential(
            nn.Linear(d, d), nn.BatchNorm1d(d), nn.ReLU(), nn.Linear(d, feature_dim)
        )


class Pnl(nn.Module):
    """The names of PNL: four linear layers beside each trunk, queue and prototypes.

    Fu et al., "Large-Scale Pre-training for Person Re-identification with Noisy Labels", 2022,
    arXiv 2203.16533.
    """

    def __init__(self, depth, width, num_classes, feature_dim=128, embed_dim=256, queue_size=64):
        super().__init__()
        self.encoder_q = ResNet(depth, width)
        d = self.encoder_q.num_features
        self.encoder_q.embed_fc = nn.Linear(d, embed_dim)
        self.encoder_q.classifier = nn.Linear(embed_dim, num_classes)
        self.encoder_q.fc1 = nn.Linear(d, d)
        self.encoder_q.fc2 = nn.Linear(d, feature_dim)
        _add_key_encoder_and_queue(self, feature_dim, queue_size)
        self.register_buffer("queue_id", torch.full((queue_size, 1), -1, dtype=torch.int64))
        self.register_buffer("prototypes", torch.zeros(num_classes, feature_dim))


@torch.no_grad()
def randomize(module, seed):
    """Moves everything off its start but the kernels of convolutions and linear layers; returns it.

    Scales and running variances are in [0.5, 1.5), biases and running means of deviation 0.2,
    exponents in [2.5, 3.5), counters in 1..999. The same seed gives the same values; the kernels,
    queues and pixel statistics stay as they were built.
    """
    generator = torch.Generator().manual_seed(seed)
    for key, value in module.state_dict().items():
        leaf = key.rpartition(".")[2]
        if leaf == "num_batches_tracked":
            value.copy_(torch.randint(1, 1000, (), generator=generator))
        elif leaf in ("bias", "running_mean"):
            value.copy_(0.2 * torch.randn(value.shape, generator=generator))
        elif leaf == "running_var" or (leaf == "weight" and value.ndim == 1):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif leaf == "p":
            value.copy_(2.5 + torch.rand(value.shape, generator=generator))
    return module
