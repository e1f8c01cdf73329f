"""Do new pictures look like those that a threshold was made with, before any network sees them?

Networks for re-identification are trained not to see what this asks for: other light, blur, gray.
So each picture has twelve plain numbers of colors and sharpness (`of_picture`). Known pictures are
described, number by number, by the range of the means of their cameras, and by how much people, and
pictures of one person, vary within a camera. New pictures are unlike where their mean lies farther
outside of that range than Student's t allows for as many people, or ever a known picture did.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.special
from jaxtyping import Float, Int, UInt8

from data_pipeline.read import decode

SIZE = (128, 48)
"""Height and width at which pictures are looked at."""
NAMES = (
    "color",
    "variety of color",
    "brightness",
    "contrast",
    "red",
    "blue",
    "sharpness",
    "fine detail",
    "edges of the picture",
    "variety at the edges",
    "variety in the middle",
    "variety at the top",
)
TOO_RARE = 1e-3
"""So improbable a difference is told."""
FEWEST_PEOPLE = 16
FARTHER = 1.1
"""Times as far as any known picture."""
MOST_PICTURES = 2048
"""Evenly taken of more."""


def of_picture(picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "l"]:
    """The numbers of a picture in RGB, by `NAMES`."""
    pixels = decode.to_canvas(picture, SIZE).astype(np.float32) / 255
    gray = pixels.mean(axis=2)
    chroma = pixels.max(axis=2) - pixels.min(axis=2)
    red, green, blue = pixels.mean(axis=(0, 1))
    around = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:]
    fine = np.log(np.abs(4 * gray[1:-1, 1:-1] - around).mean() + 1e-4)
    coarse = sum(np.abs(np.diff(gray, axis=axis)).mean() for axis in (0, 1))
    sides = np.concatenate([pixels[:, :6], pixels[:, -6:]], axis=1).reshape(-1, 3)
    middle, top = pixels[:, 18:30].reshape(-1, 3), pixels[:12].reshape(-1, 3)
    apart = np.abs(sides.mean(axis=0) - middle.mean(axis=0)).mean()
    return np.array(
        [
            np.log(chroma.mean() + 1e-3),
            np.log(chroma.std() + 1e-3),
            gray.mean(),
            gray.std(),
            red - green,
            blue - green,
            fine,
            fine - np.log(coarse + 1e-4),
            np.log(apart + 1e-2),
            *(part.std() for part in (sides, middle, top)),
        ]
    )


@dataclasses.dataclass(frozen=True)
class Looks:
    """Known pictures, described; [L] each by `NAMES`.

    Attributes:
        low, high: of the means of cameras.
        person: variance of the means of people within a camera.
        within: variance of the pictures of a person before a camera.
        limits: deviations that are still known.
        people: before the camera that has the fewest.
        together: cosine distance up to which 95 % of pairs of one person lie.
    """

    low: np.ndarray
    high: np.ndarray
    person: np.ndarray
    within: np.ndarray
    limits: np.ndarray
    people: int
    together: float

    def deviations(
        self, numbers: Float[np.ndarray, "n l"], people: float = 1.0
    ) -> Float[np.ndarray, "l"]:
        """How far the mean of pictures of so many people lies outside of what is known."""
        outside = self._outside(numbers.mean(axis=0))
        variance = self.person * (1 / people + 1 / self.people) + self.within / len(numbers)
        return outside / np.sqrt(np.maximum(variance, 1e-12))

    def strange(
        self, numbers: Float[np.ndarray, "n l"], features: Float[np.ndarray, "n d"]
    ) -> list[str]:
        """By which of `NAMES` pictures are unlike those known.

        Args:
            numbers: of each picture.
            features: theirs, of unit length: they say how many people there are at least. A mean
                over pictures varies as one over so many people as pictures squared by pairs of one
                person; pairs that may be of one person count as such.
        """
        may_be_same = 1 - features @ features.T <= self.together
        people = len(features) ** 2 / max(np.count_nonzero(may_be_same), len(features))
        beyond = self.deviations(numbers, people) > self.limits
        return [name for name, out in zip(NAMES, beyond, strict=True) if out]

    def warning(
        self, pictures: Sequence[UInt8[np.ndarray, "h w 3"]], features: Float[np.ndarray, "n d"]
    ) -> str | None:
        """What to tell of N pictures of any size, in RGB, with such features; None where they are
        as expected."""
        strange = self.strange(np.array([of_picture(one) for one in pictures]), features)
        if not strange:
            return None
        num = len(pictures)
        return (
            f"{num} of {num} pictures look unlike those that the threshold was made with, by their "
            f"{', '.join(strange)}; it may not hold for them: calibrate with pictures of these "
            "cameras"
        )

    def values(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> "Looks":
        """What `values` gave.

        Raises:
            ValueError, LookupError, TypeError: they are damaged.
        """
        arrays = {
            name: np.array(values[name], np.float64)
            for name in ("low", "high", "person", "within", "limits")
        }
        if any(one.shape != (len(NAMES),) for one in arrays.values()):
            raise ValueError(f"looks are not {len(NAMES)} numbers each")
        return cls(**arrays, people=int(values["people"]), together=float(values["together"]))

    def _outside(self, numbers: np.ndarray) -> np.ndarray:
        return np.maximum(np.maximum(numbers - self.high, self.low - numbers), 0)


def describe(
    numbers: Float[np.ndarray, "n l"],
    pid: Int[np.ndarray, "n"],
    camera: Int[np.ndarray, "n"],
    together: float,
) -> Looks | None:
    """Describes pictures; None where a camera has fewer than `FEWEST_PEOPLE`.

    Args:
        numbers: of each picture.
        pid: people, or tracklets in their place.
        camera: of each.
        together: see `Looks`.
    """
    means, person, within, people = [], [], [], []
    for one in np.unique(camera):
        here = numbers[camera == one]
        number = np.unique(pid[camera == one], return_inverse=True)[1]
        count = np.bincount(number)
        if len(count) < FEWEST_PEOPLE:
            return None
        of_people = np.zeros((len(count), here.shape[1]))
        np.add.at(of_people, number, here)
        of_people /= count[:, None]
        means.append(of_people.mean(axis=0))
        person.append(of_people.var(axis=0, ddof=1) * (len(count) - 1))
        squares = np.sum((here - of_people[number]) ** 2, axis=0)
        within.append(squares / max(len(here) - len(count), 1))
        people.append(len(count))
    freedom = sum(people) - len(people)
    least = float(scipy.special.stdtrit(freedom, 1 - TOO_RARE / 2 / len(NAMES)))
    found = Looks(
        np.min(means, axis=0),
        np.max(means, axis=0),
        np.sum(person, axis=0) / freedom,
        np.mean(within, axis=0),
        np.full(len(NAMES), least),
        min(people),
        together,
    )
    farthest = np.max([found.deviations(one[None]) for one in numbers], axis=0)
    return dataclasses.replace(found, limits=np.maximum(least, FARTHER * farthest))
