"""Runs a table of experiments, and prints it with means and spreads over the seeds.

    python scripts/run_table.py --root runs/table --data /data/market1501 --split id \\
        --method mgn=configs/finetune_mgn.py:init={init} \\
        --weights scratch= --weights lup=lup_r50.npz --ratios 0.1,0.3,1.0 --seeds 3

Every combination of method, weights, ratio and seed is a run with a folder of its own below --root.
One that is done is not run again: after an interruption, or with more ratios, the same command goes
on. `table.json` holds all of them; `curve.png` is LUPerson's figure, mAP against the share of
identities (or images), a line for each weights. In --method, --weights, --data and --evaluation
{init}, {ratio} and {seed} stand for the values of the run.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import jax
import rich.console
import rich.table
from absl import logging
from matplotlib.figure import Figure

from data_pipeline import terminal
from data_pipeline.errors import InputError
from data_pipeline.read import atomic
from luperson_jax import cli, config, finetuning, tasks
from luperson_jax.measure import plots
from luperson_jax.run import loop

ROOT = pathlib.Path(__file__).resolve().parents[1]
CELL_FILE, TABLE_FILE, CURVE_FILE = "cell.json", "table.json", "curve.png"
MEASURED_FILE = "reranked.json"
MEASURES = {"mAP": "mAP", "rank1": "Rank-1", "reranked_mAP": "re-ranked mAP"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of the table."""

    method: str
    init: str
    ratio: float
    seed: int

    @property
    def folder(self) -> str:
        """Its workdir below the root."""
        return f"{self.method}/{self.init}/{self.ratio:.2f}/seed{self.seed}"


def recipe_of(cell: Cell, options: argparse.Namespace) -> config.Recipe:
    """The run of a cell."""
    words = {"init": cell.init, "ratio": cell.ratio, "seed": cell.seed}
    settings = [
        f"data.root={options.data.format(**words)}",
        f"eval.root={(options.evaluation or options.data).format(**words)}",
        *options.set,
    ]
    method = options.method[cell.method].format(**words)
    tree = config.read(method, settings, options=tasks.OPTIONS)
    tree["train"] |= {"seed": cell.seed, "init_from": options.weights[cell.init].format(**words)}
    if options.repeats:
        tree["data"]["repeat"] = options.repeats[cell.ratio]
    if options.split:
        tree["data"] |= {"subset": finetuning.SPLITS[options.split], "ratio": cell.ratio}
    return config.resolve(tree, tasks.OPTIONS)


def run_cell(cell: Cell, options: argparse.Namespace) -> dict[str, Any]:
    """Trains and measures a cell, or reads what an earlier call measured."""
    workdir = options.root / cell.folder
    path = workdir / CELL_FILE
    if path.exists():
        return json.loads(path.read_text())
    recipe = recipe_of(cell, options)
    task = tasks.TASKS[recipe.task.name]
    loop.run(recipe, str(workdir), task)
    values = {**dataclasses.asdict(cell), **measure(recipe, workdir)}
    atomic.write_text(path, json.dumps(values, indent=2) + "\n")
    return values


def measure(recipe: config.Recipe, workdir: pathlib.Path) -> dict[str, float]:
    """What `luperson evaluate --rerank` says of a run's last step."""
    path = workdir / MEASURED_FILE
    places = [
        "--workdir",
        str(workdir),
        "--dataset",
        recipe.eval.dataset,
        "--root",
        recipe.eval.root,
    ]
    if cli.main(["evaluate", *places, "--rerank", "--json", str(path)]):
        raise InputError(f"{workdir} was trained and cannot be evaluated; see the message above")
    values = json.loads(path.read_text())
    plain, reranked = values["without_rerank"], values
    return {
        **{name: plain[name] for name in ("mAP", "rank1", "mINP")},
        **{f"reranked_{name}": reranked[name] for name in ("mAP", "rank1", "mINP")},
    }


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation in percent."""
    mean = f"{100 * statistics.fmean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def print_table(rows: list[dict[str, Any]], console: rich.console.Console) -> None:
    """A line for each method, weights and ratio."""
    table = rich.table.Table(title="mean and standard deviation over the seeds, in percent")
    for column in ("method", "weights", "ratio", "seeds", *MEASURES.values()):
        table.add_column(column, justify="right" if column in MEASURES.values() else "left")
    for key, group in grouped(rows).items():
        cells = [spread([one[name] for one in group]) for name in MEASURES]
        table.add_row(key[0], key[1], f"{key[2]:g}", str(len(group)), *cells)
    console.print(table)


def grouped(rows: list[dict[str, Any]]) -> dict[tuple[str, str, float], list[dict[str, Any]]]:
    """Cells that differ in the seed alone."""
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["init"], row["ratio"]), []).append(row)
    return groups


def draw_curves(rows: list[dict[str, Any]], path: pathlib.Path, split: str) -> None:
    """mAP against the ratio: a panel for each method, a line for each weights."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(4.2 * len(methods), 3.4), layout="tight")
    panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for axes, method in zip(panels, methods, strict=True):
        for init in dict.fromkeys(row["init"] for row in rows):
            groups = {
                key[2]: [100 * one["mAP"] for one in group]
                for key, group in grouped(rows).items()
                if key[:2] == (method, init)
            }
            ratios = sorted(groups)
            means = [statistics.fmean(groups[ratio]) for ratio in ratios]
            errors = [statistics.stdev(groups[r]) if len(groups[r]) > 1 else 0.0 for r in ratios]
            axes.errorbar(
                [100 * r for r in ratios], means, errors, marker="o", capsize=3, label=init
            )
        kind = {"id": "identities", "im": "images"}.get(split, "training set")
        axes.set(title=method, xlabel=f"share of the {kind}, %", ylabel="mAP, %")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    plots.save(figure, path)


def run(options: argparse.Namespace) -> None:
    """All cells, then table and curves."""
    console = terminal.console()
    cells = [
        Cell(*one)
        for one in itertools.product(
            options.method, options.weights, options.ratios, range(options.seeds)
        )
    ]
    for cell in cells:
        recipe_of(cell, options)  # every mistake before the first run
    rows = []
    for number, cell in enumerate(cells, start=1):
        console.print(f"[{number}/{len(cells)}] {cell.folder}", highlight=False, markup=False)
        rows.append(run_cell(cell, options))
        atomic.write_text(options.root / TABLE_FILE, json.dumps(rows, indent=2) + "\n")
    print_table(rows, console)
    draw_curves(rows, options.root / CURVE_FILE, options.split)
    console.print(f"{options.root / TABLE_FILE}, {options.root / CURVE_FILE}")


def repeats_of(text: str, ratios: Sequence[float]) -> dict[float, int]:
    """How often an image stands in an epoch, by ratio: one number for all, or one for each."""
    if not text:
        return {}
    numbers = [int(part) for part in text.split(",")]
    if len(numbers) not in (1, len(ratios)):
        raise InputError(f"--repeats {text}: expected one number, or one for each of {ratios}")
    return dict(zip(ratios, numbers * len(ratios), strict=False))


def _named(parts: Sequence[str], option: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in parts]
    if any(not name or not equals for name, equals, _ in pairs):
        raise InputError(f"{option} {' '.join(parts)}: expected NAME=VALUE each")
    return {name: value for name, _, value in pairs}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder of all runs")
    parser.add_argument("--data", required=True, help="data.root; and eval.root, unless given")
    parser.add_argument("--evaluation", default="", help="eval.root")
    parser.add_argument("--method", action="append", required=True, help="NAME=CONFIG[:ARGUMENT]")
    parser.add_argument("--weights", action="append", required=True, help="NAME=FILE or NAME=")
    parser.add_argument("--split", choices=list(finetuning.SPLITS), default="", help="id or im")
    parser.add_argument("--ratios", default="1.0", help="shares, by commas; need --split")
    parser.add_argument("--repeats", default="", help="data.repeat, for all ratios or each")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="GROUP.SETTING=VALUE")
    options = parser.parse_args(arguments)
    logging.set_verbosity(logging.ERROR)
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
    try:
        options.method = _named(options.method, "--method")
        options.weights = _named(options.weights, "--weights")
        options.ratios = [float(part) for part in options.ratios.split(",")]
        if not options.split and options.ratios != [1.0]:
            raise InputError("--ratios needs --split: id for identities, im for images")
        options.repeats = repeats_of(options.repeats, options.ratios)
        run(options)
    except (InputError, ValueError, KeyError) as error:
        terminal.complain("run_table", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("run_table", main))
