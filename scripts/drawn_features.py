"""Features without a network: colors of drawn or read pictures, and directions learned from them.

What measures thresholds and estimates needs many worlds and features of any quality in seconds.
Colors are histograms of hue, saturation and value in eight horizontal stripes and a picture of
16x8; directions are those in which people differ most, by their pictures' variance (Fisher's linear
discriminant), learned from more or fewer people.
"""

import os
from collections.abc import Iterable

import numpy as np
from PIL import Image

from data_pipeline.synthetic.world import World
from luperson_jax.structs import EmbeddingSet

HEIGHT, WIDTH = 64, 32
STRIPES, BINS = 8, (16, 8, 8)
SMALL = (8, 16)


def colors(picture: np.ndarray) -> np.ndarray:
    """[640] float32 of a picture [H, W, 3] uint8."""
    image = Image.fromarray(picture).resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    hsv = np.asarray(image.convert("HSV"), np.int64)
    parts = []
    for stripe in np.split(hsv, STRIPES):
        for channel, bins in enumerate(BINS):
            counts = np.bincount(stripe[..., channel].ravel() * bins // 256, minlength=bins)
            parts.append(np.sqrt(counts / counts.sum()))
    small = np.asarray(image.resize(SMALL, Image.Resampling.BOX), np.float32).ravel() / 255
    return np.concatenate([*parts, small - small.mean()]).astype(np.float32)


def draw(
    seed: int,
    passes: Iterable[tuple[int, int, int]],
    frames: int = 1,
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> EmbeddingSet:
    """Colors of people in a drawn world.

    Args:
        seed: of the world.
        passes: (person, camera, which time) of each tracklet.
        frames: pictures of each.
        size: their height and width.

    Returns:
        A row for each picture, frame after frame; the key is the tracklet's number and the frame's.
    """
    world, rows = World(seed, *size), []
    keys = []
    for number, (person, camera, time) in enumerate(passes):
        for frame in range(frames):
            rows.append((colors(world.render(person, camera, time, frame)), person, camera))
            keys.append(f"{number}/{frame}")
    features, pid, camera = (np.array(column) for column in zip(*rows, strict=True))
    return EmbeddingSet(features, pid, camera, tuple(keys))


def read(paths: Iterable[str | os.PathLike]) -> np.ndarray:
    """[N, 640] colors of files."""
    found = []
    for path in paths:
        with Image.open(path) as image:
            found.append(colors(np.asarray(image.convert("RGB"))))
    return np.array(found)


def learn(known: EmbeddingSet, dimensions: int = 64, ridge: float = 0.1) -> np.ndarray:
    """[640 + 1, D] directions learned from people, the last row to be added: features are
    `apply(directions, colors)`."""
    mean = known.features.mean(axis=0)
    people, number = np.unique(known.pid, return_inverse=True)
    apart = known.features - mean
    centers = np.zeros((len(people), apart.shape[1]))
    np.add.at(centers, number, apart)
    centers /= np.bincount(number)[:, None]
    within = np.cov((apart - centers[number]).T, bias=True)
    within += ridge * np.trace(within) / len(within) * np.eye(len(within))
    power, axes = np.linalg.eigh(within)
    whitened = axes / np.sqrt(power)
    _, _, directions = np.linalg.svd(centers @ whitened, full_matrices=False)
    found = whitened @ directions[:dimensions].T
    return np.vstack([found, -mean @ found])


def apply(directions: np.ndarray, features: np.ndarray) -> np.ndarray:
    """[N, D] float32."""
    return (features @ directions[:-1] + directions[-1]).astype(np.float32)
