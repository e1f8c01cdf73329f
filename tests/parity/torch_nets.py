"""The reference networks in PyTorch, with the `state_dict` names and shapes of the public files.

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
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


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


def _kaiming(module):
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return module


class ResNet(nn.Module):
    """torchvision's ResNet of 18 to 152 layers; `fc` only where `num_classes` > 0.

    The children stand in torchvision's order, so that `nn.Sequential(*net.children())` numbers
    them as the files do that wrap a network this way. `num_features` are the channels of the map.
    """

    def __init__(self, depth, width=64, last_stride=2, ibn=False, num_classes=0):
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
        self.apply(_kaiming)

    def stages(self, x):
        """The maps after the stem (max-pooling included) and after layer1 to layer4."""
        maps = [self.maxpool(self.relu(self.bn1(self.conv1(x))))]
        for i in range(1, 5):
            maps.append(self.get_submodule(f"layer{i}")(maps[-1]))
        return maps

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


class FastReid(nn.Module):
    """FastReID's Baseline with a linear classifier, in the names of LUPerson's fork."""

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
    ):
        super().__init__()
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1))
        self.backbone = ResNet(depth, width, last_stride, ibn)
        d = self.backbone.num_features
        self.heads_extra_bn = nn.BatchNorm2d(d) if extra_bn else None
        neck = nn.BatchNorm2d(embedding_dim or d)
        nn.init.normal_(neck.weight, 1.0, 0.02)
        neck.bias.requires_grad_(False)
        classifier = nn.Linear(embedding_dim or d, num_classes, bias=False)
        nn.init.normal_(classifier.weight, 0.0, 0.001)
        self.heads = nn.Module()
        self.heads.pool_layer = Pool(pooling)
        self.heads.bottleneck = nn.Sequential(neck)
        if embedding_dim:
            reduction = nn.Conv2d(d, embedding_dim, 1, bias=False)
            self.heads.bottleneck = nn.Sequential(_kaiming(reduction), neck)
        self.heads.classifier = classifier

    def forward(self, images):
        """Normalized images to (before, after, logits): pooled [B, d], past the neck [B, E or d],
        which is the feature of retrieval, and [B, num_classes]."""
        x = self.backbone(images)
        x = x if self.heads_extra_bn is None else self.heads_extra_bn(x)
        before = self.heads.pool_layer(x)
        after = self.heads.bottleneck(before).flatten(1)
        return before.flatten(1), after, self.heads.classifier(after)


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


def smoothed_cross_entropy(logits, labels, epsilon=0.1):
    """Targets 1 - epsilon, and epsilon / (C - 1) for each other class; mean of the losses not 0."""
    target = torch.full_like(logits, epsilon / (logits.shape[1] - 1))
    target.scatter_(1, labels[:, None], 1 - epsilon)
    losses = -(target * functional.log_softmax(logits, dim=1)).sum(1)
    return losses.sum() / losses.count_nonzero().clamp(min=1)


def batch_hard_triplet(features, labels, margin=0.3):
    """Farthest positive, the anchor included, against nearest negative; mean over the batch."""
    squared = (features[:, None] - features[None]).square().sum(2)
    distance = squared.clamp(min=1e-12).sqrt()
    same = labels[:, None] == labels[None]
    farthest = distance.masked_fill(~same, -torch.inf).amax(1)
    nearest = distance.masked_fill(same, torch.inf).amin(1)
    return functional.relu(farthest - nearest + margin).mean()


def bot_loss(before, logits, labels, epsilon=0.1, margin=0.3):
    """The sum of both losses of BoT: the triplets on the pooled features `before`.

    Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", 2019,
    arXiv 1903.07071.
    """
    classification = smoothed_cross_entropy(logits, labels, epsilon)
    return classification + batch_hard_triplet(before, labels, margin)
