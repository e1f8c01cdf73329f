"""Speed, operations, host time and memory of a training step, beside PyTorch where it is there.

    python scripts/benchmark_train.py --config configs/pretrain_r50.py \\
        --set data.batch_size=16 --set model.bn_group_size=0 --torch --json out.json

Without --root the pictures are drawn. `training_speed.py` says what each figure is.
"""

import argparse
import json
import math
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import rich.console
import rich.table
import training_speed
from absl import logging

from data_pipeline import terminal
from data_pipeline.errors import InputError
from data_pipeline.read import atomic
from data_pipeline.synthetic import layouts
from luperson_jax import config, tasks
from luperson_jax.run.reporter import NonFiniteLoss

LAYOUTS = {"image_folder": "folder", "market1501": "market1501"}
LEAST_PICTURES = 256
PICTURES_OF_A_PERSON = {"folder": 4, "market1501": 16}

ROWS = {
    "memory": "step, input from memory",
    "loader": "step, input from the loader",
    "loader_alone": "loader alone",
    "plain": "step without augmentation",
    "torch": "PyTorch, without augmentation",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(message)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; raises InputError where they are wrong."""
    parser = _Parser(prog="benchmark_train", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", required=True, help="FILE, or FILE:ARGUMENT")
    parser.add_argument("--set", action="append", default=[], metavar="GROUP.SETTING=VALUE")
    parser.add_argument("--root", help="pictures, where they are not to be drawn")
    parser.add_argument("--dtype", help="same as --set model.compute_dtype=...")
    parser.add_argument("--steps", type=int, default=10, help="steps of one turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant")
    parser.add_argument("--torch", action="store_true", help="also the same step in PyTorch")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    for name in ("steps", "rounds"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} is {getattr(options, name)}; give 1 or more")
    return options


def draw_pictures(recipe: config.Recipe, root: pathlib.Path) -> None:
    """Enough drawn people, in the layout that the recipe reads, for one batch at least."""
    data = recipe.data
    layout = LAYOUTS.get(data.dataset)
    if layout is None:
        raise InputError(f"no pictures are drawn for data.dataset={data.dataset!r}; give --root")
    least = max(LEAST_PICTURES, data.batch_size) / PICTURES_OF_A_PERSON[layout]
    people = max(math.ceil(least), math.ceil(data.batch_size / data.num_instances))
    if layout == "folder":
        layouts.make(layout, root, identities=people, tracklets=2, frames=2)
    else:
        numbers = {"identities": people + 1, "train_identities": people}
        layouts.make(layout, root, cameras=4, images_per_camera=4, **numbers)


def run(options: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """The report of `training_speed.measure`."""
    dtype = [f"model.compute_dtype={options.dtype}"] if options.dtype else []
    tree = config.read(options.config, [*options.set, *dtype], options=tasks.OPTIONS)
    # Evaluation is not measured, and its data need not be there.
    tree["eval"] = {**tree.get("eval", {}), "dataset": ""}
    root = options.root or str(folder / "pictures")
    tree["data"] = {**tree.get("data", {}), "root": root}
    recipe = config.resolve(tree, tasks.OPTIONS)
    if not options.root:
        draw_pictures(recipe, folder / "pictures")
    report = training_speed.measure(
        recipe, folder / "run", options.steps, options.rounds, options.torch
    )
    origin = options.root or "drawn pictures"
    return {"config": options.config, "pictures": origin, **report}


def speed_table(report: Mapping[str, Any]) -> rich.table.Table:
    """Images per second of every contestant."""
    recipe = report["recipe"]
    height, width = recipe["data"]["size"]
    table = rich.table.Table(
        title=f"{report['config']}: {recipe['task']['name']}, {recipe['model']['arch']} of width "
        f"{recipe['model']['width']}, {height}x{width}, batch {report['batch_size']}, "
        f"{report['compute_dtype']}, {report['num_devices']} x {report['device']['kind']}"
    )
    table.add_column("")
    for column in ("images/s", "lowest to highest", "ms per step"):
        table.add_column(column, justify="right")
    for name, label in ROWS.items():
        if name in report["speed"]:
            values = report["speed"][name]
            spread = f"{values['lowest']:.2f} to {values['highest']:.2f}"
            median = f"{values['images_per_second']:.2f}"
            table.add_row(label, median, spread, f"{values['ms_per_step']:.2f}")
    table.caption = f"median of {report['rounds']} rounds of {report['steps']} steps, in turns"
    return table


def cost_table(report: Mapping[str, Any]) -> rich.table.Table:
    """What a step costs."""
    host, peak, flops = report["host"], report["peak_memory"], report["flops_per_image"]
    thread = ", ".join(f"{name} {value:.2f}" for name, value in host["thread_ms"].items())
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    table = rich.table.Table(show_header=False)
    for name, value in {
        "operations per image": f"{flops['as_written'] / 1e9:.3f} GFLOP as written, "
        f"{flops['compiled'] / 1e9:.3f} compiled",
        "operations per second": f"{report['flops_per_second'] / 1e9:.1f} GFLOP/s, as written, "
        f"{report['share_of_a_product']:.1%} of a matrix product's in this run",
        "share of augmentation": f"{report['augmentation_share']:.1%} of the step",
        "host, per step": f"{host['thread_ms_per_step']:.2f} ms of its thread ({thread}), "
        f"{host['share_of_step']:.2%} of the step",
        "host, call of the step": f"{host['call_of_step_ms']:.2f} ms until it returns",
        "host, waiting for a batch": f"{host['wait_for_batch_ms']:.2f} ms per step",
        "decoding": f"{report['decoding_ms_per_image']:.3f} ms of a core per image, "
        f"{report['decoding_cores_needed']:.2f} cores to keep up",
        "peak memory of the device": f"{peak['device_bytes'] / 2**20:.0f} MiB ({peak['source']})",
        "peak memory of the process": f"{peak['process_bytes'] / 2**20:.0f} MiB",
        "tracing and compiling": f"{report['seconds']['trace']:.1f} and "
        f"{report['seconds']['compile']:.1f} s",
        "versions": versions,
    }.items():
        table.add_row(name, value)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; the exit status is 2 where the user has something to mend."""
    logging.set_verbosity(logging.ERROR)
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        with tempfile.TemporaryDirectory() as folder:
            report = run(options, pathlib.Path(folder))
        if options.json is not None:
            atomic.write_text(options.json, json.dumps(report, indent=2) + "\n")
    except (InputError, NonFiniteLoss, OSError) as error:
        terminal.complain("benchmark_train", error)
        return 1 if isinstance(error, NonFiniteLoss) else 2
    console = terminal.console(soft_wrap=False)
    console.print(speed_table(report))
    console.print(cost_table(report))
    return 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        # The step is compiled twice, once for its figures. A cache that starts empty makes the
        # second time cheap and leaves the first one as slow as it is.
        jax.config.update("jax_compilation_cache_dir", cache)
        sys.exit(terminal.run("benchmark_train", main))
