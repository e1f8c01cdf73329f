"""The MoCo step of LUPerson in PyTorch, to measure and to check the one in JAX against.

Written the way PyTorch is used for it: torchvision's layout and names, `channels_last`, autocast
around the backbone only (as in JAX, the head and the loss are float32), SGD by `torch.optim`, no
compilation. BatchNorm normalizes over the whole batch, so that shuffling the keys would change
nothing and is left out. Needs the extra `[torch]`.

Fu et al., "Unsupervised Pre-training for Person Re-identification", 2021, arXiv 2012.03753.
"""

import dataclasses
import os
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data_pipeline.errors import InputError
from luperson_jax import config, trees
from luperson_jax.structs import TrainState, Tree
from luperson_jax.weights import translate
from luperson_jax.weights.model import Model, describe

NUM_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
NUM_BLOCKS[152] = (3, 8, 36, 3)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the step depends on; the names are those of the recipe."""

    depth: int
    width: int
    last_stride: int
    feature_dim: int
    queue_size: int
    momentum: float
    temperature: float
    lr: float
    sgd_momentum: float
    weight_decay: float


def settings_of(recipe: config.Recipe) -> Settings:
    """The same step as a recipe describes.

    Raises:
        InputError: the recipe asks for something that this step does not have.
    """
    model, task, optim = recipe.model, recipe.task, recipe.optim
    needed = {
        "task.name": (task.name, ("moco",)),
        "optim.optimizer": (optim.optimizer, ("sgd",)),
        "optim.lr_factors": (optim.lr_factors, ((),)),
        "optim.decay_factors": (optim.decay_factors, ((),)),
        "optim.micro_batches": (optim.micro_batches, (1,)),
        "optim.clip_norm": (optim.clip_norm, (0.0,)),
        "model.stem": (model.stem, ("imagenet",)),
        "model.ibn": (model.ibn, (False,)),
        "model.pooling": (model.pooling, ("avg",)),
        "model.bn_group_size": (model.bn_group_size, (0, recipe.data.batch_size)),
    }
    for path, (given, expected) in needed.items():
        if given not in expected:
            raise InputError(
                f"the PyTorch step has {path}={expected[0]!r} only, not {given!r}; add "
                f"--set {path}={expected[0]} or leave --torch out"
            )
    return Settings(
        depth=int(model.arch.removeprefix("resnet")),
        width=model.width,
        last_stride=model.last_stride,
        feature_dim=task.feature_dim,
        queue_size=task.queue_size,
        momentum=task.momentum,
        temperature=task.temperature,
        lr=optim.lr,
        sgd_momentum=optim.momentum,
        weight_decay=optim.weight_decay,
    )


class Block(nn.Module):
    """Basic block (two 3x3) or bottleneck (1x1, 3x3, 1x1), by the kernels given."""

    def __init__(self, inputs: int, planes: int, stride: int, kernels: tuple[int, ...]):
        super().__init__()
        self.depth = len(kernels)
        outputs = planes * (4 if self.depth == 3 else 1)
        channels = (inputs, *(planes,) * (self.depth - 1), outputs)
        strided = kernels.index(3)
        for i, kernel in enumerate(kernels):
            step = stride if i == strided else 1
            entering, leaving = channels[i : i + 2]
            convolution = nn.Conv2d(entering, leaving, kernel, step, kernel // 2, bias=False)
            self.add_module(f"conv{i + 1}", convolution)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(leaving))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i in range(1, self.depth + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(y))
            y = functional.relu(y, inplace=True) if i < self.depth else y
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(y + shortcut, inplace=True)


class Encoder(nn.Module):
    """ResNet, average pooling and MoCo v2's head: images [B, 3, H, W] to [B, feature_dim]."""

    def __init__(self, settings: Settings):
        super().__init__()
        kernels = (1, 3, 1) if settings.depth >= 50 else (3, 3)
        channels = settings.width
        self.conv1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        strides = (1, 2, 2, settings.last_stride)
        for stage, (number, stride) in enumerate(
            zip(NUM_BLOCKS[settings.depth], strides, strict=True)
        ):
            layer = nn.Sequential()
            for i in range(number):
                planes = settings.width * 2**stage
                layer.append(Block(channels, planes, stride if i == 0 else 1, kernels))
                channels = planes * (4 if len(kernels) == 3 else 1)
            self.add_module(f"layer{stage + 1}", layer)
        head = (nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, settings.feature_dim))
        self.fc = nn.Sequential(*head)

    def forward(self, images: torch.Tensor, mixed: bool) -> torch.Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=mixed):
            x = functional.relu(self.bn1(self.conv1(images)), inplace=True)
            x = functional.max_pool2d(x, 3, 2, 1)
            for stage in range(1, 5):
                x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.float().mean(dim=(2, 3)))


class TorchMoco:
    """Both encoders, the queue and the optimizer. `step` trains on one batch of view pairs."""

    def __init__(self, settings: Settings, device: torch.device, *, mixed: bool = False):
        self.settings, self.device, self.mixed = settings, device, mixed
        self.query, self.key = (
            Encoder(settings).to(device).to(memory_format=torch.channels_last) for _ in range(2)
        )
        self.key.load_state_dict(self.query.state_dict())
        shape = (settings.queue_size, settings.feature_dim)
        self.queue = functional.normalize(torch.randn(shape, device=device))
        self.pointer = 0
        self.optimizer = torch.optim.SGD(
            self.query.parameters(),
            settings.lr,
            momentum=settings.sgd_momentum,
            weight_decay=settings.weight_decay,
        )

    def load(self, params: Tree, extra: Tree) -> None:
        """Takes over parameters, statistics and queue of the task `moco`."""
        tensors = tensors_of(params, extra)
        for prefix, encoder in (("encoder_q.", self.query), ("encoder_k.", self.key)):
            own = {key: value for key, value in tensors.items() if key.startswith(prefix)}
            encoder.load_state_dict({key.removeprefix(prefix): own[key] for key in own})
        self.queue.copy_(tensors["queue"].T)
        self.pointer = int(tensors["queue_ptr"])

    def step(self, query_images: torch.Tensor, key_images: torch.Tensor) -> torch.Tensor:
        """One step on two views [B, 3, H, W] float32 of the same pictures; the loss, detached."""
        query = functional.normalize(self.query(query_images, self.mixed))
        with torch.no_grad():
            momentum = self.settings.momentum
            for old, new in zip(self.key.parameters(), self.query.parameters(), strict=True):
                old.mul_(momentum).add_(new, alpha=1 - momentum)
            keys = functional.normalize(self.key(key_images, self.mixed))
        logits = torch.cat([(query * keys).sum(1, keepdim=True), query @ self.queue.T], dim=1)
        target = torch.zeros(len(logits), dtype=torch.int64, device=self.device)
        loss = functional.cross_entropy(logits / self.settings.temperature, target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        rows = torch.arange(self.pointer, self.pointer + len(keys), device=self.device)
        self.queue[rows % len(self.queue)] = keys
        self.pointer = (self.pointer + len(keys)) % len(self.queue)
        return loss.detach()


def device_like(backend: str) -> torch.device:
    """The device that JAX's `backend` computes on, set up as PyTorch's users do.

    Raises:
        InputError: PyTorch cannot use it.
    """
    if backend == "cpu":
        torch.set_num_threads(os.cpu_count() or 1)
        return torch.device("cpu")
    if backend != "gpu" or not torch.cuda.is_available():
        raise InputError(
            f"--torch compares on one device, and this PyTorch {torch.__version__} cannot use "
            f"JAX's {backend}; install one that can or leave --torch out"
        )
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")


def make_turn(
    recipe: config.Recipe, device: torch.device, mixed: bool, state: TrainState
) -> Callable[[int], float]:
    """Steps from the weights of a state on two batches of noise: number of steps to seconds."""
    twin = TorchMoco(settings_of(recipe), device, mixed=mixed)
    twin.load(state.params, state.extra)
    shape = (recipe.data.batch_size, 3, *recipe.data.size)
    views = [
        torch.randn(shape, device=device).to(memory_format=torch.channels_last) for _ in range(2)
    ]

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def turn(num_steps: int) -> float:
        wait()
        began = time.perf_counter()
        for _ in range(num_steps):
            twin.step(*views)
        wait()
        return time.perf_counter() - began

    return turn


def tensors_of(params: Tree, extra: Tree) -> dict[str, torch.Tensor]:
    """Both encoders and the queue of the task `moco`, by the names of the public files."""
    leaves = trees.by_name({"params": params, "extra": extra})
    tensors = {path: np.asarray(leaf) for path, leaf in leaves.items()}
    spec = describe({path: array.shape for path, array in tensors.items()}, "moco", 2)
    _, named = translate.to_torch(Model(tensors, spec, "luperson_jax"))
    return {name: torch.tensor(array) for name, array in named.items()}
