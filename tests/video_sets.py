"""Small drawn video sets that the tests share."""

import os
import pathlib
import shutil

import numpy as np
import scipy.io

from data_pipeline.synthetic import layouts

SIZE = {"height": 16, "width": 8, "identities": 7, "train_identities": 3, "frames": 3, "seed": 5}
NUMBERS = {**SIZE, "cameras": 3, "distractors": 2, "junk": 2}
NUM_TRAIN = SIZE["train_identities"]
NUM_TEST = SIZE["identities"] - NUM_TRAIN


class Worlds:
    """One drawn world in each layout, made when it is asked for."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def __call__(self, layout: str) -> pathlib.Path:
        """The folder of a layout, not to be changed."""
        root = self.folder / layout
        if not root.exists():
            layouts.make(layout, root, **NUMBERS)
        return root

    def copy(self, layout: str, folder: pathlib.Path) -> pathlib.Path:
        """A copy of it, to be changed."""
        return pathlib.Path(shutil.copytree(self(layout), folder / layout))


def rows(table, root):
    """(path below the root, pid, camera) of each row, sorted."""
    paths = (os.path.relpath(path, root) for path in table.media)
    return sorted(zip(paths, table.pid.tolist(), table.camera.tolist(), strict=True))


def num_tracks(table):
    return len(np.unique(table.track))


def write_matrix(path, variable, matrix):
    scipy.io.savemat(path, {variable: matrix})


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
