"""Trains the same steps on 1, 2 and 8 simulated devices and compares them.

    python scripts/check_devices.py [--steps 20] [--seed 0]

No two numbers of devices add in the same order, so they differ by rounding; and a small network
with a high learning rate amplifies any difference, whatever its cause. A unit that rounding moves
across the kink of its ReLU also leaves the loss as it is and changes gradients by some percent. So
beside the devices stand controls: one device whose parameters are disturbed by a relative 1e-7
before the first step, several times; the largest of their differences is shown. The exit status is
0 where no difference between devices exceeds a small multiple of the controls', at a low learning
rate (where losses stay equal, so that a mistake shows) and at a usual one.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import tempfile
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import numpy as np
import rich.console
import rich.table

from data_pipeline import terminal
from data_pipeline.read.loader import Loader
from data_pipeline.synthetic import layouts
from luperson_jax import config, sharding, tasks
from luperson_jax.run import setup
from luperson_jax.structs import TrainState

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEVICES = (1, 2, 8)
RATES = (1e-6, 1e-3)
DISTURBANCE = 1e-7
NUM_CONTROLS = 6
FACTOR = 4.0  # how much more than the controls' a difference between devices may be
SIZE = (32, 16)


@dataclasses.dataclass(frozen=True)
class Trace:
    """The losses of a run, and its parameters and momentum after the last step, flat."""

    losses: np.ndarray
    params: np.ndarray
    momentum: np.ndarray

    def differences(self, other: "Trace") -> dict[str, float]:
        """How far the other run is away from this one, relative to this one."""
        steps = np.abs(other.losses - self.losses) / np.abs(self.losses)
        return {
            **{f"loss, step {step}": float(value) for step, value in enumerate(steps, start=1)},
            "parameters": _relative(self.params, other.params),
            "momentum": _relative(self.momentum, other.momentum),
        }


def make_recipe(world: pathlib.Path, lr: float, steps: int, seed: int) -> config.Recipe:
    """MoCo on a small network; a group of BatchNorm spans several of eight devices."""
    tree = {
        "task": {"name": "moco", "queue_size": 72, "feature_dim": 16, "momentum": 0.9},
        "model": {"arch": "resnet18", "width": 8, "bn_group_size": 8, "compute_dtype": "float32"},
        "data": {
            "dataset": "image_folder",
            "root": str(world),
            "canvas": SIZE,
            "size": SIZE,
            "batch_size": 16,
            "num_workers": 0,
        },
        "augment": {"recipe": "ori-cj+sre", "statistics": "lup"},
        "optim": {"lr": lr},
        "train": {"epochs": steps, "seed": seed},
    }
    return config.resolve(tree, tasks.OPTIONS)


def disturbed(state: TrainState, current: setup.Run, seed: int) -> TrainState:
    """The state with every parameter moved by a relative `DISTURBANCE`."""
    rng = np.random.default_rng(seed)

    def move(leaf: jax.Array) -> np.ndarray:
        noise = rng.standard_normal(leaf.shape, np.float32)
        return np.asarray(leaf) * (1 + np.float32(DISTURBANCE) * noise)

    params = jax.tree.map(move, state.params)
    return dataclasses.replace(state, params=sharding.put_replicated(params, current.mesh))


def run_steps(built: setup.Run, num_devices: int, steps: int, control: int = 0) -> Trace:
    """The first steps of a run on so many devices; disturbed where `control` is not 0."""
    mesh = sharding.make_mesh(jax.devices()[:num_devices])
    current = dataclasses.replace(built, mesh=mesh)
    state, step = setup.initial_state(current), setup.compile_step(current)
    if control:
        state = disturbed(state, current, control)
    losses = []
    for epoch in range(-(-steps // current.steps_per_epoch)):
        rows = current.task.sampler(current.table, epoch, current.steps_per_epoch)[
            : steps - len(losses)
        ]
        for arrays in Loader(current.table, rows, setup.loader_options(current.recipe)):
            state, metrics = step(state, sharding.put_batch(arrays, mesh))
            losses.append(float(metrics["loss"]))
    return Trace(np.array(losses), _flat(state.params), _flat(state.opt_state))


def compare(built: setup.Run, steps: int, console: rich.console.Console) -> bool:
    """Prints the table of one learning rate; whether the devices agree as well as they can."""
    traces = {count: run_steps(built, count, steps) for count in DEVICES}
    alone = traces[DEVICES[0]]
    devices = {count: alone.differences(traces[count]) for count in DEVICES[1:]}
    controls = [
        alone.differences(run_steps(built, DEVICES[0], steps, control))
        for control in range(1, NUM_CONTROLS + 1)
    ]
    control = {name: max(found[name] for found in controls) for name in controls[0]}
    table = rich.table.Table(title=f"relative to one device, learning rate {built.recipe.optim.lr}")
    for column in ("", *(f"{count} devices" for count in devices), "controls"):
        table.add_column(column, justify="right")
    for name in control:
        values = (*(found[name] for found in devices.values()), control[name])
        table.add_row(name, *(f"{value:.1e}" for value in values))
    console.print(table)
    agreed = True
    for part in ("loss", "parameters", "momentum"):
        names = [name for name in control if name.startswith(part)]
        worst = max(found[name] for found in devices.values() for name in names)
        allowed = FACTOR * max(DISTURBANCE, *(control[name] for name in names))
        agreed &= worst <= allowed
        console.print(f"{part}: largest difference {worst:.1e}, allowed {allowed:.1e}")
    return agreed


def _flat(tree: Any) -> np.ndarray:
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree) if leaf.ndim]
    return np.concatenate(leaves)


def _relative(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.linalg.norm(two - one) / np.linalg.norm(one))


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
    console, agreed = terminal.console(soft_wrap=False), True
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        size = {"height": SIZE[0], "width": SIZE[1], "cameras": 2}
        layouts.make("folder", folder / "world", identities=16, tracklets=2, frames=2, **size)
        for lr in RATES:
            recipe = make_recipe(folder / "world", lr, options.steps, options.seed)
            built = setup.build(recipe, str(folder / f"lr{lr}"), tasks.TASKS["moco"])
            agreed &= compare(built, options.steps, console)
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(terminal.run("check_devices", main))
