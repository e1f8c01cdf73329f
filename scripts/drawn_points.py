"""People as points of a feature space: worlds without a picture, in milliseconds.

Drawn pictures seen by weak features are a narrow kind of world. Here features are a sum of what
belongs to a person, to a camera, to a person before a camera, to a passage and to a picture, each
with a spectrum of its own and along axes of its own or shared ones, so that what makes people alike
may hide where they differ or not. How strong each is, how many people look alike, who is seen where
and how often is drawn for each world.
"""

from typing import NamedTuple

import numpy as np

STREAM = 99
DIMENSIONS = (16, 32, 64, 128)
MOST = 900
"""Pictures of a world."""


class Points(NamedTuple):
    """The N pictures of a world.

    Attributes:
        features: [N, D] float32 of any length.
        pid, camera: [N].
        tracklet: [N] which passage of a person before a camera.
    """

    features: np.ndarray
    pid: np.ndarray
    camera: np.ndarray
    tracklet: np.ndarray


def world(seed: int) -> Points:
    """8 to 80 people before 2 to 5 cameras."""
    draw = np.random.default_rng([seed, STREAM])
    people, cameras = int(np.exp(draw.uniform(*np.log([8, 80])))), int(draw.integers(2, 6))
    space = _Space(draw, int(draw.choice(DIMENSIONS)))
    pid, camera, tracklet = _passages(draw, people, cameras)
    person = space.points(people, space.axes)
    if draw.random() < 0.5:  # some are dressed alike
        share, kinds = draw.uniform(0.2, 0.8), int(draw.integers(2, people))
        alike = space.points(kinds)[draw.integers(kinds, size=people)]
        person = np.sqrt(share) * alike + np.sqrt(1 - share) * person
    noise, walking = np.exp(draw.uniform(*np.log([0.15, 2.2]))), draw.uniform(0.1, 0.95)
    passages = int(tracklet.max()) + 1
    uneven = np.exp(draw.normal(0, draw.uniform(0, 0.6), passages))[:, None]
    passage = noise * np.sqrt(walking) * uneven * space.points(passages)
    picture = noise * np.sqrt(1 - walking) * space.points(len(pid))
    picture[draw.random(len(pid)) < draw.uniform(0, 0.15)] *= 2  # somebody is half hidden
    light = draw.uniform(0, 1.5) * space.points(cameras)
    features = person[pid] + light[camera] + passage[tracklet] + picture
    if draw.random() < 0.5:  # a person looks another before each camera
        side = draw.uniform(0, 0.7) * space.points(people * cameras)
        features += side[pid * cameras + camera]
    if draw.random() < 0.35:  # behind a ReLU
        features = np.maximum(features - draw.uniform(-1, 0.5) * features.std(), 0)
    return Points(features.astype(np.float32), pid, camera, tracklet)


class _Space:
    """Draws clouds of points with a falling spectrum."""

    def __init__(self, draw: np.random.Generator, dimension: int) -> None:
        self._draw, self._dimension = draw, dimension
        self.axes = self._new_axes()

    def points(self, num: int, axes: np.ndarray | None = None) -> np.ndarray:
        """[num, D], along the given axes; else along those of people or along others."""
        if axes is None:
            axes = self.axes if self._draw.random() < 0.5 else self._new_axes()
        spectrum = np.arange(1.0, self._dimension + 1) ** -self._draw.uniform(0, 1.2)
        spectrum /= np.sqrt(np.mean(spectrum**2))
        return (self._draw.standard_normal((num, self._dimension)) * spectrum) @ axes

    def _new_axes(self) -> np.ndarray:
        return np.linalg.qr(self._draw.standard_normal((self._dimension,) * 2))[0]


def _passages(
    draw: np.random.Generator, people: int, cameras: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Person, camera and passage of each picture: not everybody is seen everywhere, some come
    twice, and a passage has one picture or more."""
    present, again = draw.uniform(0.4, 1), draw.uniform(0, 0.3)
    mean = np.exp(draw.uniform(0, np.log(8)))
    rows, passage = [], 0
    for person in range(people):
        for camera in range(cameras):
            if draw.random() < present:
                for _ in range(1 + (draw.random() < again)):
                    rows += [(person, camera, passage)] * (1 + draw.poisson(mean - 1))
                    passage += 1
    pid, camera, tracklet = np.array(rows[:MOST]).T
    return pid, camera, tracklet
