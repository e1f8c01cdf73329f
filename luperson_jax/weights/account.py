"""What a conversion did with every tensor."""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

from data_pipeline.errors import shorten
from luperson_jax.augment.recipes import Statistics
from luperson_jax.models import NetworkSpec
from luperson_jax.weights.rules import COUNTER

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Account:
    """The account of one conversion; complete where nothing is missing, reshaped or unknown.

    Attributes:
        title: what the file is.
        required: number of tensors that the network has.
        matched: paths filled.
        missing: paths that no tensor of the file fills.
        reshaped: (path, shape in the file, shape expected), shapes as ours.
        unknown: keys of the file that the family's table does not have.
        left_out: (key, reason) of those that a complete conversion leaves behind.
        transformed: name of a transform -> number of matched tensors; "" where nothing changes.
    """

    title: str
    required: int
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[tuple[str, Shape, Shape], ...]
    unknown: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    transformed: dict[str, int]

    @property
    def complete(self) -> bool:
        """Whether every tensor of the network is filled, and every one of the file known."""
        return not (self.missing or self.reshaped or self.unknown)

    def problems(self) -> list[str]:
        """What keeps the conversion from being complete, a line a tensor."""
        lines = [f"missing      {path}" for path in self.missing]
        lines += [
            f"other shape  {path}: {found}, expected {expected}"
            for path, found, expected in self.reshaped
        ]
        return lines + [f"unknown      {key}" for key in self.unknown]

    def lines(self, facts: Mapping[str, Any], spec: NetworkSpec, num_parameters: int) -> list[str]:
        """The account for a reader, with what came out."""
        listed = "".join(f", {name} {value}" for name, value in facts.items() if name != COUNTER)
        transformed = [f"{count}x {name}" for name, count in self.transformed.items() if name]
        reasons = collections.Counter(reason for _, reason in self.left_out)
        lines = [
            f"read         {self.title}{listed}",
            f"network      {spec}",
            f"matched      {len(self.matched)} of {self.required} tensors, "
            f"{num_parameters:,} parameters",
            f"transformed  {', '.join(transformed) or 'none'}",
        ]
        lines += [f"left out     {count} {reason}" for reason, count in reasons.items()]
        lines += shorten(self.problems())
        if spec.kind in ("reid", "mgn") and spec.pooling == "avg":
            lines.append(
                "pooling      not in the file, so taken as avg; where it was another, say so in "
                "model.pooling of the configuration"
            )
        return lines


def pixel_lines(statistics: Statistics | None, size: tuple[int, int]) -> list[str]:
    """What input weights expect, as far as it is known."""
    if statistics is None:
        pixels = (
            "mean and deviation are not known; name them with --statistics (LUPerson: lup, "
            "LUPerson-NL: lmdb_200_20)"
        )
    else:
        mean, std = (_numbers(values) for values in statistics)
        pixels = f"mean {mean}, deviation {std}"
    shape = f"{size[0]}x{size[1]}"
    return [f"pixels       {pixels}", f"input size   {shape} unless --size says otherwise"]


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
