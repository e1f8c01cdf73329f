"""Draw the learning rates of the fine-tuning configurations against the published ones.

    python scripts/draw_schedules.py schedules.png

One panel a method and recipe, one line a data set, over the iterations of the run: the line is what
the configuration gives, the dots are the recipes of LUPerson's copy of FastReID and of FastReID
itself in plain Python. Exit status 1 where they differ.
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

from data_pipeline import terminal
from data_pipeline.read import atomic
from luperson_jax import config, optim, tasks

ROOT = pathlib.Path(__file__).resolve().parents[1]

STEPS_PER_EPOCH = {"market1501": 202, "duke": 258, "msmt17": 509, "cuhk03": 115}
"""64 images each: floor of the training images over 64."""

METHODS = {"bot": "BoT", "agw": "AGW", "sbs": "SBS", "mgn": "MGN"}
WARMUP_STEPS = 2000
TOLERANCE = 1e-4
DOTS = 40


def with_milestones(step: int, steps_per_epoch: int) -> float:
    """BoT and AGW, 120 epochs: times 0.1 at 40 and 90."""
    epoch = step / steps_per_epoch
    return 3.5e-4 * _warmup(epoch) * 0.1 ** ((epoch >= 40) + (epoch >= 90))


def with_cosine(step: int, steps_per_epoch: int) -> float:
    """SBS and MGN, 60 epochs: flat to 30, then a cosine to 7.7e-7."""
    epoch = step / steps_per_epoch
    return _cosine(max(epoch - 30, 0) / 30, 7.7e-7) * _warmup(epoch)


def with_milestones_upstream(step: int, steps_per_epoch: int) -> float:
    """The scheduler moves at the end of each epoch that ends after the warm-up."""
    ends = (steps_per_epoch * (epoch + 1) for epoch in range(step // steps_per_epoch))
    moves = sum(end >= WARMUP_STEPS for end in ends)
    return 3.5e-4 * 0.1 ** ((moves >= 40) + (moves >= 90)) * _warmup_upstream(step)


def with_cosine_upstream(step: int, steps_per_epoch: int) -> float:
    """The cosine moves at the ends of epochs, to 7e-7."""
    progress = max(step // steps_per_epoch - 30, 0) / 30
    return _cosine(progress, 7e-7) * _warmup_upstream(step)


def _cosine(progress: float, final: float) -> float:
    return final + (3.5e-4 - final) * (1 + math.cos(math.pi * progress)) / 2


def _warmup(epoch: float) -> float:
    """10 epochs from 0.01 to 1."""
    return 0.01 + 0.99 * min(epoch / 10, 1)


def _warmup_upstream(step: int) -> float:
    return 0.1 + 0.9 * min(step / WARMUP_STEPS, 1)


REFERENCE: dict[tuple[str, str], tuple[int, Callable[[int, int], float]]] = {
    ("bot", "fork"): (120, with_milestones),
    ("agw", "fork"): (120, with_milestones),
    ("sbs", "fork"): (60, with_cosine),
    ("mgn", "fork"): (60, with_cosine),
    ("bot", "upstream"): (120, with_milestones_upstream),
    ("agw", "upstream"): (120, with_milestones_upstream),
    ("sbs", "upstream"): (60, with_cosine_upstream),
}
"""By method and recipe: epochs, and (step, steps of an epoch) -> rate."""


def rates_of(path: pathlib.Path, recipe_name: str, steps_per_epoch: int) -> np.ndarray:
    """The learning rate of every iteration that a configuration makes."""
    settings = config.load_file(str(path), f"recipe={recipe_name}")
    recipe = config.resolve(settings, tasks.OPTIONS)
    parts = {name: {"bias": jnp.zeros(1)} for name in (*recipe.optim.freeze, "classifier")}
    epochs = recipe.train.epochs
    _, schedule = optim.build(recipe.optim, parts, epochs=epochs, steps_per_epoch=steps_per_epoch)
    return np.asarray(jax.vmap(schedule)(jnp.arange(epochs * steps_per_epoch)))


def draw(axes: Axes, method: str, recipe_name: str, folder: pathlib.Path) -> float:
    """Fills the panel of a method and recipe; returns the largest relative difference."""
    epochs, reference = REFERENCE[method, recipe_name]
    worst = 0.0
    for name, steps in STEPS_PER_EPOCH.items():
        rates = rates_of(folder / f"finetune_{method}_{name}.py", recipe_name, steps)
        expected = np.array([reference(step, steps) for step in range(epochs * steps)])
        assert rates.shape == expected.shape, (method, name, rates.shape, expected.shape)
        worst = max(worst, float(np.max(np.abs(rates / expected - 1))))
        (line,) = axes.plot(rates, label=f"{name}, {steps} iterations an epoch", linewidth=1)
        dots = np.linspace(0, len(rates) - 1, DOTS).round().astype(int)
        axes.plot(dots, expected[dots], ".", color=line.get_color(), markersize=5)
    axes.set(title=f"{METHODS[method]}, {recipe_name}, {epochs} epochs", yscale="log")
    axes.set(xlabel="iteration", ylabel="learning rate")
    axes.grid(alpha=0.3)
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path, help="file to write, .png or .svg")
    parser.add_argument("--configs", type=pathlib.Path, default=ROOT / "configs")
    options = parser.parse_args()
    figure = Figure(figsize=(20, 7), layout="tight", dpi=120)
    panels = np.ravel(figure.subplots(2, 4))
    panels[-1].set_axis_off()
    differ = False
    for axes, (method, name) in zip(panels, REFERENCE, strict=False):
        worst = draw(axes, method, name, options.configs)
        differ |= worst > TOLERANCE
        label = f"{METHODS[method]}, {name}"
        terminal.say(f"{label}: largest relative difference {worst:.1e}")
    panels[0].legend(fontsize=7)  # the same lines in every panel
    with atomic.replacing(options.out) as part:
        figure.savefig(part, format=pathlib.Path(options.out).suffix.lstrip("."))
    return int(differ)


if __name__ == "__main__":
    sys.exit(terminal.run("draw_schedules", main))
