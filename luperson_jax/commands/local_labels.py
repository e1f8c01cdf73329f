"""The work of `luperson local-labels`: CALR's first stage, one camera after the other."""

import argparse
import dataclasses
import pathlib

import numpy as np
import rich.table
from absl import logging

from data_pipeline import terminal
from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax import config, tasks
from luperson_jax.clustering import local_labels, quality
from luperson_jax.clustering.dbscan import NOISE
from luperson_jax.run import loop, training_table
from luperson_jax.run.reporter import NonFiniteLoss
from luperson_jax.tasks.calr_local import CalrLocal
from luperson_jax.workdir.checkpoint import Checkpoints

LABELS_FILE = "local_labels.npz"
COLUMNS = {
    "camera": "camera",
    "images": "images",
    "count": "clusters",
    "largest": "largest",
    "purity": "purity",
    "pairwise_precision": "pairwise precision",
    "pairwise_recall": "pairwise recall",
}
"""Of the table that is shown, and the figures that they hold."""


def run(options: argparse.Namespace) -> int:
    """Runs every camera that is not done, and writes the labels of all.

    Returns:
        The exit status: 1 where a loss became NaN or infinite.

    Raises:
        InputError: wrong settings, data or folder.
    """
    logging.set_verbosity(logging.FATAL)  # of the libraries, as in `train`
    settings = config.read(options.config, options.changes, options=tasks.OPTIONS)
    recipe = config.resolve(settings, tasks.OPTIONS)
    if recipe.task.name != CalrLocal.Options.name or recipe.data.camera >= 0:
        raise InputError(
            f"--config {options.config} has task.name={recipe.task.name} and data.camera="
            f"{recipe.data.camera}; expected {CalrLocal.Options.name}, such as calr:stage=local, "
            "and -1: all cameras are done in turn"
        )
    table, _ = training_table.load(recipe.data)
    labels, lines = np.full(len(table), NOISE, np.int64), []
    for camera in np.unique(table.camera):
        rows = np.flatnonzero(table.camera == camera)
        try:
            found = _of_camera(recipe, options.root, table.take(rows), int(camera))
        except NonFiniteLoss as error:
            terminal.complain("luperson", error)
            return 1
        labels[rows] = found
        lines.append(_line(table.take(rows), found))
    path = options.root / LABELS_FILE
    options.root.mkdir(parents=True, exist_ok=True)
    local_labels.write(path, table, labels)
    terminal.say(_table(lines))
    terminal.say(f"local labels of {len(table)} images: {path}")
    return 0


def _of_camera(recipe: config.Recipe, root: pathlib.Path, table: Table, camera: int) -> np.ndarray:
    """Trains on the images of a camera; the clusters of the best epoch, -1 where they are few."""
    least = 2 * recipe.task.images_per_cluster
    if len(table) < least or camera < 0:
        why = "no camera is known of them" if camera < 0 else f"fewer than {least}"
        terminal.say(f"camera {camera}: {len(table)} images, {why}: they get no local labels")
        return np.full(len(table), NOISE, np.int64)
    folder = root / f"camera{camera}"
    terminal.say(f"\ncamera {camera}: {len(table)} images, in {folder}")
    data = dataclasses.replace(recipe.data, camera=camera)
    loop.run(dataclasses.replace(recipe, data=data), str(folder), CalrLocal)
    _, tree = Checkpoints(folder, read_only=True).read()
    return np.asarray(tree["extra"]["best_labels"], np.int64)


def _line(table: Table, labels: np.ndarray) -> dict[str, float]:
    about = quality.describe(labels, table.camera) | quality.agreement(labels, table.pid)
    return {"camera": float(table.camera[0]), "images": float(len(table)), **about}


def _table(lines: list[dict[str, float]]) -> rich.table.Table:
    names = [name for name in COLUMNS if any(name in line for line in lines)]
    table = rich.table.Table()
    for name in names:
        table.add_column(COLUMNS[name], justify="right")
    for line in lines:
        cells = [line.get(name) for name in names]
        table.add_row(*("" if one is None else f"{one:.4g}" for one in cells))
    return table
