"""A converted model at work, without PyTorch: its maps and features, and one training step."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from luperson_jax import config, optim, tasks, trees
from luperson_jax.models import NetworkSpec
from luperson_jax.run.step import train_step
from luperson_jax.structs import Batch, TrainState, Tree
from luperson_jax.tasks.base import Pictures, Views
from luperson_jax.vectors import l2_normalize
from luperson_jax.weights.model import Model
from luperson_jax.weights.rules import NETWORK, Trees
from tests.helpers import tiny

# Compiling these networks well would take longer than running them.
QUICK = {"xla_backend_optimization_level": 0}
TASKS = {"moco": "moco", "reid": "identify", "mgn": "identify"}
ADAM_B1 = 0.9
BLOCK = re.compile(r"(?:(backbone|b\d)/)?(bn1|layer|NL_)(?:(\d)_(\d+))?")
BRANCHES = ("b1", "b2", "b3")


def outputs(model: Model, images: np.ndarray, where: Trees = NETWORK) -> dict[str, np.ndarray]:
    """What the network computes in evaluation.

    Args:
        model: any.
        images: [B, H, W, 3] float32, normalized.
        where: which of the encoders.

    Returns:
        By name: the normalized first convolution `bn1` and the maps after `layer1` to `layer4`
        [B, h, w, C], of an MGN `layer3` to the end of the trunk and `layer4 b1` and so on; of a
        pre-training `pooled` and `projection`, and of PNL `logits`; of a re-ID network `before` and
        `after` the neck, the latter as `unit` row, and the `logits` if there is a classifier; of an
        MGN `before b1` and so on.
    """
    params, stats = (_subtree(model, place) for place in (where.params, where.stats))
    classifier = params.pop("classifier", {})
    kind, module = model.spec.kind, model.spec.build()

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(params: Tree, stats: Tree, images: jax.Array) -> Any:
        return module.apply(
            {"params": params, "batch_stats": stats},
            images,
            train=False,
            capture_intermediates=_is_stage,
            mutable=["intermediates"],
        )

    features, captured = run(params, stats, jnp.asarray(images))
    found = _stages(captured["intermediates"])
    if kind in ("moco", "simclr"):
        found["pooled"], found["projection"] = features
    elif kind == "pnl":
        found["pooled"], found["projection"], before = features
        found["logits"] = before @ classifier["kernel"] + classifier["bias"][None]
    elif kind == "reid":
        found["before"], found["after"] = features
        found["unit"] = l2_normalize(found["after"])
        if classifier:
            found["logits"] = found["after"] @ classifier["kernel"]
    elif kind == "mgn":
        before, after = features
        whole = jnp.concatenate([after[name] for name in module.heads], axis=1)
        found["unit"] = l2_normalize(whole)
        for name in module.heads:
            found[f"before {name}"], found[f"after {name}"] = before[name], after[name]
            if classifier:
                found[f"logits {name}"] = after[name] @ classifier[name]["kernel"]
    return jax.tree.map(np.asarray, found)


def _subtree(model: Model, place: str) -> Tree:
    return trees.nest(
        {
            path.removeprefix(f"{place}/"): array
            for path, array in model.tensors.items()
            if path.startswith(f"{place}/")
        }
    )


def _stages(captured: Tree) -> dict[str, jax.Array]:
    """The last map of every stage, out of what all blocks gave."""
    rows = []
    for path, value in trees.by_name(captured).items():
        match = BLOCK.match(path)
        assert match is not None, path
        part, kind, stage, number = match.groups()
        name = f"layer{stage}" if stage else kind
        branch = f" {part}" if part in BRANCHES else ""
        rows.append((kind == "NL_", int(number or 0), f"{name}{branch}", value))
    return {name: value for *_, name, value in sorted(rows, key=lambda row: row[:2])}


def _is_stage(module: Any, method: str) -> bool:
    return method == "__call__" and bool(BLOCK.fullmatch("/".join(module.path)))


class GivenViews(Views):
    """Takes the views from the batch: its canvases hold them side by side.

    The task MoCo asks for the query view first; the keys come permuted, with their pictures.
    """

    def __init__(self, num: int):
        object.__setattr__(self, "turns", itertools.cycle(range(num)))
        object.__setattr__(self, "num", num)

    def draw(self, pictures: Pictures, step: jax.Array) -> jax.Array:
        """[B, h, w, 3] float32: the next view, of the pictures as they are."""
        del step
        view = jnp.split(pictures.images, self.num, axis=2)[next(self.turns)]
        return view.astype(jnp.float32) / 64 - 2


def make_views(seed: int, num: int, batch_size: int, size: tuple[int, int]) -> np.ndarray:
    """[num, B, h, w, 3] uint8: smooth pictures, every view of them with noise of its own."""
    random = np.random.default_rng(seed)
    height, width = size
    coarse = random.integers(30, 226, (batch_size, -(-height // 5), -(-width // 3), 3))
    picture = np.repeat(np.repeat(coarse, 5, 1), 3, 2)[:, :height, :width]
    noise = random.integers(-30, 30, (num, *picture.shape))
    return (picture + noise).astype(np.uint8)


def floats(views: np.ndarray) -> np.ndarray:
    """The pixels that `GivenViews` gives, float32."""
    return views.astype(np.float32) / 64 - 2


def make_batch(views: np.ndarray, labels: np.ndarray | None = None) -> Batch:
    """The batch that `GivenViews` takes views [num, B, h, w, 3] from; labels [B]."""
    num, batch_size, height, width, _ = views.shape
    zeros = jnp.zeros(batch_size, jnp.int32)
    return Batch(
        images=jnp.asarray(np.concatenate(list(views), axis=2)),
        size=jnp.tile(jnp.array([[height, num * width]], jnp.int32), (batch_size, 1)),
        label=zeros if labels is None else jnp.asarray(labels, jnp.int32),
        camera=zeros,
        index=zeros,
        mask=jnp.ones(batch_size, bool),
    )


def recipe_of(network: NetworkSpec, **changes: Any) -> config.Recipe:
    """A small recipe that trains this network; BatchNorm is over the whole batch."""
    settings: dict[str, Any] = {
        f"model__{name}": getattr(network, name)
        for name in ("arch", "width", "stem", "ibn", "non_local", "last_stride", "pooling")
    }
    settings["model__bn_group_size"] = 0
    own = {
        "moco": ("queue_size", "feature_dim", "head"),
        "reid": ("extra_bn", "embedding_dim"),
        "mgn": ("extra_bn", "embedding_dim"),
    }
    settings |= {f"task__{name}": getattr(network, name) for name in own[network.kind]}
    if network.kind != "moco":
        settings["optim__warmup_epochs"] = 0
    if network.kind == "mgn":
        settings["task__network"] = "mgn"
    return tiny(TASKS[network.kind], "", **settings | changes)


@dataclasses.dataclass(frozen=True)
class Stepped:
    """One step: its loss, the gradient of every parameter by path, and the model after it."""

    loss: float
    gradients: dict[str, np.ndarray]
    model: Model


def first_step(model: Model, recipe: config.Recipe) -> Callable[[Batch], Stepped]:
    """The step of the program from a converted model on given views, compiled when it is called.

    Args:
        model: of MoCo, or a re-ID network or MGN with classifier.
        recipe: as from `recipe_of`; SGD with momentum or Adam.
    """
    name = TASKS[model.spec.kind]
    task = dataclasses.replace(
        tasks.TASKS[name].build(recipe, None), views=GivenViews(2 if name == "moco" else 1)
    )
    params = model.params
    optimizer, schedule = optim.build(recipe.optim, params, epochs=2, steps_per_epoch=1)
    key = jax.random.key_data(jax.random.key(1))
    step = jax.jit(functools.partial(train_step, task, optimizer, schedule), compiler_options=QUICK)

    def run(batch: Batch) -> Stepped:
        extra, moments = model.extra, optimizer.init(params)
        state = TrainState(jnp.zeros((), jnp.int32), params, extra, moments, key)
        state, metrics = step(state, batch)
        after = trees.by_name({"params": state.params, "extra": state.extra})
        after = dataclasses.replace(model, tensors=jax.tree.map(np.asarray, after))
        return Stepped(float(metrics["loss"]), _gradients(model, recipe, state), after)

    return run


def _gradients(model: Model, recipe: config.Recipe, state: TrainState) -> dict[str, np.ndarray]:
    """Out of the first moments, which after one step are the gradients with their decay."""
    is_adam = recipe.optim.optimizer == "adam"
    moments = optax.tree.get(state.opt_state, "mu" if is_adam else "trace")
    share = 1 - ADAM_B1 if is_adam else 1.0
    decay = recipe.optim.weight_decay
    return {
        path: np.asarray(moment) / np.float32(share) - np.float32(decay) * model.tensors[path]
        for path, moment in trees.by_name({"params": moments}).items()
    }
