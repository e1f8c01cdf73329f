"""The canvas that crops are cut from, chosen by the sizes of the training pictures.

The host stretches every picture to one canvas, and a random crop reads a part of it: of a picture
larger than the canvas it shows less detail than a crop of the original would. A larger canvas costs
memory and time in proportion to its pixels.
"""

import dataclasses
import pathlib

import numpy as np

from data_pipeline.read import listing, picture_sizes
from data_pipeline.table.records import Table
from luperson_jax import sharding
from luperson_jax.augment import recipes
from luperson_jax.config import Recipe
from luperson_jax.workdir import recipe_file, saved_steps

AUTO = (0, 0)
"""In place of a canvas: by the sizes of the pictures."""

SAMPLE = 512
"""Pictures that are looked at."""

PERCENTILE = 90
"""Share of the pictures, in percent, that shall not be larger than the canvas."""

STEP = 32
"""A canvas is so many pixels high and wide, or a multiple."""

LARGEST = (768, 384)
"""The largest canvas that is chosen without being told: four times the pixels of 384x192."""


def resolve(recipe: Recipe, table: Table, workdir: pathlib.Path) -> tuple[Recipe, str]:
    """A recipe whose `data.canvas` is settled, and a line for the user, empty where all is well.

    A run that goes on keeps the canvas that its workdir names. Where nothing is cropped, the
    canvas that is chosen is `data.size`, and every size of the pictures is right.

    Args:
        recipe: with `data.canvas`, or `AUTO` in its place.
        table: what the run trains on.
        workdir: of the run.

    Raises:
        InputError: the processes of a job would choose differently.
    """
    given = recipe.data.canvas
    if given == AUTO and (former := _former(workdir)):
        return _with_canvas(recipe, former), ""
    if recipes.recipe(recipe.augment.recipe).crop is None:
        return _with_canvas(recipe, recipe.data.size if given == AUTO else given), ""
    needed = _needed(picture_sizes.sample(table.media, SAMPLE))
    fitting = _fitting(needed, recipe.data.size)
    most = f"{PERCENTILE} % of the training pictures are at most {_text(needed)} pixels"
    if given == AUTO:
        sharding.check_alike({"the canvas for its pictures": _text(fitting)})
        line = f"canvas {_text(fitting)} (data.canvas), as {most} high and wide"
        if any(np.array(needed) > LARGEST):
            line += f"; crops of those larger than {_text(LARGEST)} lose detail"
        return _with_canvas(recipe, fitting), line
    if not any(np.array(fitting) > given):
        return recipe, ""
    larger = (max(fitting[0], given[0]), max(fitting[1], given[1]))
    times = larger[0] * larger[1] / (given[0] * given[1])
    return recipe, (
        f"note: crops of pictures larger than data.canvas={given} lose detail, and only "
        f"{most} high and wide; data.canvas={larger} keeps it, at {times:.1f} times the memory of "
        "a batch"
    )


def _former(workdir: pathlib.Path) -> tuple[int, int] | None:
    """The canvas of a run that goes on; `check_workdir` sees to what its recipe lacks."""
    is_file = listing.is_file(workdir / recipe_file.RECIPE_FILE)
    if not is_file or not saved_steps.of(workdir):
        return None
    canvas = recipe_file.read(workdir).get("data", {}).get("canvas")
    return None if canvas is None else (canvas[0], canvas[1])


def _needed(sizes: np.ndarray) -> tuple[int, int]:
    """Height and width that most pictures do not exceed; 0 where none could be read."""
    if not len(sizes):
        return 0, 0
    height, width = np.percentile(sizes, PERCENTILE, axis=0, method="higher")
    return int(height), int(width)


def _fitting(needed: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The canvas for that need: no smaller than the views, no larger than `LARGEST` or they."""
    height, width = (
        max(min(-(-wanted // STEP) * STEP, largest), least)
        for wanted, largest, least in zip(needed, LARGEST, size, strict=True)
    )
    return height, width


def _with_canvas(recipe: Recipe, canvas: tuple[int, int]) -> Recipe:
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, canvas=canvas))


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
