"""Draw the learning rates of the fine-tuning configurations against the published ones.

    python scripts/draw_schedules.py schedules.png

One panel a method, one line a data set, over the iterations of the run: the line is what the
configuration gives, the dots are the recipes of FastReID in plain Python. Exit status 1 where they
differ.
"""

import argparse
import math
import pathlib
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_pipeline import atomic, terminal
from luperson_jax import config, optim, tasks

ROOT = pathlib.Path(__file__).resolve().parents[1]

STEPS_PER_EPOCH = {"market1501": 202, "duke": 258, "msmt17": 509, "cuhk03": 115}
"""64 images each: floor of the training images over 64."""

METHODS = {"bot": "BoT", "agw": "AGW", "sbs": "SBS", "mgn": "MGN"}
TOLERANCE = 1e-4
DOTS = 40


def with_milestones(epoch: float) -> float:
    """BoT and AGW, 120 epochs: times 0.1 at 40 and 90."""
    return 3.5e-4 * _warmup(epoch) * 0.1 ** ((epoch >= 40) + (epoch >= 90))


def with_cosine(epoch: float) -> float:
    """SBS and MGN, 60 epochs: flat to 30, then a cosine to 7.7e-7."""
    progress = max(epoch - 30, 0) / 30
    cosine = 7.7e-7 + (3.5e-4 - 7.7e-7) * (1 + math.cos(math.pi * progress)) / 2
    return cosine * _warmup(epoch)


def _warmup(epoch: float) -> float:
    """10 epochs from 0.01 to 1."""
    return 0.01 + 0.99 * min(epoch / 10, 1)


REFERENCE: dict[str, tuple[int, Callable[[float], float]]] = {
    "bot": (120, with_milestones),
    "agw": (120, with_milestones),
    "sbs": (60, with_cosine),
    "mgn": (60, with_cosine),
}
"""Epochs, and epoch -> rate; an iteration is a fraction of an epoch."""


def rates_of(path: pathlib.Path, steps_per_epoch: int) -> np.ndarray:
    """The learning rate of every iteration that a configuration makes."""
    recipe = config.resolve(config.load_file(str(path)), tasks.OPTIONS)
    parts = {name: {"bias": jnp.zeros(1)} for name in (*recipe.optim.freeze, "classifier")}
    epochs = recipe.train.epochs
    _, schedule = optim.build(recipe.optim, parts, epochs=epochs, steps_per_epoch=steps_per_epoch)
    return np.asarray(jax.vmap(schedule)(jnp.arange(epochs * steps_per_epoch)))


def draw(axes: Axes, method: str, folder: pathlib.Path) -> float:
    """Fills the panel of a method; returns the largest relative difference."""
    epochs, reference = REFERENCE[method]
    worst = 0.0
    for name, steps in STEPS_PER_EPOCH.items():
        rates = rates_of(folder / f"finetune_{method}_{name}.py", steps)
        expected = np.array([reference(step / steps) for step in range(epochs * steps)])
        assert rates.shape == expected.shape, (method, name, rates.shape, expected.shape)
        worst = max(worst, float(np.max(np.abs(rates / expected - 1))))
        (line,) = axes.plot(rates, label=f"{name}, {steps} iterations an epoch", linewidth=1)
        dots = np.linspace(0, len(rates) - 1, DOTS).round().astype(int)
        axes.plot(dots, expected[dots], ".", color=line.get_color(), markersize=5)
    axes.set(title=f"{METHODS[method]}, {epochs} epochs", yscale="log")
    axes.set(xlabel="iteration", ylabel="learning rate")
    axes.grid(alpha=0.3)
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path, help="file to write, .png or .svg")
    parser.add_argument("--configs", type=pathlib.Path, default=ROOT / "configs")
    options = parser.parse_args()
    figure = Figure(figsize=(11, 7), layout="tight", dpi=120)
    panels = np.ravel(figure.subplots(2, 2))
    differ = False
    for axes, method in zip(panels, METHODS, strict=True):
        worst = draw(axes, method, options.configs)
        differ |= worst > TOLERANCE
        terminal.say(f"{METHODS[method]}: largest relative difference {worst:.1e}")
    panels[0].legend(fontsize=7)  # the same lines in every panel
    with atomic.replacing(options.out) as part:
        figure.savefig(part, format=pathlib.Path(options.out).suffix.lstrip("."))
    return int(differ)


if __name__ == "__main__":
    sys.exit(terminal.run("draw_schedules", main))
