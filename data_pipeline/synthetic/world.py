"""The world: which picture a camera takes of a person."""

import dataclasses
import math

import numpy as np
import simplejpeg
from PIL import Image, ImageDraw

from data_pipeline.errors import InputError
from data_pipeline.synthetic import scenes, streams
from data_pipeline.synthetic.cameras import Camera, develop, draw_camera
from data_pipeline.synthetic.figure import Pose, draw_figure
from data_pipeline.synthetic.pen import Pen
from data_pipeline.synthetic.people import draw_person

# Pictures are drawn larger and then averaged down, which smooths their edges.
SUPERSAMPLE = 2
OCCLUDED, ACCOMPANIED = 0.15, 0.12
# How far a person gets between two frames of a pass: pixels of the scene, radians of the cycle.
WALK, GAIT = 3, 0.7
# Passers-by have numbers that no layout gives to anybody.
COMPANIONS = 1 << 30


@dataclasses.dataclass(frozen=True)
class Capture:
    """What one pass of a person before a camera fixes for all of its frames.

    Attributes:
        turn, phase, stride: see `draw.Pose`.
        brightness, warmth: light of the moment; around 1 and around 0.
        window: left, top and height of the background within the camera's scene, pixels.
        companion: number of the person beside; -1 = nobody.
        obstacle: its kind; -1 = none.
        obstacle_height: share of the picture's height.
        quality: JPEG quality.
    """

    turn: float
    phase: float
    stride: float
    brightness: float
    warmth: float
    window: tuple[int, int, int]
    companion: int
    obstacle: int
    obstacle_height: float
    quality: int


@dataclasses.dataclass(frozen=True)
class World:
    """Everyone, everywhere: a picture is a pure function of the world and of its address.

    Attributes:
        seed: worlds of different seeds share nobody.
        height, width: size of the pictures, pixels.
    """

    seed: int
    height: int = 128
    width: int = 64

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed {self.seed} is negative; give 0 or more")
        if self.height < 16 or not 8 <= self.width <= self.height:
            raise InputError(
                f"pictures of height {self.height} and width {self.width}; give a height of at "
                "least 16 and a width between 8 and the height"
            )

    def render(self, person: int, camera: int, instance: int, frame: int = 0) -> np.ndarray:
        """The picture of a person.

        Args:
            person: number of the person.
            camera: number of the camera, from 0.
            instance: which of the times that this camera saw this person.
            frame: which frame of that pass; consecutive frames differ little.

        Returns:
            [h, w, 3] uint8, RGB.
        """
        sensor = draw_camera(self.seed, camera)
        capture = self._capture(sensor, person, camera, instance)
        rng = streams.stream(self.seed, streams.FRAME, person, camera, instance, frame)
        picture = self._background(camera, capture, frame)
        if capture.companion >= 0:
            self._draw_companion(picture, sensor, capture)
        self._draw_subject(picture, sensor, person, capture, frame, rng)
        if capture.obstacle >= 0:
            scenes.draw_obstacle(picture, capture.obstacle, capture.obstacle_height, rng)
        warmth = capture.warmth
        light = np.array([1 + warmth, 1.0, 1 - warmth]) * capture.brightness
        light *= rng.uniform(0.96, 1.04)
        return develop(picture, sensor, (self.width, self.height), light, rng)

    def render_jpeg(self, person: int, camera: int, instance: int, frame: int = 0) -> bytes:
        """`render` as the bytes of a JPEG file, at the quality of that pass."""
        sensor = draw_camera(self.seed, camera)
        quality = self._capture(sensor, person, camera, instance).quality
        return encode_jpeg(self.render(person, camera, instance, frame), quality)

    def render_empty(self, camera: int, instance: int) -> np.ndarray:
        """A false detection: the background without anybody, [h, w, 3] uint8."""
        rng = streams.stream(self.seed, streams.EMPTY, camera, instance)
        sensor = draw_camera(self.seed, camera)
        picture = self._background(camera, _draw_capture(sensor, rng), frame=0)
        return develop(picture, sensor, (self.width, self.height), np.ones(3), rng)

    def _capture(self, sensor: Camera, person: int, camera: int, instance: int) -> Capture:
        rng = streams.stream(self.seed, streams.CAPTURE, person, camera, instance)
        return _draw_capture(sensor, rng)

    def _background(self, camera: int, capture: Capture, frame: int) -> Image.Image:
        left, top, height = capture.window
        # The person walks along the scene and turns round at its end.
        span = scenes.SCENE_WIDTH - scenes.SCENE_HEIGHT
        left = span - abs(span - (left + WALK * frame) % (2 * span))
        box = (left, top, left + height * self.width / self.height, top + height)
        size = (self.width * SUPERSAMPLE, self.height * SUPERSAMPLE)
        scene = scenes.draw_scene(self.seed, camera)
        return scene.resize(size, Image.Resampling.BILINEAR, box=box)

    def _draw_subject(
        self,
        picture: Image.Image,
        sensor: Camera,
        index: int,
        capture: Capture,
        frame: int,
        rng: np.random.Generator,
    ) -> None:
        person = draw_person(self.seed, index)
        body = picture.height * person.stature * rng.uniform(0.94, 1.06)
        left = picture.width / 2 + body * rng.uniform(-0.035, 0.035)
        top = (picture.height - body) / 2 + body * rng.uniform(-0.03, 0.03)
        pose = Pose(
            phase=capture.phase + GAIT * frame,
            stride=capture.stride,
            turn=capture.turn + rng.uniform(-0.1, 0.1),
            lean=rng.uniform(-0.012, 0.012),
        )
        pen = Pen(picture, ImageDraw.Draw(picture), body, left, top, sensor.light)
        draw_figure(pen, person, pose)

    def _draw_companion(self, picture: Image.Image, sensor: Camera, capture: Capture) -> None:
        """A person at the edge, a little farther away, who walks the same way."""
        person = draw_person(self.seed, COMPANIONS + capture.companion)
        left = picture.width * (capture.companion % 2)
        body, top = 0.86 * picture.height, 0.06 * picture.height
        pen = Pen(picture, ImageDraw.Draw(picture), body, left, top, sensor.light)
        draw_figure(pen, person, Pose(capture.phase + 1.0, capture.stride, capture.turn, 0.0))


def _draw_capture(sensor: Camera, rng: np.random.Generator) -> Capture:
    turns = (0.0, math.pi, math.pi / 2, -math.pi / 2)
    cumulated = np.cumsum(sensor.directions)
    direction = int(np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right"))
    height = int(rng.integers(270, scenes.SCENE_HEIGHT + 1))
    left = int(rng.integers(scenes.SCENE_HEIGHT // 4))
    top = int(rng.integers(scenes.SCENE_HEIGHT - height + 1))
    companion, obstacle = int(rng.integers(COMPANIONS)), int(rng.integers(scenes.NUM_OBSTACLES))
    return Capture(
        turn=turns[direction] + float(rng.uniform(-0.5, 0.5)),
        phase=float(rng.uniform(0.0, 2 * math.pi)),
        stride=float(rng.uniform(0.35, 1.0)),
        brightness=float(rng.uniform(0.8, 1.2)),
        warmth=float(rng.uniform(-0.06, 0.06)),
        window=(left, top, height),
        companion=companion if rng.random() < ACCOMPANIED else -1,
        obstacle=obstacle if rng.random() < OCCLUDED else -1,
        obstacle_height=float(rng.uniform(0.12, 0.3)),
        quality=int(rng.integers(60, 96)),
    )


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """A JPEG file of a [h, w, 3] uint8 RGB picture."""
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=quality, colorsubsampling="420", fastdct=False
    )
