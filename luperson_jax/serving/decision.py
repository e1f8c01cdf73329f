"""From a distance to an answer: same person, different people, or not sure."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import json_files
from luperson_jax.retrieval.familiarity import Familiarity
from luperson_jax.retrieval.looks import Looks
from luperson_jax.serving import user_pictures
from luperson_jax.weights import packed

Camera = int | str
"""A number as the data set counts, mostly from 0, or a name as it stands in the paths of pictures.
The two are never compared: camera 1 of a path may be camera 0 of the data set."""
Band = tuple[float, float]
"""Pairs at most the first distance apart show one person, those beyond the second two."""
MOST_LOOKED_AT = 256
EXPECTED = "expected the JSON of `luperson calibrate`"


class UnlikeCalibration(UserWarning):
    """Pictures look unlike those that the threshold was made with."""


@dataclasses.dataclass(frozen=True)
class DecisionRule:
    """When two pictures show the same person, by the cosine distance of their features.

    Attributes:
        band: of any two cameras.
        of_cameras: of some two, the smaller first; all numbers or all names.
        wanted: share of false accepts that the thresholds were made for; None where it is not
            known.
        familiarity: of the features that they were made with; None where it is not known.
        looks: of the pictures themselves; None where they were not at hand.
    """

    band: Band
    of_cameras: Mapping[tuple[Camera, Camera], Band] = dataclasses.field(default_factory=dict)
    wanted: float | None = None
    familiarity: Familiarity | None = None
    looks: Looks | None = None

    @classmethod
    def at(cls, distance: float) -> "DecisionRule":
        """One threshold and nothing else."""
        return cls((distance, distance))

    @classmethod
    def of_values(cls, values: Mapping[str, Any], origin: str) -> "DecisionRule":
        """What `luperson calibrate --json` has written.

        Args:
            values: its content.
            origin: where it is from, for messages.

        Raises:
            InputError: it is something else, has no threshold, or one of another distance.
        """
        try:
            metric = values.get("settings", {}).get("metric", "cosine")
            if metric != "cosine":
                raise InputError(
                    f"the threshold of {origin} is of {metric} distance; calibrate with --metric "
                    "cosine, by which models compare"
                )
            if values["distance"] is None:
                raise InputError(
                    f"{origin} found no threshold: too few people for what was asked; calibrate "
                    "with more, or a larger --far"
                )
            cameras = {
                _two_cameras(one["cameras"]): _band(one)
                for one in values.get("cameras", [])
                if one["distance"] is not None
            }
            if len({type(camera) for pair in cameras for camera in pair}) > 1:
                raise TypeError("cameras are numbers and names")
            known, looks = values.get("pictures"), values.get("looks")
            wanted = values.get("wanted_false_accepts")
            return cls(
                _band(values),
                cameras,
                None if wanted is None else float(wanted),
                None if known is None else Familiarity.of_values(known),
                None if looks is None else Looks.of_values(looks),
            )
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise InputError(f"{origin} has no threshold ({error!r}); {EXPECTED}") from error

    def same(self, distance: np.ndarray, cameras: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Whether pairs show the same person, and whether that is unsure.

        Args:
            distance: [] or [N].
            cameras: of the two pictures of each pair, one pair for all or [N, 2]: numbers or
                names, as the thresholds have them; None where they are not known.

        Returns:
            Two arrays of the shape of `distance`. What is unsure is not called the same.

        Raises:
            InputError: cameras of another shape, or numbers where the thresholds have names.
        """
        bands = np.broadcast_to(self.band, (*np.shape(distance), 2))
        if cameras is not None:
            given = np.asarray(cameras)
            if given.shape not in ((2,), bands.shape):
                raise InputError(
                    f"cameras have shape {list(given.shape)}; expected [2] or {list(bands.shape)}"
                )
            self.check_cameras(named=given.dtype.kind == "U")
            if given.dtype.kind == "U":
                given = np.array([camera_name(one) for one in given.flat]).reshape(given.shape)
            pairs = np.sort(np.broadcast_to(given, bands.shape), axis=-1).reshape(-1, 2)
            flat = [self.of_cameras.get((one, other), self.band) for one, other in pairs.tolist()]
            bands = np.array(flat).reshape(bands.shape)
        accept, reject = np.moveaxis(bands, -1, 0)
        same = distance <= np.float32(accept)
        return same, ~same & (distance <= np.float32(reject))

    def warnings(
        self, features: np.ndarray, pictures: Sequence[user_pictures.Picture] = ()
    ) -> list[str]:
        """What to tell of pictures that are unlike those that the thresholds were made with.

        Args:
            features: [N, D] of unit length.
            pictures: theirs, as far as they are at hand; more than `MOST_LOOKED_AT` are not all
                looked at.

        Raises:
            InputError: features of another network, or a picture that cannot be read.
        """
        found = None if self.familiarity is None else self.familiarity.warning(features)
        lines = [] if found is None else [found]
        if self.looks is not None and 0 < len(pictures) == len(features):
            rows = list(range(0, len(features), -(-len(features) // MOST_LOOKED_AT)))
            shown = [user_pictures.pixels(pictures[row]) for row in rows]
            found = self.looks.warning(shown, features[rows])
            lines += [] if found is None else [found]
        return lines

    def check_cameras(self, *, named: bool) -> None:
        """Raises InputError where cameras that are named, or numbered, meet thresholds of two
        cameras that are not."""
        known = {camera for pair in self.of_cameras for camera in pair}
        if not known or named == isinstance(next(iter(known)), str):
            return
        some = ", ".join(map(repr, sorted(known)[:4]))
        if named:
            raise InputError(
                f"the thresholds of two cameras are for numbers of a data set ({some}), which may "
                "count from 0, and the cameras here are names as paths have them; calibrate again "
                "with --camera REGEX, by the same names, or give one distance as the threshold"
            )
        raise InputError(
            f"the thresholds of two cameras are for names as paths have them ({some}), and the "
            "cameras here are numbers, which may count otherwise; give names (`luperson index "
            "--camera REGEX`, or text in Python), or one distance as the threshold"
        )


def camera_name(found: str) -> str:
    """The name of a camera by what stands in a path: 1, 01 and 001 are one camera."""
    return str(int(found)) if found.isdecimal() and found.isascii() else found


def answers(
    rule: DecisionRule | None,
    distance: np.ndarray,
    query_camera: Camera | None,
    cameras: np.ndarray,
) -> list[bool | None]:
    """Whether found pictures show the person of a query; None where it is unsure or no rule is
    known.

    Args:
        rule: may be None.
        distance: [N] of the query.
        query_camera: None where it is not known.
        cameras: [N] of the found pictures, numbers or names as that of the query.

    Raises:
        InputError: see `DecisionRule.same`.
    """
    if rule is None:
        return [None] * len(distance)
    pairs = None
    if query_camera is not None:
        pairs = np.stack([np.full(len(cameras), query_camera), cameras], axis=1)
    same, unsure = (one.tolist() for one in rule.same(distance, pairs))
    return [None if dubious else sure for sure, dubious in zip(same, unsure, strict=True)]


def all_of(folder: str | os.PathLike) -> list[DecisionRule]:
    """The rules of a packed model.

    Raises:
        InputError: they are damaged.
    """
    known = packed.read_thresholds(pathlib.Path(folder))
    return [DecisionRule.of_values(one, os.fspath(folder)) for one in known]


def choose(
    known: Sequence[Mapping[str, Any]], false_accepts: float | None, origin: str
) -> DecisionRule | None:
    """The rule of a packed model: the first one, or that for a share of false accepts.

    Args:
        known: content of its thresholds.
        false_accepts: wanted share; None = that of the first.
        origin: where they are from, for messages.

    Raises:
        InputError: there is none for that share, or it is damaged.
    """
    rules = [DecisionRule.of_values(one, origin) for one in known]
    if false_accepts is None:
        return rules[0] if rules else None
    found = [one for one in rules if one.wanted == false_accepts]
    if not found:
        shares = ", ".join(f"{one.wanted:g}" for one in rules if one.wanted is not None)
        raise InputError(
            f"{origin} has no threshold for a share of {false_accepts:g} false accepts; it has "
            f"those for {shares or 'none'}"
        )
    return found[0]


def given(
    threshold: float | str | os.PathLike | None,
    folder: str | os.PathLike | None,
    false_accepts: float | None = None,
) -> DecisionRule | None:
    """The rule that is asked for, else that of a packed model; None where there is neither.

    Args:
        threshold: a cosine distance, or a file of `luperson calibrate --json`.
        folder: the packed model; None = it is none.
        false_accepts: see `choose`.

    Raises:
        InputError: a file that cannot be read or holds something else, or as `choose`.
    """
    if isinstance(threshold, str | os.PathLike):
        values = json_files.read(pathlib.Path(threshold), EXPECTED)
        return DecisionRule.of_values(values, str(threshold))
    if threshold is not None:
        return DecisionRule.at(float(threshold))
    if folder is None:
        return None
    known = packed.read_thresholds(pathlib.Path(folder))
    return choose(known, false_accepts, os.fspath(folder))


def _band(values: Mapping[str, Any]) -> Band:
    accept, reject = float(values["distance"]), values.get("reject_distance")
    return accept, accept if reject is None else max(accept, float(reject))


def _two_cameras(given: Sequence[Camera]) -> tuple[Camera, Camera]:
    first, second = sorted(given)
    if type(first) not in (int, str):
        raise TypeError(f"camera {first!r}")
    return first, second
