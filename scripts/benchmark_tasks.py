"""Images per second of every method's step beside MoCo's, by turns in one process.

    python scripts/benchmark_tasks.py
    python scripts/benchmark_tasks.py --arch resnet50 --width 64 --size 256,128 --batch-size 16

All methods have the same network, batch and pictures (noise, views included); those that learn from
labels or tracklets have drawn ones. Clustering, which comes once an epoch, is not in it.
"""

import argparse
import functools
import pathlib
import sys
import tempfile

import jax
import rich.table
import training_speed
from absl import logging

from data_pipeline import terminal
from data_pipeline.synthetic import layouts
from luperson_jax import config, tasks
from luperson_jax.run import setup

CONFIGS = {
    "moco": "pretrain_nl:method=moco",
    "simclr": "pretrain_nl:method=simclr",
    "supcont": "pretrain_nl:method=supcont",
    "pnl": "pretrain_nl:method=pnl",
    "bot": "finetune_bot:init=scratch",
    "mgn": "finetune_mgn:init=scratch",
    "cluster_contrast": "cluster_contrast:init=scratch",
    "spcl": "spcl:init=scratch",
    "calr": "calr:init=scratch",
    "upmnet": "upmnet:parts=2",
}
TRACKLETS = 400


def current_of(name: str, options: argparse.Namespace, folder: pathlib.Path) -> setup.Run:
    """The run of a method, at the shared size."""
    size = options.size
    changes = [
        f"model.arch={options.arch}",
        f"model.width={options.width}",
        "model.bn_group_size=0",
        f"data.batch_size={options.batch_size}",
        "data.dataset=luperson_nl",
        f"data.root={folder / 'pictures'}",
        f"data.canvas={size}",
        f"data.size={size}",
        "data.num_workers=0",
        "eval.dataset=",
        "train.init_from=",
        "train.epochs=100",
        "train.steps_per_epoch=10",
    ]
    if name == "upmnet":
        changes += ["model.last_stride=1", "optim.milestones=50"]
    if name in ("bot", "mgn"):
        changes += ["data.strided_groups=False"]
    settings = config.read(CONFIGS[name], changes, options=tasks.OPTIONS)
    recipe = config.resolve(settings, tasks.OPTIONS)
    return setup.build(recipe, str(folder / name), tasks.TASKS[recipe.task.name])


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", default="resnet18", help="network of all methods")
    parser.add_argument("--width", type=int, default=16, help="channels of its first stage")
    parser.add_argument("--size", default="96,48", help="height,width of the pictures")
    parser.add_argument("--batch-size", type=int, default=64, help="images of a step")
    parser.add_argument("--steps", type=int, default=10, help="steps of a turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each method")
    parser.add_argument("--methods", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    turns = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        size = {"height": 64, "width": 32, "cameras": 4}
        people = {"identities": TRACKLETS // 2, "tracklets": 2, "frames": 4}
        layouts.make("luperson_nl", folder / "pictures", **people, **size)
        for method in options.methods:
            current = current_of(method, options, folder)
            trainer = training_speed.Trainer(current)
            step = setup.compile_step(current)
            batch = training_speed.noise_batch(current, current.recipe.data.canvas)
            watch = training_speed.Stopwatch()
            turns[method] = functools.partial(trainer.turn, step, batch, watch)
            turns[method](training_speed.WARM_UP_STEPS)
            terminal.say(f"{method}: ready")
        seconds = training_speed.alternate(turns, options.rounds, options.steps)
    speeds = {
        method: training_speed.speed(each, options.steps, options.batch_size)
        for method, each in seconds.items()
    }
    first = speeds[options.methods[0]]["images_per_second"]
    device = jax.devices()[0].device_kind
    table = rich.table.Table(
        title=f"{options.arch} of width {options.width}, {options.size}, {device}"
    )
    for column in ("", "images/s", "lowest to highest", f"of {options.methods[0]}"):
        table.add_column(column, justify="right" if column else "left")
    for method, values in speeds.items():
        rate = values["images_per_second"]
        spread = f"{values['lowest']:.0f} to {values['highest']:.0f}"
        table.add_row(method, f"{rate:.0f}", spread, f"{rate / first:.2f}")
    terminal.say(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
