"""The work of `luperson study`: rows from the command line, runs, a table and a curve."""

import argparse
import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import logging

from data_pipeline import terminal
from data_pipeline.errors import InputError
from luperson_jax import config, tasks
from luperson_jax.commands import evaluate
from luperson_jax.commands.options import evaluate as evaluate_options
from luperson_jax.commands.options import parser as parsers
from luperson_jax.measure import plots, study_plots
from luperson_jax.measure.figures import ranking_values
from luperson_jax.run import loop, studies
from luperson_jax.run.studies import MARKET

CURVE_FILE, ROWS_FILE = "curve.png", "rows.png"
RERANKED_FILE, PROTOCOL_FILE = "reranked.json", "protocol.json"


def run(options: argparse.Namespace) -> int:
    """Runs a study and writes its table; the exit status is 1 where a loss became NaN or infinite.

    Raises:
        InputError: a wrong row, setting or folder; before the first run, where it can be known.
    """
    logging.set_verbosity(logging.FATAL)  # of the libraries, as in `train`
    values = _values(options.vary)
    if options.curve is not None and options.curve not in values:
        raise InputError(f"--curve is {options.curve}; expected the name of a --vary")
    if options.curve is not None:
        _numbers(values[options.curve], options.curve)
    if options.seeds < 1:
        raise InputError(f"--seeds is {options.seeds}; expected 1 or more")
    if options.rerank and options.protocol != MARKET:
        raise InputError(
            f"--rerank goes with the protocol of Market-1501 alone, and --protocol is "
            f"{options.protocol}; leave one of them out"
        )
    rows = studies.vary(_rows(options), values)
    runs = studies.plan(rows, options.root, options.seeds, tasks.OPTIONS, options.protocol)
    work = functools.partial(_work, rerank=options.rerank, protocol=options.protocol)
    lines, failed = studies.perform(runs, options.root, work, terminal.say)
    terminal.say("", *studies.as_markdown(lines).splitlines(), "")
    terminal.say(f"in percent; {options.root / studies.TABLE_FILE} has all digits")
    if lines:
        plots.save(study_plots.rows(lines), options.root / ROWS_FILE)
        terminal.say(f"{options.root / ROWS_FILE}")
    if options.curve is not None and lines:
        plots.save(study_plots.curves(lines, options.curve), options.root / CURVE_FILE)
        terminal.say(f"{options.root / CURVE_FILE}")
    terminal.say(*failed)
    return 1 if failed else 0


def _rows(options: argparse.Namespace) -> list[studies.Row]:
    """Those of the file, then those of the command line; with the changes that hold for all."""
    texts = []
    if options.file:
        try:
            lines = pathlib.Path(options.file).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read --file {options.file}: {error}") from error
        texts = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    rows = [studies.parse_row(text) for text in [*texts, *options.row]]
    if not rows:
        raise InputError("a study needs rows: give --row or --file")
    common = tuple(options.changes)
    return [dataclasses.replace(row, changes=(*common, *row.changes)) for row in rows]


def _values(texts: Sequence[str]) -> dict[str, list[str]]:
    values = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        if not equals or not name.isidentifier() or name in ("seed", "root", *values):
            raise InputError(
                f"--vary {text!r}; expected NAME=VALUE,VALUE, each name once and not seed or root"
            )
        values[name] = listed.split(",")
    return values


def _numbers(texts: Sequence[str], name: str) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise InputError(f"--curve {name}: {error}; its values must be numbers") from error


def _work(
    recipe: config.Recipe, workdir: pathlib.Path, *, rerank: bool, protocol: str
) -> dict[str, float]:
    """Trains, and gives the figures of the last step."""
    report = loop.run(recipe, str(workdir), tasks.TASKS[recipe.task.name])
    if report is None:
        return {}
    if protocol != MARKET:
        values = _evaluated(recipe, workdir, PROTOCOL_FILE, "--protocol", protocol)
        ways = values.get("directions", {}).items()
        found = {f"{way}_{name}": value for way, one in ways for name, value in one.items()}
        return {name: values[name] for name in ranking_values(report)} | found
    if not rerank:
        return ranking_values(report)
    values = _evaluated(recipe, workdir, RERANKED_FILE, "--rerank")
    plain = {name: values["without_rerank"][name] for name in ("mAP", "rank1", "mINP")}
    return plain | {f"reranked_{name}": values[name] for name in plain}


def _evaluated(
    recipe: config.Recipe, workdir: pathlib.Path, name: str, *more: str
) -> dict[str, Any]:
    """What `luperson evaluate` writes of a run, also to the file `name` of its folder."""
    path = workdir / name
    parser = parsers.Parser(prog="luperson evaluate")
    evaluate_options.add_options(parser)
    given = ["--workdir", str(workdir), "--dataset", recipe.eval.dataset]
    given += ["--root", recipe.eval.root, "--split", str(recipe.eval.split)]
    evaluate.run(parser.parse_args([*given, *more, "--json", str(path)]))
    return json.loads(path.read_text())
