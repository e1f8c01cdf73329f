"""What the published recipes cost on a machine that need not be here, as a table.

    python scripts/plan_recipes.py --on h100:8 --root runs/plans
    python scripts/plan_recipes.py --on v5e:16x16 --root runs/plans --recipes pretrain_r50

Runs `luperson plan` for each recipe and machine, passes over what is done, and writes
ROOT/table.md. Recipes of one GPU are planned for one device of the machine; a batch that the
devices do not divide is told.
"""

import argparse
import json
import pathlib
import re
import sys

from data_pipeline import terminal
from data_pipeline.errors import InputError
from data_pipeline.read import atomic
from luperson_jax import cli

LUPERSON, NL = ["--images", "4180243"], ["--images", "10683716", "--people", "434048"]
MARKET = ["--images", "12936", "--people", "751"]
POD = {
    "pretrain_r50": LUPERSON,
    "pretrain_r101": LUPERSON,
    "pretrain_r152": LUPERSON,
    "pretrain_nl:method=simclr": NL,
    "pretrain_nl:method=pnl": NL,
}
ONE = {
    "finetune_mgn:init=scratch": MARKET,
    "finetune_bot:init=scratch": MARKET,
    "cluster_contrast:init=scratch": MARKET,
    "calr:init=scratch": MARKET,
    "upmnet:data=mars": ["--images", "509914", "--people", "625", "--tracklets", "8298"],
}
GIB = 2**30
HEAD = (
    "| recipe | machine | batch | memory, GiB | TFLOP | GB moved | arithmetic, ms | memory, ms | "
    "links, ms | at most images/s | hours | compiled, s |\n|" + "---|" * 12
)


def one_device(machine: str) -> str:
    """The smallest machine of a chip: `h100:8` -> `h100:1`, `v5e:4x4` -> `v5e:1x1`."""
    chip, _, extent = machine.partition(":")
    return f"{chip}:{'1x1' if 'x' in extent else '1'}"


def row(recipe: str, machine: str, found: dict[str, object]) -> str:
    """A line of the table."""
    f = {name: value for name, value in found.items() if isinstance(value, int | float)}
    devices = f["devices"]
    times = [1000 * f[f"{part}_seconds"] for part in ("arithmetic", "memory", "link")]
    cells = [
        *(recipe, machine, f"{f['batch_size']}", f"{f['memory'] / GIB:.1f}"),
        f"{f['flops'] / devices / 1e12:.2f}",
        f"{f['moved'] / 1e9:.1f}",
        *(f"{time:.1f}" for time in times),
        f"{f['images_per_second']:,.0f}",
        f"{24 * f['days']:.2f}",
        f"{f['compile_seconds']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def planned(recipe: str, machine: str, extent: list[str], root: pathlib.Path) -> str:
    """The line of a recipe, from its file where there is one."""
    path = root / (re.sub(r"\W+", "-", f"{recipe} {machine}") + ".json")
    if not path.exists():
        cli.main(["plan", "--config", recipe, "--on", machine, *extent, "--json", str(path)])
    if not path.exists():
        raise InputError(f"no plan of {recipe} on {machine}")
    return row(recipe, machine, json.loads(path.read_text()))


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--on", nargs="+", default=["h100:8"], help="as of `luperson plan`")
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder of the figures")
    known = [*POD, *ONE]
    parser.add_argument("--recipes", nargs="+", choices=known, default=known)
    options = parser.parse_args()
    options.root.mkdir(parents=True, exist_ok=True)
    lines = [HEAD]
    for machine in options.on:
        for recipe in options.recipes:
            where = machine if recipe in POD else one_device(machine)
            lines.append(planned(recipe, where, {**POD, **ONE}[recipe], options.root))
            atomic.write_text(options.root / "table.md", "\n".join(lines) + "\n")
    terminal.say("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("plan_recipes", main))
