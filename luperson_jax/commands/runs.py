"""The network of a workdir or of a file of weights, ready to embed pictures."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from data_pipeline.datasets import folders, image_folder
from data_pipeline.errors import InputError
from data_pipeline.table.paths import Paths
from data_pipeline.table.records import UNLABELLED, Table
from luperson_jax import config, models, sharding, tasks
from luperson_jax.commands import weight_file
from luperson_jax.measure import embed, tracklet_pooling
from luperson_jax.run import evaluation
from luperson_jax.structs import EmbeddingSet, TrainState
from luperson_jax.tasks.base import Embedder
from luperson_jax.workdir import recipe_file


@dataclasses.dataclass(frozen=True)
class Opened:
    """A network that was read.

    Attributes:
        origin: what it was read from, as messages name it.
        recipe: its own, with the settings of `eval` that the command changed.
        embedder: computes features with `params` and `extra` of `state`.
        facts: what results say about it.
        notes: lines for the user.
    """

    origin: str
    recipe: config.Recipe
    embedder: Embedder
    mesh: Mesh
    state: TrainState
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()

    def embed(self, table: Table, pool: str = tracklet_pooling.FRAMES) -> EmbeddingSet:
        """Features of every row of a table, in its order, or with `pool` of its tracklets.

        Raises:
            InputError: a picture cannot be read, or the checkpoint holds another network.
        """
        recipe = self.recipe
        try:
            how = {"flip": recipe.eval.flip, "pool": pool}
            return embed.embed_table(self.embedder, self.state, table, recipe, self.mesh, **how)
        except models.MISFIT as error:
            raise InputError(
                f"{self.origin} does not hold the network of its recipe: {error}"
            ) from error


def read_recipe(workdir: pathlib.Path, changes: Mapping[str, Any]) -> config.Recipe:
    """The recipe that a workdir holds, with changes to its group `eval`.

    Raises:
        InputError: no workdir, or a recipe that this version does not read.
    """
    settings = recipe_file.read(workdir)
    settings = {name: one for name, one in settings.items() if name not in recipe_file.FACTS}
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
    mesh = _mesh(recipe)
    task = tasks.TASKS[recipe.task.name].build(recipe, None)
    state = evaluation.restore(recipe, workdir, mesh)
    settings = recipe.eval
    facts = {"step": int(state.step), "workdir": workdir, "checkpoint": settings.checkpoint}
    facts |= {"average": settings.weights == "average", "flip": settings.flip}
    return Opened(f"step {int(state.step)} of {workdir}", recipe, task, mesh, state, facts)


def open_weights(path: str, changes: Mapping[str, Any], **given: str | None) -> Opened:
    """Reads a file of weights.

    Args:
        path: the file.
        changes: to the group `eval` of its recipe.
        given: what the file may not tell; see `weight_file.read`.

    Raises:
        InputError: as `weight_file.read`, or devices that cannot share `eval.batch_size`.
    """
    found = weight_file.read(pathlib.Path(path), changes, **given)
    mesh = _mesh(found.recipe)
    placed = sharding.put_replicated({"params": found.params, "extra": found.extra}, mesh)
    state = TrainState(np.int32(0), placed["params"], placed["extra"], {}, ())
    data = found.recipe.data
    facts = {"weights": path, "size": list(data.size), "flip": found.recipe.eval.flip}
    facts |= {"statistics": found.recipe.augment.statistics}
    return Opened(path, found.recipe, found.embedder, mesh, state, facts, found.notes)


def _mesh(recipe: config.Recipe) -> Mesh:
    mesh = sharding.make_mesh()
    sharding.check_batch_size(recipe.eval.batch_size, mesh, "eval.batch_size")
    return mesh


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
