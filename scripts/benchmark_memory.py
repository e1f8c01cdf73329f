"""Memory of a training step on each of several devices, by the compiled program.

    python scripts/benchmark_memory.py --people 434048 --devices 1 8

Nothing is trained: LUPerson-NL's table is written with two pictures of as many people, the run of
--config is built on it, and its step compiled for that many devices of a CPU, each count in a
process of its own. Needs Linux and the extra `[lmdb]`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import benchmark_loader
import benchmark_start
import rich.table

from data_pipeline import terminal
from data_pipeline.read import atomic

MEBI = 2**20
SHOWN = 4


def plan(config_name: str, home: str, changes: list[str]) -> dict[str, Any]:
    """Bytes on one device: of the state, of its largest arrays, and of all else in a step."""
    from luperson_jax import config, tasks, trees
    from luperson_jax.run import setup

    where = ["data.dataset=luperson_nl", f"data.root={home}", "eval.dataset=", "train.init_from="]
    settings = config.read(config_name, [*where, *changes], options=tasks.OPTIONS)
    recipe = config.resolve(settings, tasks.OPTIONS)
    with tempfile.TemporaryDirectory() as workdir:
        current = setup.build(recipe, workdir, tasks.TASKS[recipe.task.name])
    arrays = {}
    for field in ("params", "extra", "opt_state"):
        for name, leaf in trees.by_name(getattr(current.shapes, field)).items():
            shape = leaf.sharding.shard_shape(leaf.shape)
            size = leaf.dtype.itemsize
            for length in shape:
                size *= length
            arrays[f"{field}/{name}"] = size
    program = setup.lowered_step(current).compile().memory_analysis()
    assert program is not None, "XLA plans memory for every device"
    largest = sorted(arrays, key=lambda name: arrays[name], reverse=True)[:SHOWN]
    return {
        "devices": current.mesh.size,
        "images": len(current.table),
        "people": current.table.num_ids,
        "state": program.argument_size_in_bytes,
        "temporary": program.temp_size_in_bytes,
        "largest": {name: arrays[name] for name in largest},
    }


def main() -> int:
    """Prints a line for each number of devices."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="pretrain_nl:method=pnl")
    parser.add_argument("--people", type=int, default=434_048, help="identities of the table")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures")
    parser.add_argument("--home", help=argparse.SUPPRESS)
    parser.add_argument("changes", nargs="*", help="GROUP.SETTING=VALUE")
    options = parser.parse_args()
    if options.home:
        sys.stdout.write(json.dumps(plan(options.config, options.home, options.changes)))
        return 0
    table = rich.table.Table(title=f"{options.config}, MiB on a device")
    for column in ("devices", "people", "state", "temporary", "largest arrays of the state"):
        table.add_column(column, justify="left" if column.startswith("largest") else "right")
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder, "nl")
        rows = options.people * benchmark_loader.OF_A_PERSON
        benchmark_loader.write_keys(home, rows, benchmark_start.small_picture())
        for devices in options.devices:
            flags = f"--xla_force_host_platform_device_count={devices}"
            given = ["--config", options.config, "--home", str(home), *options.changes]
            done = subprocess.run(
                [sys.executable, __file__, *given],
                env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            one = json.loads(done.stdout)
            figures.append(one)
            lines = [f"{size / MEBI:.0f}  {name}" for name, size in one["largest"].items()]
            sizes = (f"{one[key] / MEBI:.0f}" for key in ("state", "temporary"))
            table.add_row(str(devices), str(one["people"]), *sizes, "\n".join(lines))
    if options.json:
        atomic.write_text(options.json, json.dumps(figures, indent=2) + "\n")
    terminal.console(soft_wrap=False).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("benchmark_memory", main))
