"""The network of a workdir, ready to embed pictures."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from data_pipeline.datasets import folders, image_folder
from data_pipeline.errors import InputError
from data_pipeline.paths import Paths
from data_pipeline.records import UNLABELLED, Table
from luperson_jax import config, evaluate, models, recipe_file, sharding, tasks, tracklets
from luperson_jax.structs import EmbeddingSet, TrainState
from luperson_jax.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Opened:
    """A workdir whose checkpoint was read.

    Attributes:
        recipe: its own, with the settings of `eval` that the command changed.
    """

    workdir: pathlib.Path
    recipe: config.Recipe
    task: Task
    mesh: Mesh
    state: TrainState

    def embed(self, table: Table, pool: str = tracklets.FRAMES) -> EmbeddingSet:
        """Features of every row of a table, in its order, or with `pool` of its tracklets.

        Raises:
            InputError: a picture cannot be read, or the checkpoint holds another network.
        """
        try:
            how = {"flip": self.recipe.eval.flip, "pool": pool}
            return evaluate.embed_table(self.task, self.state, table, self.recipe, self.mesh, **how)
        except models.MISFIT as error:
            raise InputError(
                f"the checkpoint in {self.workdir} does not hold the network of its "
                f"{recipe_file.RECIPE_FILE}: {error}"
            ) from error


def read_recipe(workdir: pathlib.Path, changes: Mapping[str, Any]) -> config.Recipe:
    """The recipe that a workdir holds, with changes to its group `eval`.

    Raises:
        InputError: no workdir, or a recipe that this version does not read.
    """
    settings = recipe_file.read(workdir)
    settings.pop("table", None)  # which pictures it was trained on
    settings["eval"] = {**settings.get("eval", {}), **changes}
    return config.resolve(settings, tasks.OPTIONS)


def open_workdir(workdir: str, changes: Mapping[str, Any]) -> Opened:
    """Reads recipe and checkpoint of a run.

    Args:
        workdir: its folder.
        changes: to the group `eval` of its recipe.

    Raises:
        InputError: no workdir or no checkpoint, or devices that cannot share `eval.batch_size`.
    """
    folder = pathlib.Path(workdir)
    recipe = read_recipe(folder, changes)
    mesh = sharding.make_mesh()
    sharding.check_batch_size(recipe.eval.batch_size, mesh, "eval.batch_size")
    task = tasks.TASKS[recipe.task.name].build(recipe, None)
    return Opened(folder, recipe, task, mesh, evaluate.restore(recipe, workdir, mesh))


def table_of_pictures(places: Sequence[str]) -> Table:
    """Files, and all pictures of folders at any depth, in the order given; folders by name.

    Raises:
        InputError: a place does not exist, or a folder holds no picture.
    """
    paths: list[str] = []
    for place in places:
        if os.path.isfile(place):
            paths.append(place)
            continue
        root = folders.checked_root(place)
        found = [os.path.join(*picture) for picture in image_folder.pictures(root)]
        if not found:
            raise InputError(
                f"no picture in {place} or below it; expected files ending in "
                f"{', '.join(folders.PICTURE_SUFFIXES)}"
            )
        paths += found
    unknown = np.full(len(paths), UNLABELLED, np.int64)
    return Table(Paths.of(paths), unknown, unknown, unknown)
