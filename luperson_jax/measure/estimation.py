"""mAP and Rank-1 without labels, from tracklets or from pictures alone, each with an interval.

What tracklets tell (`retrieval.label_free`), or pictures and groups of them (`picture_traces`), is
turned into figures by a polynomial of second degree in these traces, fitted to drawn worlds whose
people are known, on the scale arcsin(sqrt(share)), where errors are about as large everywhere. The
interval is as wide as the errors were on worlds that the fit had not seen, in units of how large
errors are where traces are like these (normalized split conformal prediction; Papadopoulos,
Gammerman, Vovk, "Normalized nonconformity measures for regression conformal prediction", 2008; here
by cross-validation over worlds): it holds for cameras, people and features that are to these worlds
as these are to each other, and for no others. The table `label_free.json`
is written by `scripts/study_estimates.py`.
"""

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from data_pipeline.errors import InputError
from luperson_jax.measure import picture_traces
from luperson_jax.retrieval import label_free

MEASURES = ("mAP", "rank1")
NAMES = {"tracklets": label_free.NAMES, "pictures": picture_traces.NAMES}
"""Traces by what they are taken from."""
TABLE = "label_free.json"
CONFIDENCES = (0.5, 0.8, 0.9, 0.95, 0.98)
CLIPPED = 3.0
"""Deviations from the mean of the drawn worlds beyond which a trace counts no more."""
RIDGE = 20.0
LEAST_ERROR = 0.02
"""So that the logarithm of an error is never far below others."""
FOLDS = 10


class Estimate(NamedTuple):
    """A figure that was not measured, 0..1.

    Attributes:
        value: the estimate.
        interval: of the true figure.
    """

    value: float
    interval: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Fit:
    """What was learned from drawn worlds.

    Attributes:
        names: of the traces.
        mean, deviation: [S] of each trace.
        low, high: [S] the range in which traces of drawn worlds lie, but for one in a hundred.
        weights: by measure, [P] of the polynomial.
        spread: by measure, [1 + S] how large the logarithm of an error is, by the traces.
        errors: by measure, errors on worlds not seen, in units of the spread, that a share of
            `CONFIDENCES` stays below.
        worlds: how many there were.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weights: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    errors: Mapping[str, Sequence[float]]
    worlds: int

    def estimate(
        self, values: Float[np.ndarray, "s"], confidence: float = 0.95
    ) -> dict[str, Estimate]:
        """Estimates by measure.

        Args:
            values: traces, in the order of `names`.
            confidence: one of `CONFIDENCES`.

        Raises:
            InputError: another confidence.
        """
        if confidence not in CONFIDENCES:
            raise InputError(
                f"the confidence is to be {confidence}; expected one of "
                f"{', '.join(map(str, CONFIDENCES))}"
            )
        terms = _terms(values[None], self.mean, self.deviation)
        found = {}
        for name in MEASURES:
            center = float((terms @ self.weights[name])[0])
            spread = float(_spread(terms, self.spread[name])[0])
            error = spread * self.errors[name][CONFIDENCES.index(confidence)]
            low, middle, high = (_share(center + step) for step in (-error, 0.0, error))
            found[name] = Estimate(middle, (low, high))
        return found

    def strange(self, values: Float[np.ndarray, "s"]) -> list[str]:
        """Names of traces that lie outside of what drawn worlds have."""
        margin = 0.01 * self.deviation  # the table is rounded
        outside = (values < self.low - margin) | (values > self.high + margin)
        return [name for name, out in zip(self.names, outside, strict=True) if out]

    def values(self) -> dict[str, Any]:
        """As JSON holds it."""
        arrays = {name: getattr(self, name) for name in ("mean", "deviation", "low", "high")}
        return {
            "names": list(self.names),
            **{name: _rounded(array) for name, array in arrays.items()},
            "weights": {name: _rounded(array) for name, array in self.weights.items()},
            "spread": {name: _rounded(array) for name, array in self.spread.items()},
            "errors": {name: _rounded(array) for name, array in self.errors.items()},
            "worlds": self.worlds,
        }

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> "Fit":
        """What `values` gave."""
        names = ("mean", "deviation", "low", "high")
        mean, deviation, low, high = (np.array(values[name]) for name in names)
        weights, spread = (
            {name: np.array(one) for name, one in values[part].items()}
            for part in ("weights", "spread")
        )
        named, errors = tuple(values["names"]), values["errors"]
        return cls(named, mean, deviation, low, high, weights, spread, errors, values["worlds"])


def vector(values: Mapping[str, float]) -> Float[np.ndarray, "s"]:
    """Traces as `statistics` gave them."""
    return np.array([*values.values()])


@functools.cache
def shipped(kind: str) -> Fit:
    """The fit that comes with the program, for traces of a key of `NAMES`."""
    found = Fit.of_values(tables()[kind])
    assert found.names == NAMES[kind]
    return found


def tables() -> dict[str, Any]:
    """What `Fit.values` gave, by the keys of `NAMES`."""
    text = importlib.resources.files("luperson_jax.measure").joinpath(TABLE).read_text()
    return json.loads(text)


def fit(
    names: tuple[str, ...],
    traces: Float[np.ndarray, "n s"],
    truth: Float[np.ndarray, "n 2"],
    world: np.ndarray,
) -> Fit:
    """Learns from worlds whose figures are known.

    Args:
        names: of the traces.
        traces: of each case.
        truth: its figures by `MEASURES`, 0..1.
        world: [N] which world a case is of; a world is never on both sides of a fold.
    """
    number = np.unique(world, return_inverse=True)[1]
    angle = np.arcsin(np.sqrt(truth))
    folds = [number % FOLDS == fold for fold in range(FOLDS)]
    error, unit = np.zeros_like(angle), np.zeros_like(angle)
    for out in folds:
        mean, deviation, weights = _solve(traces[~out], angle[~out])
        error[out] = np.abs(angle[out] - _terms(traces[out], mean, deviation) @ weights)
    for out in folds:
        mean, deviation = _scale(traces[~out])
        spread = _solve_spread(_terms(traces[~out], mean, deviation), error[~out])
        unit[out] = _spread(_terms(traces[out], mean, deviation), spread)
    mean, deviation, weights = _solve(traces, angle)
    spread = _solve_spread(_terms(traces, mean, deviation), error)
    low, high = np.quantile(traces, [0.005, 0.995], axis=0)
    levels = [min(1.0, one * (1 + 1 / len(world))) for one in CONFIDENCES]
    quantiles = np.quantile(error / unit, levels, axis=0, method="higher")
    return Fit(
        names,
        mean,
        deviation,
        low,
        high,
        dict(zip(MEASURES, weights.T, strict=True)),
        dict(zip(MEASURES, spread.T, strict=True)),
        {name: one.tolist() for name, one in zip(MEASURES, quantiles.T, strict=True)},
        len(np.unique(world)),
    )


def _scale(traces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return traces.mean(axis=0), np.maximum(traces.std(axis=0), 1e-6)


def _solve(traces: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean, deviation = _scale(traces)
    return mean, deviation, _ridge(_terms(traces, mean, deviation), angle)


def _solve_spread(terms: np.ndarray, error: np.ndarray) -> np.ndarray:
    """[1 + S, 2] for `_spread`."""
    return _ridge(_linear(terms), np.log(error + LEAST_ERROR))


def _spread(terms: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How large errors are where traces are like these."""
    return np.exp(_linear(terms) @ weights)


def _linear(terms: np.ndarray) -> np.ndarray:
    """1 and the traces, of terms with their S (S + 1) / 2 products: (S + 1)(S + 2) / 2 columns."""
    return terms[:, : round((np.sqrt(8 * terms.shape[1] + 1) - 1) / 2)]


def _ridge(terms: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    penalty = RIDGE * np.eye(terms.shape[1])
    penalty[0, 0] = 0
    return np.linalg.solve(terms.T @ terms + penalty, terms.T @ wanted)


def _terms(traces: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """1, the traces and their products, [N, P]."""
    scaled = np.clip((traces - mean) / deviation, -CLIPPED, CLIPPED)
    rows, columns = np.triu_indices(scaled.shape[1])
    ones = np.ones((len(scaled), 1))
    return np.concatenate([ones, scaled, scaled[:, rows] * scaled[:, columns]], axis=1)


def _share(angle: float) -> float:
    return float(np.sin(np.clip(angle, 0, np.pi / 2)) ** 2)


def _rounded(values: Any) -> list[float]:
    return [float(f"{one:.6g}") for one in values]
