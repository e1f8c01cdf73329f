"""LUPerson's three steps, small: pre-train, fine-tune, evaluate. `make demo` runs it.

Makes a drawn world with unlabeled passers-by and labeled people, pre-trains with MoCo on the
former, fine-tunes on the latter from random weights and from the pre-training, and evaluates both
beside raw pixels. With --unlabelled and --labelled the same three steps run on real crops.
"""

import argparse
import pathlib
import shutil
import sys
import time

import jax
import numpy as np
from absl import logging

from data_pipeline import datasets, terminal
from data_pipeline.errors import InputError
from data_pipeline.read import atomic, decode, picture_files
from data_pipeline.synthetic import layouts
from luperson_jax import config, tasks
from luperson_jax.measure import html_report
from luperson_jax.measure.evaluation import REPORT_FILE
from luperson_jax.measure.figures import ranking_table, ranking_values
from luperson_jax.retrieval import ranking
from luperson_jax.run import loop, studies
from luperson_jax.structs import EmbeddingSet, RankingReport

ROOT = pathlib.Path(__file__).resolve().parents[1]
CAMERAS = 4
HEIGHT, WIDTH = 64, 32
NUM_PASSERS_BY = 1500
NUM_TRAIN, NUM_TEST = 100, 50
MARK = ".demo"  # in folders that a later demo may delete
STAGES = {
    "pretrain": "pre-training with MoCo on unlabeled pictures. Its mAP is measured with the "
    "features as they are, before any identity was seen: it stays low, and only the start that it "
    "gives to the last run counts",
    "scratch": "fine-tuning with identities, from random weights",
    "finetune": "fine-tuning with identities, from the pre-training",
}
"""What the three runs are."""


def make_world(root: pathlib.Path) -> tuple[str, str]:
    """Writes the two halves of the drawn world; returns the unlabeled and the labeled folder."""
    unlabelled, labelled = root / "unlabelled", root / "labelled"
    size = {"height": HEIGHT, "width": WIDTH, "cameras": CAMERAS}
    layouts.make("folder", unlabelled, identities=NUM_PASSERS_BY, tracklets=2, frames=2, **size)
    people = {"identities": NUM_TRAIN + NUM_TEST, "train_identities": NUM_TRAIN}
    layouts.make("market1501", labelled, images_per_camera=2, **people, **size)
    return str(unlabelled), str(labelled)


def rank_raw_pixels(labelled: str) -> RankingReport:
    """What the pictures give away without a network: cosine distance of their pixels."""
    splits = datasets.load("market1501", labelled)
    sets = []
    for table in (splits.query, splits.gallery):
        pictures = [
            decode.to_canvas(picture_files.read_picture(path), (HEIGHT, WIDTH))
            for path in table.media
        ]
        pixels = np.stack(pictures).reshape(len(pictures), -1).astype(np.float32)
        media = tuple(table.media)
        sets.append(EmbeddingSet(pixels - pixels.mean(), table.pid, table.camera, media))
    return ranking.rank(*sets)


def rows_of(unlabelled: str, labelled: str) -> list[studies.Row]:
    """The three runs of the comparison."""
    start = "train.init_from={root}/pretrain/seed{seed}"
    evaluated = f"eval.root={labelled}"
    return [
        studies.Row("pretrain", "demo:pretrain", (f"data.root={unlabelled}", evaluated)),
        studies.Row("scratch", "demo:scratch", (f"data.root={labelled}", evaluated)),
        studies.Row("finetune", "demo:finetune", (f"data.root={labelled}", evaluated, start)),
    ]


def compare(
    root: pathlib.Path, unlabelled: str, labelled: str, seeds: int
) -> dict[str, list[RankingReport]]:
    """Raw pixels, fine-tuned from scratch and fine-tuned from the pre-training, a seed each."""
    terminal.say("raw pixels: ranking the pictures by their pixels alone")
    reports: dict[str, list[RankingReport]] = {"raw_pixels": [rank_raw_pixels(labelled)]}

    def work(recipe: config.Recipe, workdir: pathlib.Path) -> dict[str, float]:
        stage = workdir.parent.name
        terminal.say(STAGES[stage])
        report = loop.run(recipe, str(workdir), tasks.TASKS[recipe.task.name])
        assert report is not None, "configs/demo.py names evaluation data"
        if stage != "pretrain":
            reports.setdefault(stage, []).append(report)
        return ranking_values(report)

    runs = studies.plan(rows_of(unlabelled, labelled), root, seeds, tasks.OPTIONS)
    studies.perform(runs, root, work, lambda line: terminal.say(f"\n{line}"))
    return reports


def run(options: argparse.Namespace) -> None:
    """The whole comparison in a new folder."""
    began = time.perf_counter()
    root: pathlib.Path = options.root
    if root.exists() and any(root.iterdir()) and not (root / MARK).exists():
        raise InputError(f"{root} is not empty and no earlier demo; give another --root")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / MARK).touch()
    unlabelled, labelled = options.unlabelled, options.labelled
    if not unlabelled:
        terminal.say(f"drawing a world of people in {root}")
        unlabelled, labelled = make_world(root)
    reports = compare(root, unlabelled, labelled, options.seeds)
    rows = {
        name if len(several) == 1 else f"{name}, seed {seed}": report
        for name, several in reports.items()
        for seed, report in enumerate(several)
    }
    pages = sorted(root.rglob(REPORT_FILE))
    atomic.write_text(root / REPORT_FILE, html_report.make_overview(rows, root, pages))
    terminal.say(ranking_table(rows, "people not seen in training"))
    if options.seeds > 1:
        terminal.say((root / studies.PAGE_FILE).read_text())
    terminal.say(f"{time.perf_counter() - began:.0f} s; figures in {root / studies.TABLE_FILE}")
    terminal.say(f"report: {root / REPORT_FILE}")


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = ROOT / "runs" / "demo"
    parser.add_argument("--root", type=pathlib.Path, default=default, help="folder to write")
    parser.add_argument("--unlabelled", default="", help="folders of crops, by commas")
    parser.add_argument("--labelled", default="", help="folder in the Market-1501 layout")
    parser.add_argument("--seeds", type=int, default=1, help="how many runs of each kind")
    options = parser.parse_args()
    if bool(options.unlabelled) != bool(options.labelled) or options.seeds < 1:
        parser.error("--unlabelled and --labelled go together, and --seeds is at least 1")
    logging.set_verbosity(logging.ERROR)
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
    try:
        run(options)
    except InputError as error:
        terminal.complain("demo", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("demo", main))
