"""Do new pictures look like those that a threshold was made with?

Features of the known pictures are described by their mean and a few directions in which they vary
most. A picture's strangeness is how far its feature lies from the mean, each direction by its own
variance and all others together by theirs. How strange pictures of people are who were not looked
at is found on one half of the people with the description of the other. Levels of that say how
often a picture like those is as strange (conformal p-values; Bates, Candès, Lei, Romano, Sesia,
"Testing for outliers with conformal p-values", 2023), and the binomial law whether several are too
many.
"""

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.special
from jaxtyping import Float

from data_pipeline.errors import InputError
from luperson_jax.lengths import unit_rows
from luperson_jax.structs import EmbeddingSet

DIRECTIONS = 32
"""At most; an eighth of the people at hand."""
LEVELS = (0.05, 0.001)
"""Shares of known pictures that are stranger than a limit."""
TOO_RARE = 1e-3
"""So improbable a number of strange pictures is told."""
FEWEST_PEOPLE = 16
MOST_ROWS = 4096
"""Evenly taken of more pictures."""


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """Known pictures, described.

    Attributes:
        mean: [D] float32.
        directions: [K, D] float32, orthonormal.
        variance: [K] along them.
        rest: mean square of what is across them.
        limits: strangeness beyond which a share of `LEVELS` of the known pictures lies.
    """

    mean: Float[np.ndarray, "d"]
    directions: Float[np.ndarray, "k d"]
    variance: Float[np.ndarray, "k"]
    rest: float
    limits: tuple[float, ...] = ()

    def strangeness(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n"]:
        """How far features of unit length lie from those known; about K + 1 on average."""
        apart = features - self.mean
        along = apart @ self.directions.T
        across = np.maximum(np.sum(apart**2, axis=1) - np.sum(along**2, axis=1), 0)
        return np.sum(along**2 / self.variance, axis=1) + across / self.rest

    def warning(self, features: Float[np.ndarray, "n d"]) -> str | None:
        """What to tell of pictures with these features of unit length; None where they are as
        expected.

        Raises:
            InputError: they are of another network.
        """
        if features.shape[1] != len(self.mean):
            raise InputError(
                f"features have {features.shape[1]} numbers, and those of the thresholds "
                f"{len(self.mean)}; calibrate with the same network"
            )
        strange, num = self.strangeness(features), len(features)
        for level, limit in zip(LEVELS, self.limits, strict=True):
            count = np.count_nonzero(strange > limit)
            if count and scipy.special.bdtrc(count - 1, num, level) <= TOO_RARE:
                return (
                    f"{count} of {num} pictures look unlike those that the threshold was made "
                    f"with ({100 * level:g} % of those do); it may not hold for them: calibrate "
                    "with pictures of these cameras"
                )
        return None

    def values(self) -> dict[str, Any]:
        """As JSON holds it; arrays as base64 of little-endian float32."""
        return {
            "dimensions": len(self.mean),
            "mean": _text(self.mean),
            "directions": _text(self.directions),
            "variance": _text(self.variance),
            "rest": self.rest,
            "limits": list(self.limits),
        }

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> "Familiarity":
        """What `values` gave.

        Raises:
            ValueError, LookupError, TypeError: they are damaged.
        """
        mean, variance = (_array(values[name]) for name in ("mean", "variance"))
        directions = _array(values["directions"]).reshape(len(variance), len(mean))
        limits = tuple(float(limit) for limit in values["limits"])
        if len(mean) != values["dimensions"] or len(limits) != len(LEVELS):
            raise ValueError(f"{len(mean)} numbers and {len(limits)} limits")
        return cls(mean, directions, variance, float(values["rest"]), limits)


def describe(known: EmbeddingSet) -> Familiarity | None:
    """Describes pictures by their features' directions; None of fewer than `FEWEST_PEOPLE`.

    Args:
        known: pictures with identities, or tracklets in their place.
    """
    rows = np.arange(0, len(known.pid), -(-len(known.pid) // MOST_ROWS))
    pid, features = known.pid[rows], np.asarray(known.features[rows], np.float32)
    people = np.unique(pid)
    if len(people) < FEWEST_PEOPLE or features.shape[1] < 2:
        return None
    features = unit_rows(features)
    half = np.isin(pid, people[::2])
    num = min(DIRECTIONS, len(people) // 8, features.shape[1] - 1)
    strange = np.empty(len(features))
    for one, other in ((half, ~half), (~half, half)):
        strange[other] = _fit(features[one], num).strangeness(features[other])
    limits = tuple(float(np.quantile(strange, 1 - level, method="higher")) for level in LEVELS)
    return dataclasses.replace(_fit(features, num), limits=limits)


def _fit(features: Float[np.ndarray, "n d"], num: int) -> Familiarity:
    mean = features.mean(axis=0)
    apart = features - mean
    _, values, directions = np.linalg.svd(apart, full_matrices=False)
    power = values.astype(np.float64) ** 2 / len(features)
    floor = max(float(power.sum()), 1e-12) * 1e-6
    variance = np.maximum(power[:num], floor).astype(np.float32)
    rest = max(float(power[num:].sum()), floor)
    return Familiarity(mean, directions[:num], variance, rest)


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _array(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4")
