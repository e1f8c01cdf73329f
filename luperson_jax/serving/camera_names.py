"""Cameras of an index: numbers as they were given, or names as paths have them, with numbers."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.serving.decision import Camera, camera_name

UNKNOWN = -1
MAX_DIGITS = 9


@dataclasses.dataclass(frozen=True)
class CameraNames:
    """What the numbers in the column `camera` of an index stand for.

    Attributes:
        named: by number, where cameras were given by name; None where they were given as numbers.
            A name that is a number keeps it.
    """

    named: Mapping[int, str] | None = None

    @classmethod
    def of_values(cls, values: Mapping[str, str] | None, numbers: np.ndarray) -> "CameraNames":
        """What `values` has given.

        Args:
            values: it.
            numbers: those in use.

        Raises:
            TypeError, ValueError: it is something else.
        """
        if values is None:
            return cls()
        named = {int(number): str(name) for number, name in values.items()}
        lacking = set(numbers.tolist()) - {UNKNOWN, *named}
        if lacking:
            raise ValueError(f"no name for camera {min(lacking)}")
        return cls(named)

    def values(self) -> dict[str, str] | None:
        """For JSON."""
        if self.named is None:
            return None
        return {str(number): name for number, name in self.named.items()}

    def numbered(
        self, cameras: Sequence[Camera | None], former: np.ndarray
    ) -> tuple[list[int], "CameraNames"]:
        """The numbers of more cameras.

        Args:
            cameras: all numbers, or all names; None or -1 where one is not known.
            former: numbers of the pictures that are there already.

        Returns:
            The numbers, and what they stand for.

        Raises:
            InputError: names where numbers were given before, or the other way round.
        """
        known = [one for one in cameras if one is not None and one != UNKNOWN]
        if not known:
            return [UNKNOWN] * len(cameras), self
        by_name = isinstance(known[0], str)
        is_open = not np.any(former != UNKNOWN)
        if any(isinstance(one, str) != by_name for one in known) or (
            not is_open and by_name != (self.named is not None)
        ):
            raise InputError(
                "cameras are given by number and by name, as the index has them or among "
                f"themselves (now {known[0]!r}); nobody knows which are the same: give one kind"
            )
        if not by_name:
            return [UNKNOWN if one is None else int(one) for one in cameras], CameraNames()
        named = dict(self.named or {})
        of_name = {name: number for number, name in named.items()}
        names = [None if one in (None, UNKNOWN) else camera_name(str(one)) for one in cameras]
        fresh = {name for name in names if name is not None} - set(of_name)
        for name in sorted(fresh, key=lambda name: (not _is_number(name), name)):
            taken = _is_number(name) and int(name) in named
            number = int(name) if _is_number(name) and not taken else max(named, default=-1) + 1
            named[number], of_name[name] = name, number
        return [UNKNOWN if one is None else of_name[one] for one in names], CameraNames(named)

    def number(self, camera: Camera) -> int:
        """The number of a camera that is given by number or by name.

        Raises:
            InputError: no camera has the name.
        """
        if not isinstance(camera, str):
            return int(camera)
        if self.named is None:
            if _is_number(camera):
                return int(camera)
        else:
            for number, name in self.named.items():
                if name == camera_name(camera):
                    return number
        names = (
            "numbers" if self.named is None else ", ".join(sorted(self.named.values())) or "none"
        )
        raise InputError(f"no camera of the index is called {camera!r}; it has {names}")

    def name(self, number: int) -> str:
        """What a camera is called."""
        return str(number) if self.named is None else self.named.get(number, str(number))

    def as_calibrated(self, query: Camera, cameras: np.ndarray) -> tuple[Camera, np.ndarray]:
        """A query's camera and those [N] of pictures as thresholds of two cameras have them.

        Args:
            query: a number in the index, or a name where cameras have names.
            cameras: numbers.

        Raises:
            InputError: a name where cameras have none.
        """
        if self.named is None:
            if isinstance(query, str):
                raise InputError(
                    f"the camera of the query is {query!r}, and the index has numbers of cameras "
                    "and no names; give a number"
                )
            return query, cameras
        names = ["" if one == UNKNOWN else self.name(one) for one in cameras.tolist()]
        return query if isinstance(query, str) else self.name(query), np.array(names, np.str_)


def _is_number(name: str) -> bool:
    return name.isdecimal() and name.isascii() and len(name) <= MAX_DIGITS
