"""Drawing in body coordinates: x to the right of the body's axis, y down from the top of the head,
both in body heights."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from data_pipeline.synthetic import people
from data_pipeline.synthetic.people import Color, Garment

Point = tuple[float, float]

# Coordinates are rounded to this fraction of a pixel, so that the last bit of a sine, which differs
# between machines, never moves an edge.
GRID = 16
TEXTURE_SIZE = 48


@dataclasses.dataclass(frozen=True)
class Pen:
    """Where a body stands on a picture, and how it is lit.

    Attributes:
        image: the RGB picture that is drawn on.
        draw: Pillow's handle of `image`.
        height: body height in pixels.
        left, top: pixel of the body's origin.
        light: +1 where light comes from the right of the picture, -1 from the left.
    """

    image: Image.Image
    draw: ImageDraw.ImageDraw
    height: float
    left: float
    top: float
    light: int

    def place(self, point: Point) -> Point:
        """Body coordinates to pixels."""
        x, y = point
        return (
            round((self.left + x * self.height) * GRID) / GRID,
            round((self.top + y * self.height) * GRID) / GRID,
        )

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        self.draw.polygon([self.place(point) for point in points], fill=color)

    def ellipse(self, center: Point, radius_x: float, radius_y: float, color: Color) -> None:
        x, y = center
        first = self.place((x - radius_x, y - radius_y))
        last = self.place((x + radius_x, y + radius_y))
        self.draw.ellipse((*first, *last), fill=color)

    def line(self, points: Sequence[Point], width: float, color: Color) -> None:
        pixels = max(1, round(width * self.height))
        self.draw.line([self.place(p) for p in points], fill=color, width=pixels, joint="curve")

    def limb(self, points: Sequence[Point], width: float, color: Color) -> None:
        """A round-ended tube, dark on the side away from the light."""
        self._tube(points, width, shade(color, 72))
        offset = 0.14 * width * self.light
        self._tube([(x + offset, y) for x, y in points], 0.72 * width, color)

    def _tube(self, points: Sequence[Point], width: float, color: Color) -> None:
        self.line(points, width, color)
        for point in (points[0], points[-1]):
            self.ellipse(point, width / 2, width / 2, color)

    def cloth(self, points: Sequence[Point], garment: Garment, length: float = 1.0) -> None:
        """A polygon filled with cloth that stretches over its bounding box.

        Args:
            points: the outline.
            garment: the cloth.
            length: share of the cloth's full length that the outline covers.
        """
        outline = [self.place(point) for point in points]
        left, top = (int(min(p[axis] for p in outline)) for axis in (0, 1))
        width = int(max(p[0] for p in outline)) + 1 - left
        height = int(max(p[1] for p in outline)) + 1 - top
        texture = cloth_texture(garment, self.light)
        box = (0.0, 0.0, TEXTURE_SIZE, TEXTURE_SIZE * length)
        patch = texture.resize((width, height), Image.Resampling.NEAREST, box=box)
        mask = Image.new("L", (width, height))
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in outline], fill=255)
        self.image.paste(patch, (left, top), mask)


def shade(color: Color, percent: int) -> Color:
    """The color at `percent` of its brightness."""
    red, green, blue = (min(255, c * percent // 100) for c in color)
    return red, green, blue


@functools.lru_cache(maxsize=4096)
def cloth_texture(garment: Garment, light: int) -> Image.Image:
    """The cloth as a square picture, brighter towards the light, with a few folds."""
    across, down = np.meshgrid(np.arange(TEXTURE_SIZE), np.arange(TEXTURE_SIZE))
    period = TEXTURE_SIZE // garment.repeats
    row, column = down // (period // 2), across // (period // 2)
    second = {
        people.PLAIN: np.zeros_like(down, dtype=bool),
        people.STRIPES: row % 2 == 1,
        people.COLUMNS: column % 2 == 1,
        people.CHECKS: (row + column) % 2 == 1,
        people.TWO_TONE: down * 2 > TEXTURE_SIZE,
        people.DOTS: (row % 2 == 1) & (column % 2 == 1),
    }[garment.pattern]
    picture = np.where(second[..., None], garment.second, garment.color)
    toward = across if light > 0 else TEXTURE_SIZE - 1 - across
    brightness = 72 + 36 * toward // TEXTURE_SIZE
    brightness -= 5 * ((down + across // 3) % 19 < 3)
    shaded = np.minimum(picture * brightness[..., None] // 100, 255)
    return Image.fromarray(shaded.astype(np.uint8))
