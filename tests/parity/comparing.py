"""Converted models beside the PyTorch networks they come from: how far the two are apart."""

import copy
import dataclasses
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from luperson_jax import config
from luperson_jax.weights import translate
from luperson_jax.weights.model import Model
from luperson_jax.weights.rules import COUNTER, KEY_NETWORK, NETWORK
from tests import converted
from tests.parity import torch_losses, torch_nets, torch_reid
from tests.parity.cases import NUM_CLASSES, Arrays, arrays_of, to_nchw, to_nhwc

NOTHING = 1e-5
"""Share of the largest gradient below which one of a non-local block is rounding: constants in
front of a normalization have no effect, so by the formula their gradient is 0."""


def twin_outputs(twin: nn.Module, images: np.ndarray, encoder: str = "encoder_q") -> Arrays:
    """What `converted.outputs` gives, of the twin; `encoder` is one of MoCo's."""
    found: Arrays = {}

    def keep(name: str, _: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        del inputs
        found[name] = to_nhwc(output.clone())

    hooks = [
        module.register_forward_hook(functools.partial(keep, name))
        for name, module in _stages(twin, encoder).items()
    ]
    with torch.no_grad():
        found |= _features(twin.eval(), encoder, to_nchw(images))
    for hook in hooks:
        hook.remove()
    return found


def _stages(twin: nn.Module, encoder: str) -> dict[str, nn.Module]:
    """The modules that give the maps of the trunk, by the names that the maps have."""
    parts = list(_trunk(twin, encoder).named_children())  # conv1, bn1, relu, maxpool, layer1 ...
    stages = {"bn1": parts[2][1]}  # ours is followed by its ReLU
    stages |= {f"layer{i}": module for i, (_, module) in enumerate(parts[4:8], start=1)}
    # Where non-local blocks stand in a stage, the last of them gives its map.
    stages |= {f"layer{name[3:]}": module[-1] for name, module in parts if name.startswith("NL_")}
    if isinstance(twin, torch_reid.Mgn):
        ends = {branch: twin.get_submodule(branch)[1] for branch in torch_reid.PARTS}
        stages |= {f"layer4 {branch}": module for branch, module in ends.items()}
    return stages


def _trunk(twin: nn.Module, encoder: str) -> nn.Module:
    if isinstance(twin, torch_nets.ResNet):
        return twin
    names = {
        torch_nets.SimClr: "encoder",
        torch_reid.FastReid: "backbone",
        torch_reid.Mgn: "backbone",
        torch_reid.ClusterContrast: "base",
    }
    return twin.get_submodule(names.get(type(twin), encoder))


def _features(twin: nn.Module, encoder: str, images: torch.Tensor) -> Arrays:
    """The outputs behind the trunk, which runs on the way."""
    trunk = _trunk(twin, encoder)
    if isinstance(twin, torch_nets.Moco | torch_nets.SimClr):
        pooled = trunk.pooled(images)
        found = {"pooled": pooled, "projection": trunk.fc(pooled)}
    elif isinstance(twin, torch_nets.Pnl):
        pooled = trunk.pooled(images)
        found = {"pooled": pooled, "projection": trunk.fc2(trunk.fc1(pooled).relu())}
        found["logits"] = trunk.classifier(trunk.embed_fc(pooled).relu())
    elif isinstance(twin, torch_reid.FastReid):
        before, after, logits = twin(images)
        unit = nn.functional.normalize(after, dim=1)
        found = {"before": before, "after": after, "unit": unit, "logits": logits}
    elif isinstance(twin, torch_reid.Mgn):
        heads = _heads(twin, images)
        found = {f"before {name}": before for name, (before, _, _) in heads.items()}
        found |= {f"after {name}": after for name, (_, after, _) in heads.items()}
        found |= {f"logits {name}": after @ kernel.T for name, (_, after, kernel) in heads.items()}
        whole = torch.cat([heads[name][1] for name in torch_reid.HEADS], dim=1)
        found["unit"] = nn.functional.normalize(whole, dim=1)
    elif isinstance(twin, torch_reid.ClusterContrast):
        found = {"unit": twin(images)}
    else:
        trunk(images)
        found = {}
    return {name: value.numpy() for name, value in found.items()}


def _heads(twin: nn.Module, images: torch.Tensor) -> dict[str, tuple[torch.Tensor, ...]]:
    """By head of a re-ID network: features before and after the neck, kernel of the classifier."""
    if isinstance(twin, torch_reid.FastReid):
        return {"head": (*twin.features(images), twin.heads.classifier.weight)}
    kernels = {
        name: twin.get_submodule(f"{name}_head").classifier.weight for name in torch_reid.HEADS
    }
    return {name: (*pair, kernels[name]) for name, pair in twin.features(images).items()}


def evaluation_differences(
    twin: nn.Module, model: Model, size: tuple[int, int], batch_size: int = 2
) -> dict[str, float]:
    """Largest difference of every output, relative to its largest value; of both encoders."""
    shape = (batch_size, *size, 3)
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    encoders = {"encoder_q": NETWORK}
    if model.spec.queue_size:
        encoders["encoder_k"] = KEY_NETWORK
    found = {}
    for encoder, where in encoders.items():
        got, wanted = converted.outputs(model, images, where), twin_outputs(twin, images, encoder)
        assert wanted.keys() <= got.keys(), (got.keys(), wanted.keys())
        for name, value in wanted.items():
            assert got[name].shape == value.shape, (name, got[name].shape, value.shape)
            scale = np.abs(value).max()
            assert scale > 1e-3, f"{name} is next to nothing: {scale}"
            found[f"{encoder} {name}"] = float(np.abs(got[name] - value).max() / scale)
    return found


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One training step: its loss, and gradients and tensors after it by torch name."""

    loss: float
    gradients: Arrays
    tensors: Arrays


def step_differences(
    twin: nn.Module,
    model: Model,
    recipe: config.Recipe,
    size: tuple[int, int],
    batch_size: int,
    seeds: Iterable[int] = (0,),
) -> Iterator[dict[str, float]]:
    """How far one training step from a converted model is from PyTorch's, as `outcomes_apart` says.

    Adam's first step is the rate times the sign of the gradient, whatever its size, so where a
    gradient is mere rounding both worlds may go opposite ways. There PyTorch's Adam is given the
    gradients of ours, which are compared with PyTorch's own all the same.

    Args:
        twin: of MoCo, FastReID or MGN, made to be trainable.
        model: converted from it.
        recipe: as from `converted.recipe_of`.
        size: height and width of the pictures.
        batch_size: a multiple of `NUM_CLASSES`.
        seeds: of the pictures, for each of which the differences are given.
    """
    step, start = converted.first_step(model, recipe), arrays_of(twin)
    for seed in seeds:
        views, labels = _data(model, size, batch_size, seed)
        done = step(converted.make_batch(views, labels))
        gradients = dataclasses.replace(model, tensors=done.gradients)
        got = Outcome(done.loss, _named(gradients), _named(done.model))
        given = got.gradients if recipe.optim.optimizer == "adam" else None
        wanted = twin_step(twin, recipe, views, labels, given=given)
        yield outcomes_apart(got, wanted, start)


def rounding_of_torch(
    twin: nn.Module,
    model: Model,
    recipe: config.Recipe,
    size: tuple[int, int],
    batch_size: int,
) -> dict[str, float]:
    """How far PyTorch's own step in float32 is from the same in float64, as `step_differences`."""
    views, labels = _data(model, size, batch_size, 0)
    single, double = (
        twin_step(twin, recipe, views, labels, dtype=dtype)
        for dtype in (torch.float32, torch.float64)
    )
    return outcomes_apart(single, double, arrays_of(twin))


def _data(
    model: Model, size: tuple[int, int], batch_size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    num_views = 2 if model.spec.kind == "moco" else 1
    views = converted.make_views(seed, num_views, batch_size, size)
    return views, np.arange(batch_size) % NUM_CLASSES


def _named(model: Model) -> Arrays:
    _, tensors = translate.to_torch(model)
    return {
        name: array
        for name, array in tensors.items()
        if not name.endswith(COUNTER) and not name.startswith("pixel_")
    }


def twin_step(
    twin: nn.Module,
    recipe: config.Recipe,
    views: np.ndarray,
    labels: np.ndarray,
    *,
    dtype: torch.dtype = torch.float32,
    given: Arrays | None = None,
) -> Outcome:
    """The same step of a copy of the twin, by PyTorch's optimizer.

    Args:
        twin: of MoCo, FastReID or MGN.
        recipe: that of our step.
        views: [num, B, h, w, 3] uint8.
        labels: [B], of a re-ID network.
        dtype: of the whole step.
        given: gradients for the optimizer in place of a re-ID twin's own.
    """
    twin = copy.deepcopy(twin).to(dtype).train()
    trained = {
        name: value for name, value in twin.named_parameters() if not name.startswith("encoder_k.")
    }
    optimizer = _optimizer(trained, recipe.optim)
    images = [to_nchw(view).to(dtype) for view in converted.floats(views)]
    if isinstance(twin, torch_nets.Moco):
        twin.momentum, twin.temperature = recipe.task.momentum, recipe.task.temperature
        loss = twin.step(*images, optimizer)
    else:
        groups = torch_reid.GROUPS if isinstance(twin, torch_reid.Mgn) else (("head",),)
        heads = _heads(twin, *images)
        loss = torch_losses.reid_loss(heads, groups, torch.from_numpy(labels), recipe.task)
        loss.backward()
    gradients = {
        name: (torch.zeros_like(value) if value.grad is None else value.grad.clone()).numpy()
        for name, value in trained.items()
    }
    if not isinstance(twin, torch_nets.Moco):
        for name, value in trained.items():
            if given is not None and value.grad is not None:
                value.grad.copy_(torch.from_numpy(given[name]))
        optimizer.step()
    kept = {
        name: value
        for name, value in arrays_of(twin).items()
        if not name.endswith(COUNTER) and not name.startswith("pixel_")
    }
    return Outcome(loss.item(), gradients, kept)


def _optimizer(
    trained: Mapping[str, nn.Parameter], options: config.OptimConfig
) -> torch.optim.Optimizer:
    groups = [
        {
            "params": [value for name, value in trained.items() if name.endswith("bias") == biases],
            "lr": options.lr * (dict(options.lr_factors).get("bias$", 1.0) if biases else 1),
        }
        for biases in (False, True)
    ]
    if options.optimizer == "adam":
        return torch.optim.Adam(groups, weight_decay=options.weight_decay)
    return torch.optim.SGD(groups, momentum=options.momentum, weight_decay=options.weight_decay)


def outcomes_apart(got: Outcome, wanted: Outcome, start: Arrays) -> dict[str, float]:
    """How far two outcomes of a step are apart.

    Args:
        got: one.
        wanted: the other, the measure.
        start: tensors before the step.

    Returns:
        `loss`: relative. Of every other part the largest difference of any of its tensors, each
        by its norm |got - wanted| / |wanted|: `gradients`; `statistics`, the running ones;
        `parameters`; `changes`, parameters after less before the step; of MoCo also
        `key encoder` (parameters and statistics) and `queue`. The queue's pointer must be equal.
        Of non-local blocks, gradients that are next to `NOTHING` must be so in both and count no
        further, nor do the changes by them.
    """
    least = NOTHING * max(map(np.linalg.norm, wanted.gradients.values()))
    nothing = {
        name
        for name, slope in wanted.gradients.items()
        if ".NL_" in name and np.linalg.norm(slope) < least
    }
    assert all(np.linalg.norm(got.gradients[name]) < least for name in nothing), nothing
    found = {
        "loss": abs(got.loss - wanted.loss) / abs(wanted.loss),
        "gradients": _largest(got.gradients, wanted.gradients, nothing),
    }
    assert got.tensors.keys() == wanted.tensors.keys()
    parts: dict[str, list[str]] = {}
    for name in wanted.tensors:
        parts.setdefault(_part(name), []).append(name)
    for part, names in parts.items():
        pair = [{name: one.tensors[name] for name in names} for one in (got, wanted)]
        found[part] = _largest(*pair)
        if part == "parameters":
            moved = [{name: one[name] - start[name] for name in names} for one in pair]
            found["changes"] = _largest(*moved, nothing)
    return found


def _part(name: str) -> str:
    if name in ("queue", "queue_ptr"):
        return "queue"
    if name.startswith("encoder_k."):
        return "key encoder"
    return "statistics" if ".running_" in name else "parameters"


def _largest(got: Arrays, wanted: Arrays, without: Collection[str] = ()) -> float:
    assert got.keys() == wanted.keys(), got.keys() ^ wanted.keys()
    return max(_apart(got[name], wanted[name]) for name in wanted if name not in without)


def _apart(got: np.ndarray, wanted: np.ndarray) -> float:
    """0 where both are equal, also if both are 0; infinite where one alone is."""
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    difference = np.linalg.norm(got.astype(np.float64) - wanted)
    norm = np.linalg.norm(wanted.astype(np.float64))
    return float(difference / norm) if norm else (np.inf if difference else 0.0)
