"""Cameras: from where they look, and how a sensor changes colors and sharpness."""

import dataclasses
import functools

import numpy as np
from PIL import Image, ImageFilter

from data_pipeline.synthetic import streams

# Steps of this size, modulo 1, leave no two of the first few members of a sequence close together.
GOLDEN_RATIO = 0.6180339887
# Pictures of this height have the blur that `Camera.blur` states.
NOMINAL_HEIGHT = 128


@dataclasses.dataclass(frozen=True)
class Camera:
    """One camera. The same person looks different through another one.

    Attributes:
        gains: multipliers of red, green and blue (color temperature times exposure).
        gamma: exponent of the tone curve; above 1 darkens the middle tones.
        lift: black level, 0 to 255.
        saturation: in 64ths; 64 leaves colors alone.
        resolution: rows that the sensor resolves, as a share of the picture's rows.
        blur: radius in pixels of a picture 128 rows high.
        noise: half width of the sensor noise, gray levels.
        light: +1 where light comes from the right, -1 from the left.
        directions: weights of seeing people from the front, from behind, walking right and left.
    """

    gains: tuple[float, float, float]
    gamma: float
    lift: int
    saturation: int
    resolution: float
    blur: float
    noise: int
    light: int
    directions: tuple[float, float, float, float]


@functools.lru_cache(maxsize=256)
def draw_camera(seed: int, index: int) -> Camera:
    """The camera number `index` of the world `seed`; a pure function of both.

    Temperature, exposure, gamma and saturation are spread evenly over the first few cameras, so
    that even two or three of them differ clearly.
    """
    rng = streams.stream(seed, streams.CAMERA, index)
    start = streams.stream(seed, streams.CAMERA).random(4)

    def spread(which: int, low: float, high: float) -> float:
        place = (start[which] + index * (which + 1) * GOLDEN_RATIO) % 1.0
        return low + (high - low) * place

    warmth, exposure = spread(0, -0.12, 0.12), spread(1, 0.8, 1.1)
    tint = float(rng.uniform(-0.05, 0.05))
    front, back, right, left = (float(w) for w in rng.uniform(0.1, 1.0, size=4) ** 2)
    return Camera(
        gains=(exposure * (1 + warmth), exposure * (1 + tint), exposure * (1 - warmth)),
        gamma=spread(2, 0.85, 1.25),
        lift=int(rng.integers(0, 32)),
        saturation=round(spread(3, 50, 72)),
        resolution=float(rng.uniform(0.5, 1.0)),
        blur=float(rng.uniform(0.0, 0.9)),
        noise=int(rng.integers(3, 14)),
        light=1 if rng.random() < 0.5 else -1,
        directions=(front, back, right, left),
    )


def develop(
    picture: Image.Image,
    camera: Camera,
    size: tuple[int, int],
    light: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """What the sensor makes of a scene.

    Pixels meet integers alone, and the tone curve is a table, so that every machine rounds alike.

    Args:
        picture: RGB scene, larger than `size`.
        camera: the sensor.
        size: width and height of the result, pixels.
        light: [3] gains of the moment, around 1.
        rng: draws the noise.

    Returns:
        [h, w, 3] uint8.
    """
    width, height = size
    coarse = (max(6, round(width * camera.resolution)), max(12, round(height * camera.resolution)))
    picture = picture.resize(coarse, Image.Resampling.BOX)
    if coarse != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    radius = camera.blur * height / NOMINAL_HEIGHT
    if radius > 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(radius))
    pixels = np.asarray(picture).astype(np.int16)
    gray = (pixels[..., :1] * 5 + pixels[..., 1:2] * 9 + pixels[..., 2:] * 2) >> 4
    noise = rng.integers(-camera.noise, camera.noise + 1, size=pixels.shape, dtype=np.int16)
    pixels = gray + ((pixels - gray) * np.int16(camera.saturation) >> 6) + noise
    pixels = np.clip(pixels, 0, 255)
    curve = _tone_curve(camera, light)
    return np.stack([curve[channel][pixels[..., channel]] for channel in range(3)], axis=-1)


def _tone_curve(camera: Camera, light: np.ndarray) -> np.ndarray:
    """[3, 256] uint8: brightness out for brightness in, one row a channel."""
    level = np.linspace(0.0, 1.0, 256) ** camera.gamma
    gains = np.asarray(camera.gains)[:, None] * light[:, None]
    curve = camera.lift + gains * level * (255 - camera.lift)
    return np.clip(np.rint(curve), 0, 255).astype(np.uint8)
