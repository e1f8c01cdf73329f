"""A small index with pictures on disk, and a network of a line, for the tests of the page."""

import datetime
import io
import pathlib

import numpy as np
from PIL import Image

from luperson_jax.serving.gallery_index import Index
from luperson_jax.serving.index_columns import IndexColumns

PEOPLE, TRACKS, FRAMES = 3, 2, 4
"""Each person is seen by two cameras, in a tracklet each."""
COLORS = [(200, 30, 30), (30, 160, 60), (40, 60, 210)]
ODD = "<b>&'\u202e"
"""In the name of a file: markup, and a mark that turns the direction of writing."""


class Colors:
    """A network whose feature is the color of a picture."""

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        return feature(pixels.reshape(-1, 3).mean(axis=0))


def feature(color) -> np.ndarray:
    """[3] float32 of unit length."""
    centered = np.asarray(color, np.float64) - 100
    return (centered / np.linalg.norm(centered)).astype(np.float32)


def make(folder: pathlib.Path) -> Index:
    """Pictures of three people, two cameras, four frames each: 24 rows, an hour apart."""
    features, keys, cameras, times = [], [], [], []
    for person in range(PEOPLE):
        for camera in range(1, TRACKS + 1):
            home = folder / f"{person}" / f"c{camera}"
            home.mkdir(parents=True)
            for frame in range(FRAMES):
                color = np.array(COLORS[person]) + 8 * camera + 2 * frame
                name = f"{ODD}.png" if not len(keys) else f"{person}_c{camera}_{frame}.png"
                Image.new("RGB", (16, 32), tuple(color.tolist())).save(home / name)
                features.append(feature(color))
                keys.append(str(home / name))
                cameras.append(camera)
                times.append(datetime.datetime(2026, 11, 29) + datetime.timedelta(hours=len(times)))
    columns = IndexColumns(
        np.arange(len(keys)),
        np.array(keys, np.str_),
        np.array(cameras),
        np.array(times, "datetime64[us]"),
    )
    rows = np.arange(len(keys))
    return Index((np.array(features),), rows, columns, None, "drawn")


def png(color, size=(16, 32)) -> bytes:
    """The file of a picture of one color."""
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, "PNG")
    return stream.getvalue()
