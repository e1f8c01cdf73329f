"""Who a drawn person is: everything that stays the same from camera to camera."""

import dataclasses
import functools

import numpy as np

from data_pipeline.synthetic import streams

Color = tuple[int, int, int]

SKINS: tuple[Color, ...] = (
    (241, 206, 179),
    (228, 185, 148),
    (205, 154, 112),
    (164, 112, 76),
    (116, 77, 52),
    (80, 54, 42),
)
HAIRS: tuple[Color, ...] = (
    (26, 22, 22),
    (58, 38, 26),
    (104, 68, 38),
    (188, 150, 84),
    (140, 62, 34),
    (168, 166, 164),
)
# Few colors on purpose: people must share them, so that one color alone does not tell who it is.
TOPS: tuple[Color, ...] = (
    (34, 34, 38),
    (232, 232, 228),
    (126, 128, 132),
    (190, 42, 46),
    (36, 72, 156),
    (54, 128, 72),
    (226, 188, 60),
    (226, 130, 44),
    (128, 66, 140),
    (226, 140, 168),
    (88, 176, 196),
    (122, 88, 58),
)
BOTTOMS: tuple[Color, ...] = (
    (30, 30, 34),
    (40, 56, 104),
    (92, 120, 164),
    (118, 118, 120),
    (186, 164, 124),
    (88, 96, 62),
    (222, 220, 214),
    (120, 50, 52),
)
SHOES: tuple[Color, ...] = ((28, 26, 26), (228, 228, 226), (120, 78, 46), (190, 50, 50))

PLAIN, STRIPES, COLUMNS, CHECKS, TWO_TONE, DOTS = range(6)
SHORT, LONG, BUN, BALD = range(4)
NO_HAT, CAP, BEANIE, BRIM = range(4)
TROUSERS, SHORTS, SKIRT, LONG_SKIRT = range(4)
NO_BAG, BACKPACK, HANDBAG, SHOULDER_BAG = range(4)
NO_PRINT, DISC, BLOCK, BAR, TRIANGLE = range(5)


@dataclasses.dataclass(frozen=True)
class Garment:
    """Cloth: a pattern of two colors that repeats `repeats` times over its length."""

    pattern: int
    color: Color
    second: Color
    repeats: int


@dataclasses.dataclass(frozen=True)
class Print:
    """A logo: one shape of one color; `size` is a fraction of the shoulder width."""

    shape: int
    color: Color
    size: float


@dataclasses.dataclass(frozen=True)
class Person:
    """One identity. Lengths are fractions of the body height.

    Attributes:
        shoulders, hips: width of the body.
        depth: width seen from the side.
        waist: height of the waist, from the top of the head.
        limb: thickness of a thigh.
        stature: body height as a fraction of the picture.
        top, sleeves, hem: cloth of the upper body, length of the sleeves (1 = to the wrist), and
            how far the cloth falls below the waist.
        opening, inner: width of an open jacket in front (0 = closed) and what shows below it.
        bottom_kind, bottom, side_stripe: the lower garment, and whether a stripe runs down it.
        front, back: prints on chest and back; they differ.
        bag_side: +1 is the person's own left.
    """

    shoulders: float
    hips: float
    depth: float
    waist: float
    limb: float
    stature: float
    skin: Color
    hair: Color
    hair_style: int
    hat: int
    hat_color: Color
    top: Garment
    sleeves: float
    hem: float
    opening: float
    inner: Color
    bottom_kind: int
    bottom: Garment
    side_stripe: bool
    shoes: Color
    front: Print
    back: Print
    bag: int
    bag_color: Color
    bag_side: int


def _pick(rng: np.random.Generator, weights: tuple[float, ...]) -> int:
    return int(np.searchsorted(np.cumsum(weights), rng.random() * sum(weights), side="right"))


def _color(rng: np.random.Generator, palette: tuple[Color, ...], spread: int = 12) -> Color:
    base = palette[int(rng.integers(len(palette)))]
    shift = rng.integers(-spread, spread + 1, size=3)
    red, green, blue = (int(min(max(c + s, 0), 255)) for c, s in zip(base, shift, strict=True))
    return red, green, blue


def _distinct(rng: np.random.Generator, palette: tuple[Color, ...], other: Color) -> Color:
    """A color of the palette that stands out from `other`."""
    while True:
        color = _color(rng, palette)
        if sum(abs(a - b) for a, b in zip(color, other, strict=True)) > 120:
            return color


def _print(rng: np.random.Generator, cloth: Color) -> Print:
    shape = _pick(rng, (4.0, 2.0, 2.0, 2.0, 2.0))
    return Print(shape, _distinct(rng, TOPS, cloth), float(rng.uniform(0.3, 0.6)))


def _top(rng: np.random.Generator) -> Garment:
    color = _color(rng, TOPS)
    pattern = _pick(rng, (10.0, 2.5, 1.5, 2.0, 2.5, 1.5))
    return Garment(pattern, color, _distinct(rng, TOPS, color), int(rng.integers(3, 6)))


def _bottom(rng: np.random.Generator) -> Garment:
    color = _color(rng, BOTTOMS)
    pattern = _pick(rng, (12.0, 1.0, 0.0, 1.0, 0.0, 0.0))
    return Garment(pattern, color, _distinct(rng, BOTTOMS, color), int(rng.integers(3, 6)))


@functools.lru_cache(maxsize=4096)
def draw_person(seed: int, index: int) -> Person:
    """The person number `index` of the world `seed`; a pure function of both."""
    rng = streams.stream(seed, streams.PERSON, index)
    shoulders = float(rng.uniform(0.225, 0.32))
    top = _top(rng)
    opening = float(rng.uniform(0.3, 0.5)) if rng.random() < 0.25 else 0.0
    return Person(
        shoulders=shoulders,
        hips=shoulders * float(rng.uniform(0.72, 1.0)),
        depth=shoulders * float(rng.uniform(0.55, 0.75)),
        waist=float(rng.uniform(0.45, 0.52)),
        limb=float(rng.uniform(0.075, 0.108)),
        stature=float(rng.uniform(0.84, 0.94)),
        skin=_color(rng, SKINS, 6),
        hair=_color(rng, HAIRS, 6),
        hair_style=_pick(rng, (4.0, 4.0, 1.5, 0.7)),
        hat=_pick(rng, (7.0, 1.5, 1.0, 0.6)),
        hat_color=_color(rng, TOPS),
        top=top,
        sleeves=(0.0, 0.42, 1.0)[_pick(rng, (1.0, 4.0, 6.0))],
        hem=(0.02, 0.06, 0.2)[_pick(rng, (4.0, 4.0, 2.0))],
        opening=opening,
        inner=_distinct(rng, TOPS, top.color),
        bottom_kind=_pick(rng, (6.0, 2.0, 1.5, 1.0)),
        bottom=_bottom(rng),
        side_stripe=bool(rng.random() < 0.15),
        shoes=_color(rng, SHOES),
        front=_print(rng, top.color) if opening == 0.0 else Print(NO_PRINT, top.color, 0.0),
        back=_print(rng, top.color),
        bag=_pick(rng, (5.0, 3.0, 1.5, 2.0)),
        bag_color=_distinct(rng, TOPS, top.color),
        bag_side=1 if rng.random() < 0.5 else -1,
    )
