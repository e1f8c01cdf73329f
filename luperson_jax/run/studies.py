"""Studies: tables of runs with several seeds, each in a workdir of its own and skipped when done.

Ten splits, two stages, ablations and shares of a training set are all lists of rows: what a row
changes may name the folder of the study, so that a later row starts from an earlier one.
"""

import dataclasses
import itertools
import json
import pathlib
import re
import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from data_pipeline.errors import InputError, suggest
from data_pipeline.read import atomic, listing
from luperson_jax import config
from luperson_jax.run.reporter import NonFiniteLoss
from luperson_jax.workdir import recipe_file

DONE_FILE, TABLE_FILE, PAGE_FILE = "done.json", "table.json", "table.md"
MEASURES = {
    "mAP": "mAP",
    "rank1": "Rank-1",
    "mINP": "mINP",
    "reranked_mAP": "re-ranked mAP",
    "reranked_rank1": "re-ranked Rank-1",
    "reranked_mINP": "re-ranked mINP",
    "query_to_gallery_rank1": "Rank-1, query to gallery",
    "gallery_to_query_rank1": "Rank-1, gallery to query",
}
"""Figures 0..1 that a table shows in percent, where its runs have them."""

MARKET = "market1501"
"""The protocol of a study that names no other."""

PUBLISHED = "published."

HARMLESS = (
    *("data.num_workers", "data.worker_kind", "data.prefetch", "train.log_every_steps"),
    *("train.checkpoint_every_epochs", "train.checkpoint_every_steps", "train.keep_checkpoints"),
)
"""Settings that change no figure."""

Perform = Callable[[config.Recipe, pathlib.Path], Mapping[str, float]]
"""Trains a recipe into a workdir and gives its figures; none where it names no evaluation data."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: of the line; its runs lie in ROOT/NAME/seed0 and so on.
        config: FILE or FILE:ARGUMENT.
        changes: GROUP.SETTING=VALUE each.
        varied: values of what is varied over the rows, for curves.
        published: figures that stand beside its own, in percent, by the names of `MEASURES`.

    In `config` and `changes`, {root} stands for the folder of the study and {seed} for the seed.
    """

    name: str
    config: str
    changes: tuple[str, ...] = ()
    varied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    published: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class StudyRun:
    """One seed of a row, ready to be run."""

    row: Row
    seed: int
    workdir: pathlib.Path
    recipe: config.Recipe
    protocol: str = MARKET

    def done(self) -> dict[str, float] | None:
        """The figures of an earlier call; None where the run is not done.

        Raises:
            InputError: it was done with other settings, or measured by another protocol.
        """
        path = self.workdir / DONE_FILE
        if not listing.exists(path):
            return None
        listing.check_opens(path)
        try:
            former = json.loads(path.read_text())
            recipe, figures = former["recipe"], former["figures"]
            protocol = former.get("protocol", MARKET)  # files of before do not have it
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(
                f"{path} cannot be read ({error!r}); delete it, and the run is measured again"
            ) from error
        lines = recipe_file.differences(recipe, config.to_dict(self.recipe), HARMLESS)
        if protocol != self.protocol:
            lines = [*lines, f"--protocol: {protocol!r} there, {self.protocol!r} here"]
        if lines:
            raise InputError(
                f"{self.workdir} was done with other settings:\n  " + "\n  ".join(lines) + "\n"
                "remove that folder, or give another --root"
            )
        return figures


def parse_row(text: str) -> Row:
    """The row that `NAME: CONFIG[:ARGUMENT] [GROUP.SETTING=VALUE ...]` describes.

    Changes of a group `published` are figures to compare with, such as `published.mAP=31.4`.

    Raises:
        InputError: it has another form.
    """
    name, mark, rest = text.partition(": ")
    try:
        words = shlex.split(rest)
    except ValueError:  # a quote that does not end
        words = []
    if not mark or not re.fullmatch(r"[\w+.-][\w+. -]*", name) or not words:
        raise InputError(
            f"row {text!r}; expected NAME: CONFIG[:ARGUMENT] [GROUP.SETTING=VALUE ...], such as "
            "'bot: finetune_bot:data=duke train.epochs=60'"
        )
    changes = [word for word in words[1:] if not word.startswith(PUBLISHED)]
    figures = dict(_published(word) for word in words[1:] if word.startswith(PUBLISHED))
    return Row(name.strip(), words[0], tuple(changes), published=figures)


def _published(word: str) -> tuple[str, float]:
    name, _, value = word.removeprefix(PUBLISHED).partition("=")
    try:
        if name in MEASURES:
            return name, float(value)
    except ValueError:
        pass
    raise InputError(f"{word!r}; expected {PUBLISHED}FIGURE=PERCENT{suggest(name, MEASURES)}")


def vary(rows: Sequence[Row], values: Mapping[str, Sequence[str]]) -> list[Row]:
    """Every row once for each combination of the values whose names it has in braces."""
    varied = []
    for row in rows:
        text = " ".join((row.config, *row.changes))
        used = {name: several for name, several in values.items() if f"{{{name}}}" in text}
        for chosen in itertools.product(*used.values()):
            words = dict(zip(used, chosen, strict=True))
            name = ", ".join([row.name, *(f"{one}={value}" for one, value in words.items())])
            changes = tuple(_filled(one, words) for one in row.changes)
            config = _filled(row.config, words)
            varied.append(Row(name, config, changes, words, row.published))
    return varied


def plan(
    rows: Sequence[Row],
    root: pathlib.Path,
    seeds: int,
    options: Mapping[str, type],
    protocol: str = MARKET,
) -> list[StudyRun]:
    """Every run of a study, with its settings resolved: mistakes show before the first run.

    Args:
        rows: of the table.
        root: folder of the study.
        seeds: how many runs each row has; their `train.seed` is 0, 1, ...
        options: as for `config.resolve`.
        protocol: what measures them, a key of `protocols.PROTOCOLS`.

    Raises:
        InputError: a wrong configuration or change, two rows in one folder, or a run that was done
            with other settings.
    """
    runs = []
    for row, seed in itertools.product(rows, range(seeds)):
        words = {"root": str(root), "seed": str(seed)}
        changes = [f"train.seed={seed}", *(_filled(one, words) for one in row.changes)]
        settings = config.read(_filled(row.config, words), changes, options=options)
        folder = re.sub(r"[^\w+.=-]+", "-", row.name)
        recipe = config.resolve(settings, options)
        runs.append(StudyRun(row, seed, root / folder / f"seed{seed}", recipe, protocol))
    folders = [run.workdir for run in runs]
    for run in runs:
        if folders.count(run.workdir) > 1:
            raise InputError(f"two rows are kept in {run.workdir.parent}; give them other names")
        run.done()
    return runs


def perform(
    runs: Sequence[StudyRun], root: pathlib.Path, work: Perform, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Runs what is not done, in order, and keeps the table up to date.

    Args:
        runs: of `plan`.
        root: folder of the study, which gets `table.json` and `table.md`.
        work: trains and measures one run.
        say: takes a line about each run.

    Returns:
        The lines of the table, and the runs whose loss became NaN or infinite.

    Raises:
        InputError: as `work` raises it.
    """
    figures: dict[int, Mapping[str, float]] = {}
    failed = []
    for number, run in enumerate(runs):
        found: Mapping[str, float] | None = run.done()
        say(f"[{number + 1}/{len(runs)}] {run.workdir}" + (": done" if found is not None else ""))
        if found is None:
            try:
                found = work(run.recipe, run.workdir)
            except NonFiniteLoss as error:
                failed.append(f"{run.workdir}: {error}")
                continue
            done = {"recipe": config.to_dict(run.recipe), "figures": dict(found)}
            done["protocol"] = run.protocol
            atomic.write_text(run.workdir / DONE_FILE, json.dumps(done, indent=2) + "\n")
        figures[number] = found
        lines = summarize([(runs[i], values) for i, values in figures.items()])
        atomic.write_text(root / TABLE_FILE, json.dumps(lines, indent=2) + "\n")
        atomic.write_text(root / PAGE_FILE, as_markdown(lines))
    return summarize([(runs[i], values) for i, values in figures.items()]), failed


def summarize(done: Sequence[tuple[StudyRun, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """A line for every row that has figures: each seed's, their mean and standard deviation."""
    lines = []
    for row in dict.fromkeys(run.row.name for run, _ in done):
        mine = [(run, values) for run, values in done if run.row.name == row and values]
        if not mine:
            continue
        figures = {}
        for name in mine[0][1]:
            values = [one[name] for _, one in mine]
            spread = statistics.stdev(values) if len(values) > 1 else None
            figures[name] = {"mean": statistics.fmean(values), "std": spread, "values": values}
        first = mine[0][0].row
        about = {"row": row, "config": first.config, "changes": list(first.changes)}
        about["published"] = dict(first.published)
        seeds = [run.seed for run, _ in mine]
        lines.append({**about, "varied": dict(first.varied), "seeds": seeds, "figures": figures})
    return lines


def as_markdown(lines: Sequence[Mapping[str, Any]], measures: Mapping[str, str] = MEASURES) -> str:
    """The table in percent, with standard deviations where there are several seeds.

    Args:
        lines: of `summarize`.
        measures: what is shown, and the titles of the columns.
    """
    names, published = (
        [name for name in measures if any(name in line.get(kind, {}) for line in lines)]
        for kind in ("figures", "published")
    )
    titles = [measures[name] for name in names]
    titles += [f"published {measures[name]}" for name in published]
    written = ["| | seeds | " + " | ".join(titles) + " |", "|---|---|" + "---|" * len(titles)]
    for line in lines:
        cells = [spread(line["figures"].get(name)) for name in names]
        cells += [f"{line['published'].get(name, '')}" for name in published]
        label = str(line["row"]).replace("|", "\\|")
        written.append(f"| {label} | {len(line['seeds'])} | " + " | ".join(cells) + " |")
    return "\n".join([*written, ""])


def spread(figure: Mapping[str, Any] | None) -> str:
    """Mean and standard deviation in percent; empty where there is none."""
    if figure is None:
        return ""
    mean = f"{100 * figure['mean']:.1f}"
    return mean if figure["std"] is None else f"{mean} ± {100 * figure['std']:.1f}"


def _filled(text: str, words: Mapping[str, str]) -> str:
    """A text with the words in braces replaced; other braces are its own."""
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return text
