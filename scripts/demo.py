"""LUPerson's three steps on drawn people: pre-train, fine-tune, evaluate. `make demo` runs it.

Makes a world with unlabeled passers-by and labeled people, pre-trains with MoCo on the former,
fine-tunes on the latter from random weights and from the pre-training, evaluates both beside raw
pixels, and writes `results.json` and `report.html`.
"""

import argparse
import json
import pathlib
import shutil
import sys
import time

import jax
import numpy as np
from absl import logging

from data_pipeline import datasets, decode, storage
from data_pipeline.errors import InputError
from data_pipeline.synthetic import layouts
from luperson_jax import config, html_report, tasks, train
from luperson_jax.evaluate import REPORT_FILE, RESULTS_FILE
from luperson_jax.report import Reporter, ranking_table, ranking_values
from luperson_jax.retrieval import ranking
from luperson_jax.structs import EmbeddingSet, RankingReport

ROOT = pathlib.Path(__file__).resolve().parents[1]
CAMERAS = 4
HEIGHT, WIDTH = 64, 32
NUM_PASSERS_BY = 1500
NUM_TRAIN, NUM_TEST = 100, 50


def make_world(root: pathlib.Path, seed: int) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes the two halves of the world; returns the unlabeled and the labeled folder."""
    unlabelled, labelled = root / "unlabelled", root / "labelled"
    size = {"height": HEIGHT, "width": WIDTH, "cameras": CAMERAS, "seed": seed}
    layouts.make("folder", unlabelled, identities=NUM_PASSERS_BY, tracklets=2, frames=2, **size)
    people = {"identities": NUM_TRAIN + NUM_TEST, "train_identities": NUM_TRAIN}
    layouts.make("market1501", labelled, images_per_camera=2, **people, **size)
    return unlabelled, labelled


def run_stage(
    stage: str, root: pathlib.Path, data: pathlib.Path, labelled: pathlib.Path, seed: int
) -> RankingReport:
    """One training run of configs/demo.py."""
    settings = config.load_file(str(ROOT / "configs" / "demo.py"), stage)
    settings.data.root, settings.eval.root = str(data), str(labelled)
    settings.train.seed = seed
    if stage == "finetune":
        settings.train.init_from = str(root / "pretrain")
    recipe = config.resolve(settings, tasks.OPTIONS)
    report = train.run(recipe, str(root / stage), tasks.TASKS[recipe.task.name])
    assert report is not None, "configs/demo.py names evaluation data"
    return report


def rank_raw_pixels(labelled: pathlib.Path) -> RankingReport:
    """What the pictures give away without a network."""
    splits = datasets.load("market1501", str(labelled))
    sets = []
    for table in (splits.query, splits.gallery):
        pictures = [decode.decode(storage.read(path), path) for path in table.media]
        pixels = np.stack(pictures).reshape(len(pictures), -1).astype(np.float32)
        sets.append(EmbeddingSet(pixels - pixels.mean(), table.pid, table.camera, table.media))
    return ranking.rank_embeddings(*sets)


def run(root: pathlib.Path, seed: int) -> None:
    """The whole demo in a new folder."""
    began = time.perf_counter()
    if root.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True)
    unlabelled, labelled = make_world(root, seed)
    reports = {"raw_pixels": rank_raw_pixels(labelled)}
    run_stage("pretrain", root, unlabelled, labelled, seed)
    reports["scratch"] = run_stage("scratch", root, labelled, labelled, seed)
    reports["pretrained"] = run_stage("finetune", root, labelled, labelled, seed)

    results: dict[str, object] = {}
    for name, report in reports.items():
        values = ranking_values(report)
        results[name] = {key: round(values[key], 4) for key in ("mAP", "rank1")}
    results["seconds"] = round(time.perf_counter() - began, 1)
    (root / RESULTS_FILE).write_text(json.dumps(results, indent=2) + "\n")
    stages = {name: root / name / REPORT_FILE for name in ("pretrain", "scratch", "finetune")}
    (root / REPORT_FILE).write_text(html_report.make_overview(reports, stages))

    reporter = Reporter(root, 0, 1)
    title = f"{NUM_TEST} unseen people, {CAMERAS} cameras"
    reporter.say(ranking_table(reports, title))
    reporter.say(f"{results['seconds']} s; results in {root / RESULTS_FILE}")
    reporter.say(f"report: {root / REPORT_FILE}")
    reporter.close()


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, default=ROOT / "runs" / "demo")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
    try:
        run(options.root, options.seed)
    except InputError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
