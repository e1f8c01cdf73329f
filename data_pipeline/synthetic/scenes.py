"""What stands behind and before the people."""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data_pipeline.synthetic import streams
from data_pipeline.synthetic.people import Color

SCENE_WIDTH, SCENE_HEIGHT = 960, 320
NUM_OBSTACLES = 3


def street_color(rng: np.random.Generator) -> Color:
    """A color of walls and streets: any brightness, rarely bright in color."""
    base, chroma = int(rng.integers(40, 210)), int(rng.integers(10, 70))
    red, green, blue = (int(c) for c in rng.integers(-chroma, chroma + 1, size=3))
    return _clip(base + red), _clip(base + green), _clip(base + blue)


def _clip(value: int) -> int:
    return min(max(value, 0), 255)


@functools.lru_cache(maxsize=64)
def draw_scene(seed: int, index: int) -> Image.Image:
    """The wide view of camera `index`: walls, ground and street furniture.

    Returns:
        RGB, `SCENE_WIDTH` x `SCENE_HEIGHT`; shared between calls, so never draw on it.
    """
    rng = streams.stream(seed, streams.SCENE, index)
    image = Image.new("RGB", (SCENE_WIDTH, SCENE_HEIGHT), street_color(rng))
    draw = ImageDraw.Draw(image)
    horizon = int(rng.integers(SCENE_HEIGHT * 3 // 10, SCENE_HEIGHT * 7 // 10))
    _draw_walls(draw, rng, horizon)
    _draw_ground(draw, rng, horizon)
    for _ in range(int(rng.integers(10, 20))):
        _draw_object(draw, rng, horizon)
    # Out of focus: cameras of the street are set on the people.
    image = image.filter(ImageFilter.GaussianBlur(float(rng.integers(6, 13))))
    grain = rng.integers(-10, 11, size=(SCENE_HEIGHT, SCENE_WIDTH, 1), dtype=np.int16)
    pixels = np.clip(np.asarray(image).astype(np.int16) + grain, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def _draw_walls(draw: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """Facades side by side, each with rows of windows."""
    x = 0
    while x < SCENE_WIDTH:
        width, step = int(rng.integers(80, 260)), int(rng.integers(18, 64))
        draw.rectangle((x, 0, x + width, horizon), fill=street_color(rng))
        window = street_color(rng)
        for left in range(x + step // 2, x + width - step // 2, step):
            for upper in range(step // 2, horizon - step, step * 4 // 3):
                draw.rectangle((left, upper, left + step // 2, upper + step * 2 // 3), fill=window)
        x += width


def _draw_ground(draw: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """Paving in perspective: joints spread towards the viewer, rows grow."""
    ground = street_color(rng)
    draw.rectangle((0, horizon, SCENE_WIDTH, SCENE_HEIGHT), fill=ground)
    joint = (ground[0] * 3 // 4, ground[1] * 3 // 4, ground[2] * 3 // 4)
    step, middle = int(rng.integers(20, 60)), SCENE_WIDTH // 2
    for x in range(0, SCENE_WIDTH, step):
        draw.line((middle + 3 * (x - middle), SCENE_HEIGHT, x, horizon), fill=joint, width=2)
    y, gap = horizon, max(6, step // 5)
    while y < SCENE_HEIGHT:
        draw.line((0, y, SCENE_WIDTH, y), fill=joint, width=2)
        y, gap = y + gap, gap * 3 // 2


def _draw_object(draw: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """A pole, a bush, a poster, a parked car or a bin."""
    x, color = int(rng.integers(-20, SCENE_WIDTH)), street_color(rng)
    foot = horizon + int(rng.integers(0, 60))
    kind = int(rng.integers(5))
    if kind == 0:
        draw.rectangle((x, 0, x + int(rng.integers(5, 14)), foot), fill=color)
    elif kind == 1:
        _draw_bush(draw, rng, (x, foot), 22)
    elif kind == 2:
        draw.rectangle((x, foot - 150, x + 60, foot - 70), fill=color)
        draw.rectangle((x + 10, foot - 130, x + 50, foot - 110), fill=street_color(rng))
    elif kind == 3:
        draw.rounded_rectangle((x, foot - 50, x + 170, foot + 10), radius=16, fill=color)
        draw.rounded_rectangle((x + 35, foot - 85, x + 135, foot - 30), radius=14, fill=color)
        draw.rectangle((x + 48, foot - 74, x + 122, foot - 48), fill=(52, 62, 70))
        for wheel in (x + 20, x + 115):
            draw.ellipse((wheel, foot - 10, wheel + 34, foot + 24), fill=(24, 24, 24))
    else:
        draw.rectangle((x, foot - 60, x + 34, foot + 20), fill=color)


def _draw_bush(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, foot: tuple[int, int], size: int
) -> None:
    """Leaves around a point; `size` is the radius of one clump, pixels."""
    x, y = foot
    green = int(rng.integers(60, 130))
    for step in range(10):
        dx, dy = (int(v) for v in rng.integers(-size * 3 // 2, size * 3 // 2 + 1, size=2))
        leaf = (green * 2 // 3, green + 4 * step, green // 2)
        center_y = y + dy - size
        corner = (x + dx - size, center_y - size, x + dx + size, center_y + size)
        draw.ellipse(corner, fill=leaf)


def draw_obstacle(picture: Image.Image, kind: int, height: float, rng: np.random.Generator) -> None:
    """Hide a part of the person: a bush, a bin or a post, drawn onto the picture.

    Args:
        picture: RGB, changed.
        kind: 0 to `NUM_OBSTACLES` - 1.
        height: how far up it reaches, as a share of the picture's height.
        rng: draws its place and color.
    """
    draw = ImageDraw.Draw(picture)
    width, bottom = picture.size
    x, top = round(width * rng.uniform(0.1, 0.9)), round(bottom * (1.0 - height))
    if kind == 0:
        _draw_bush(draw, rng, (x, bottom), (bottom - top) // 2)
    elif kind == 1:
        half, color = width // 4, street_color(rng)
        draw.rectangle((x - half, top, x + half, bottom), fill=color)
        lid = (color[0] * 2 // 3, color[1] * 2 // 3, color[2] * 2 // 3)
        draw.rectangle((x - half - 2, top, x + half + 2, top + bottom // 40), fill=lid)
    else:
        half = max(1, width // 24)
        draw.rectangle((x - half, 0, x + half, bottom), fill=street_color(rng))
