"""A person in a pose, seen from a direction, drawn from simple shapes."""

import dataclasses
import math

from data_pipeline.synthetic import people
from data_pipeline.synthetic.pen import Pen, Point, shade
from data_pipeline.synthetic.people import Color, Garment, Person, Print

SHOULDER_HEIGHT = 0.175
HIP_DROP = 0.035
ANKLE = 0.955


@dataclasses.dataclass(frozen=True)
class Pose:
    """What a person does in one picture.

    Attributes:
        phase: place in the walking cycle, radians.
        stride: swing of the limbs, 0 (standing) to 1 (striding).
        turn: direction of view, radians: 0 = towards us, pi = away, pi / 2 = walking right.
        lean: sideways shift of the head, body heights.
    """

    phase: float
    stride: float
    turn: float
    lean: float

    @property
    def front(self) -> float:
        """1 seen from the front, -1 from behind."""
        return math.cos(self.turn)

    @property
    def side(self) -> float:
        """1 walking to the right of the picture, -1 to the left."""
        return math.sin(self.turn)


def draw_figure(pen: Pen, person: Person, pose: Pose) -> None:
    """Draw a person; far parts first.

    Args:
        pen: picture and place. The body fills `pen.height` pixels from the top of the head down.
        person: who it is.
        pose: what they do.
    """
    far = 1 if pose.side >= 0 else -1
    pen.ellipse((0.0, 0.985), 0.17, 0.022, (44, 44, 46))
    _arm(pen, person, pose, far)
    for limb in (far, -far):
        _leg(pen, person, pose, limb)
    if person.bag == people.BACKPACK and pose.front >= 0:
        _backpack(pen, person, pose)
    _lower_body(pen, person, pose)
    _torso(pen, person, pose)
    _head(pen, person, pose)
    if person.bag == people.BACKPACK:
        if pose.front < 0:
            _backpack(pen, person, pose)
        else:
            _straps(pen, person, pose)
    elif person.bag == people.SHOULDER_BAG:
        _shoulder_bag(pen, person, pose)
    _arm(pen, person, pose, -far)


def _across(pose: Pose, wide: float, deep: float) -> float:
    """Visible width of a body part that is `wide` from the front and `deep` from the side."""
    return math.hypot(wide * pose.front, deep * pose.side)


def _torso_outline(person: Person, pose: Pose) -> list[Point]:
    shoulder = _across(pose, person.shoulders, person.depth) / 2
    hip = _across(pose, person.hips, person.depth) / 2
    flare = hip * (1.0 + person.hem)
    lean, top, bottom = pose.lean, SHOULDER_HEIGHT - 0.015, person.waist + person.hem
    return [
        (lean - 0.42 * shoulder, top - 0.012),
        (lean + 0.42 * shoulder, top - 0.012),
        (lean + shoulder, top + 0.03),
        (lean / 2 + 0.96 * hip, person.waist - 0.03),
        (flare, bottom),
        (-flare, bottom),
        (lean / 2 - 0.96 * hip, person.waist - 0.03),
        (lean - shoulder, top + 0.03),
    ]


def _torso(pen: Pen, person: Person, pose: Pose) -> None:
    pen.cloth(_torso_outline(person, pose), person.top)
    shoulder = _across(pose, person.shoulders, person.depth) / 2
    drift = pose.side * person.depth * 0.45
    if person.opening > 0.0 and pose.front > -0.3:
        half = person.opening * shoulder * max(0.25, pose.front)
        bottom = person.waist + person.hem
        upper, lower = pose.lean + drift, drift
        inside = [(upper - half * 0.7, SHOULDER_HEIGHT - 0.02)]
        inside += [(upper + half * 0.7, SHOULDER_HEIGHT - 0.02)]
        inside += [(lower + half, bottom), (lower - half, bottom)]
        pen.polygon(inside, person.inner)
    chest = 0.29 if pose.front > 0 else 0.27
    if pose.front > 0.25:
        center = (pose.lean + drift, chest)
        _print(pen, person.front, center, person.shoulders, pose.front)
    elif pose.front < -0.25:
        center = (pose.lean - drift, chest)
        _print(pen, person.back, center, person.shoulders, -pose.front)


def _print(pen: Pen, logo: Print, center: Point, shoulders: float, facing: float) -> None:
    x, y = center
    half = logo.size * shoulders / 2
    wide = half * facing
    if logo.shape == people.DISC:
        pen.ellipse(center, wide, half, logo.color)
    elif logo.shape == people.BLOCK:
        corners = [(x - wide, y - half), (x + wide, y - half), (x + wide, y + half)]
        pen.polygon([*corners, (x - wide, y + half)], logo.color)
    elif logo.shape == people.BAR:
        corners = [(x - 1.6 * wide, y - half / 2), (x + 1.6 * wide, y - half / 2)]
        corners += [(x + 1.6 * wide, y + half / 2), (x - 1.6 * wide, y + half / 2)]
        pen.polygon(corners, logo.color)
    elif logo.shape == people.TRIANGLE:
        pen.polygon([(x, y - half), (x + wide, y + half), (x - wide, y + half)], logo.color)


def _joints(
    pose: Pose, limb: int, start: Point, lengths: tuple[float, float], bend: float
) -> tuple[Point, Point, Point]:
    """Hip, knee and ankle, or shoulder, elbow and wrist. `bend` is positive where the second joint
    folds backwards (knee), negative where it folds forwards (elbow)."""
    phase = pose.phase + (0.0 if limb > 0 else math.pi)
    swing = 0.5 * pose.stride * math.sin(phase) * (1.0 if bend > 0 else -1.0)
    fold = bend * (0.25 + 0.75 * pose.stride * max(0.0, math.cos(phase)))
    (x, y), (upper, lower) = start, lengths
    middle = (x + upper * math.sin(swing) * pose.side, y + upper * math.cos(swing))
    lower_angle = swing - fold
    end_x = middle[0] + lower * math.sin(lower_angle) * pose.side
    return start, middle, (end_x, middle[1] + lower * math.cos(lower_angle))


def _leg(pen: Pen, person: Person, pose: Pose, limb: int) -> None:
    hip_y = person.waist + HIP_DROP
    hip_x = limb * pose.front * (person.hips / 2 - person.limb / 2)
    half = (ANKLE - hip_y) / 2
    hip, knee, ankle = _joints(pose, limb, (hip_x, hip_y), (half, half), bend=0.8)
    toe = ankle[0] + 0.05 * pose.side, ankle[1] + 0.022
    pen.limb([(ankle[0] - 0.012 * pose.side, toe[1]), toe], 0.048, person.shoes)
    thick = person.limb
    covered = person.bottom_kind == people.TROUSERS
    color = person.bottom.color if covered else person.skin
    pen.limb([knee, ankle], thick * (0.72 if covered else 0.58), color)
    if person.bottom_kind in (people.TROUSERS, people.SHORTS):
        _thigh(pen, person, hip, knee)
        if covered and person.side_stripe:
            pen.line([hip, knee, ankle], thick * 0.28, person.bottom.second)
    else:
        pen.limb([hip, knee], thick * 0.8, person.skin)


def _thigh(pen: Pen, person: Person, hip: Point, knee: Point) -> None:
    pen.limb([hip, knee], person.limb, person.bottom.color)
    if person.bottom.pattern != people.PLAIN:
        half = person.limb / 2
        (x0, y0), (x1, y1) = hip, knee
        corners = [(x0 - half, y0), (x0 + half, y0), (x1 + half, y1), (x1 - half, y1)]
        pen.cloth(corners, person.bottom)


def _lower_body(pen: Pen, person: Person, pose: Pose) -> None:
    """The seat of trousers, or a skirt."""
    hip = _across(pose, person.hips, person.depth) / 2
    skirt = person.bottom_kind in (people.SKIRT, people.LONG_SKIRT)
    length = {people.SKIRT: 0.2, people.LONG_SKIRT: 0.36}.get(person.bottom_kind, 0.08)
    wide = hip * ((1.05 + length) if skirt else 1.0)
    sway = 0.02 * math.sin(pose.phase) * pose.stride if skirt else 0.0
    top, bottom = person.waist - 0.03, person.waist + length
    corners = [(-hip * 0.95, top), (hip * 0.95, top), (wide + sway, bottom), (-wide + sway, bottom)]
    pen.cloth(corners, person.bottom, 1.0 if skirt else 0.5)


def _arm(pen: Pen, person: Person, pose: Pose, limb: int) -> None:
    thick = person.limb * 0.78
    reach = limb * pose.front * (person.shoulders / 2 - thick * 0.15)
    start = (pose.lean + reach, SHOULDER_HEIGHT + 0.025)
    shoulder, elbow, wrist = _joints(pose, limb, start, (0.155, 0.145), bend=-0.5)
    spread = 0.022 * limb * pose.front
    elbow, wrist = (elbow[0] + spread, elbow[1]), (wrist[0] + 1.3 * spread, wrist[1])
    pen.ellipse(wrist, 0.024, 0.028, shade(person.skin, 94))
    pen.limb([elbow, wrist], thick * 0.72, person.skin)
    if person.sleeves > 0.0:
        _sleeve(pen, person, [shoulder, elbow, wrist], thick)
    else:
        pen.limb([shoulder, elbow], thick * 0.85, person.skin)
    if person.bag == people.HANDBAG and limb == person.bag_side:
        _handbag(pen, person.bag_color, wrist)


def _sleeve(pen: Pen, person: Person, arm: list[Point], thick: float) -> None:
    shoulder, elbow, wrist = arm
    cloth = _sleeve_color(person.top)
    if person.sleeves >= 1.0:
        pen.limb([elbow, wrist], thick * 0.85, shade(cloth, 92))
        pen.limb([shoulder, elbow], thick, shade(cloth, 92))
    else:
        along = 0.8
        end = tuple(a + along * (b - a) for a, b in zip(shoulder, elbow, strict=True))
        pen.limb([shoulder, elbow], thick * 0.8, person.skin)
        pen.limb([shoulder, (end[0], end[1])], thick, shade(cloth, 92))


def _sleeve_color(top: Garment) -> Color:
    """Sleeves carry the main color, save those of striped cloth, which carry the mean."""
    if top.pattern in (people.STRIPES, people.CHECKS):
        red, green, blue = ((a + b) // 2 for a, b in zip(top.color, top.second, strict=True))
        return red, green, blue
    return top.color


def _head(pen: Pen, person: Person, pose: Pose) -> None:
    x, side, front = pose.lean + 0.012 * pose.side, pose.side, pose.front
    pen.limb([(pose.lean, 0.12), (pose.lean, 0.165)], 0.06, shade(person.skin, 88))
    wide = _across(pose, 0.054, 0.062)
    if person.hair_style == people.LONG and front > -0.2:
        pen.limb([(x - 0.02 * side, 0.075), (x - 0.035 * side, 0.165)], 2.3 * wide, person.hair)
    hair = person.hair if person.hair_style != people.BALD else person.skin
    pen.ellipse((x - 0.008 * side, 0.068), wide * 1.08, 0.072, hair)
    if front > -0.75:
        turned = max(0.0, min(1.0, (front + 0.75) / 1.2))
        face = wide * (0.35 + 0.57 * turned)
        pen.ellipse((x + side * (wide - face * 0.9), 0.084), face, 0.058, person.skin)
    if front > 0.2:
        for eye in (-0.02, 0.02):
            pen.ellipse((x + 0.025 * side + eye * front, 0.078), 0.007, 0.006, (40, 32, 30))
    if person.hair_style == people.BUN:
        pen.ellipse((x - 0.05 * side, 0.02 if front > 0 else 0.045), 0.032, 0.03, person.hair)
    elif person.hair_style == people.LONG and front <= -0.2:
        pen.limb([(x - 0.02 * side, 0.07), (x - 0.03 * side, 0.19)], 2.1 * wide, person.hair)
    _hat(pen, person, pose, x, wide)


def _hat(pen: Pen, person: Person, pose: Pose, x: float, wide: float) -> None:
    if person.hat == people.NO_HAT:
        return
    wide *= 1.15
    crown = [(x - wide, 0.06), (x - wide * 0.9, 0.012), (x - wide * 0.5, -0.01)]
    crown += [(x + wide * 0.5, -0.01), (x + wide * 0.9, 0.012), (x + wide, 0.06)]
    pen.polygon(crown, person.hat_color)
    dark = shade(person.hat_color, 70)
    if person.hat == people.CAP:
        reach = x + 0.055 * pose.side
        if pose.front > -0.3:
            pen.line([(reach - wide * 0.8, 0.058), (reach + wide * 0.8, 0.058)], 0.018, dark)
    elif person.hat == people.BEANIE:
        pen.line([(x - wide, 0.052), (x + wide, 0.052)], 0.024, dark)
    elif person.hat == people.BRIM:
        pen.ellipse((x, 0.056), wide * 1.8, 0.017, dark)


def _backpack(pen: Pen, person: Person, pose: Pose) -> None:
    wide = _across(pose, person.shoulders * 0.72, 0.13) / 2
    x = pose.lean - pose.side * (person.depth / 2 + 0.045)
    top, bottom = 0.175, 0.41
    corners = [(x - wide * 0.7, top), (x + wide * 0.7, top), (x + wide, top + 0.04)]
    corners += [(x + wide, bottom - 0.02), (x + wide * 0.8, bottom), (x - wide * 0.8, bottom)]
    corners += [(x - wide, bottom - 0.02), (x - wide, top + 0.04)]
    pen.cloth(corners, Garment(people.PLAIN, person.bag_color, person.bag_color, 3))
    if pose.front < 0:
        pocket = shade(person.bag_color, 62)
        pen.line([(x - wide * 0.6, 0.32), (x + wide * 0.6, 0.32)], 0.014, pocket)


def _straps(pen: Pen, person: Person, pose: Pose) -> None:
    reach = person.shoulders * 0.27 * pose.front
    drift = pose.lean + pose.side * person.depth * 0.3
    for x in (drift - reach, drift + reach):
        pen.line([(x, SHOULDER_HEIGHT - 0.02), (x * 1.05, 0.36)], 0.026, person.bag_color)


def _shoulder_bag(pen: Pen, person: Person, pose: Pose) -> None:
    """A strap across the body, and the bag on the hip where that side is in view."""
    side = person.bag_side * (1.0 if pose.front >= 0 else -1.0)
    shoulder = _across(pose, person.shoulders, person.depth) / 2
    hip_x = person.bag_side * pose.front * person.hips / 2
    start = (pose.lean - 0.6 * side * shoulder, SHOULDER_HEIGHT - 0.02)
    end = (hip_x, person.waist - 0.01)
    pen.line([start, end], 0.022, shade(person.bag_color, 80))
    if pose.side * person.bag_side < 0.5:
        x, y = end
        corners = [(x - 0.06, y - 0.02), (x + 0.06, y - 0.02), (x + 0.065, y + 0.085)]
        pen.polygon([*corners, (x - 0.065, y + 0.085)], person.bag_color)
        flap = shade(person.bag_color, 70)
        pen.line([(x - 0.058, y + 0.02), (x + 0.058, y + 0.02)], 0.012, flap)


def _handbag(pen: Pen, color: Color, wrist: Point) -> None:
    x, y = wrist
    pen.line([(x - 0.035, y + 0.06), (x, y + 0.01), (x + 0.035, y + 0.06)], 0.012, shade(color, 70))
    corners = [(x - 0.055, y + 0.055), (x + 0.055, y + 0.055), (x + 0.066, y + 0.15)]
    pen.polygon([*corners, (x - 0.066, y + 0.15)], color)
