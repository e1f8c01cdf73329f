"""What of LUPerson is missing, as far as names alone can tell."""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from data_pipeline.errors import InputError, shorten
from data_pipeline.read import archive_parts, listing

VIDEO_LIST = "vnames.txt"
KEY = re.compile(r"(?:.*/)?(\d{2,})_(\d{2,})_(\d{4,})_(\d{8,})(?:\.\w+)?")
KEY_NL = re.compile(r"(?:.*/)?(\d{5,})_\d{6,}_\d{7,}_\d{2,}(?:\.\w+)?")


class Piece(Protocol):
    """A folder or packing of the set: the names in it, and what stands before them."""

    @property
    def names(self) -> Iterable[str]:
        """Of its pictures, below the prefix."""
        ...

    @property
    def prefix(self) -> str:
        """What makes media of the names."""
        ...


@dataclasses.dataclass(frozen=True)
class Missing:
    """Gaps in what is counted, and what a list names and a folder lacks.

    Numbers above the highest that is there cannot be known to be missing, except those of archives.

    Attributes:
        archives: numbers of the 13 archives, where some of them lie in the folder.
        countries: numbers of countries.
        cities: `country_city`, of countries that are there.
        videos: `country_city_video`, of cities that are there; running numbers in LUPerson-NL.
        images: pictures left out within the videos that are there; in LUPerson only, because names
            of LUPerson-NL and of folders count no pictures.
        listed: lines of `vnames.txt` without a folder.
    """

    archives: tuple[int, ...] = ()
    countries: tuple[int, ...] = ()
    cities: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    images: int = 0
    listed: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For people: a line for each kind of thing that is missing."""
        named: dict[str, Sequence[object]] = {
            f"of the {archive_parts.LUPERSON_PARTS} archives": self.archives,
            "countries": self.countries,
            "cities (country_city)": self.cities,
            "videos": self.videos,
            f"videos of {VIDEO_LIST}": self.listed,
        }
        lines = [
            f"missing {what}: {', '.join(shorten([str(one) for one in which]))}"
            for what, which in named.items()
            if which
        ]
        if self.images:
            lines.append(f"missing numbers of pictures within videos: {self.images}")
        return lines


def find(root: str, parts_of: Callable[[str], Sequence[Piece]]) -> Missing:
    """What is missing in a root of `luperson` or `luperson_nl`, or in a folder of its archives.

    Args:
        root: its folder.
        parts_of: what the data set's reader finds below a root.

    Raises:
        InputError: there is nothing of the set, or as `parts_of`.
    """
    home = os.path.expanduser(root)
    archives = _archives(home)
    try:
        parts = parts_of(root)
    except InputError:
        if not archives:
            raise
        return Missing(archives=archives)
    missing = gaps(name for part in parts for name in part.names)
    return dataclasses.replace(missing, archives=archives, listed=_unlisted(home, parts))


def gaps(names: Iterable[str]) -> Missing:
    """What is left out in the numbers of keys, or of files that are named like keys."""
    videos: dict[tuple[int, ...], list[int]] = {}
    for name in names:
        match = KEY.fullmatch(name) or KEY_NL.fullmatch(name)
        if match:
            *place, image = (*map(int, match.groups()), 0)[:4]
            # Lowest, highest and number of pictures.
            of = videos.setdefault(tuple(place), [image, image, 0])
            of[:] = min(of[0], image), max(of[1], image), of[2] + 1
    seen = [numbers for place, numbers in videos.items() if len(place) == 3]
    placed = [place for place in videos if len(place) == 3]
    counted = [place[0] for place in videos if len(place) == 1]
    missing = {depth: _left_out({place[:depth] for place in placed}) for depth in (1, 2, 3)}
    return Missing(
        countries=tuple(place[0] for place in missing[1]),
        cities=tuple(f"{place[0]:02d}_{place[1]:02d}" for place in missing[2]),
        videos=tuple(
            [f"{place[0]:02d}_{place[1]:02d}_{place[2]:04d}" for place in missing[3]]
            + [f"{number:05d}" for (number,) in _left_out({(one,) for one in counted})]
        ),
        images=sum(high - low + 1 - count for low, high, count in seen),
    )


def _left_out(places: set[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Numbers left out below the highest one, in each place that is there. Counts begin at 0 or
    at 1, so that 0 is never missing."""
    numbers: dict[tuple[int, ...], set[int]] = {}
    for *place, number in places:
        numbers.setdefault(tuple(place), set()).add(number)
    return [
        (*place, number)
        for place, found in sorted(numbers.items())
        for number in range(1, max(found))
        if number not in found
    ]


def _archives(home: str) -> tuple[int, ...]:
    """Numbers that are missing where some of the 13 archives are there."""
    if not listing.is_folder(home):
        return ()
    series = archive_parts.numbered_parts(home).values()
    numbers = max(series, key=len, default=[])
    if not numbers or max(numbers) > archive_parts.LUPERSON_PARTS:
        return ()
    return tuple(n for n in range(1, archive_parts.LUPERSON_PARTS + 1) if n not in numbers)


def _unlisted(home: str, parts: Sequence[Piece]) -> tuple[str, ...]:
    """Lines `country+city+id` of the list of videos whose folder is not there."""
    path = os.path.join(home, VIDEO_LIST)
    if not listing.is_file(path) or any(part.prefix.startswith("lmdb:") for part in parts):
        return ()
    present = {name.rpartition("/")[0].rsplit("/", 1)[-1] for part in parts for name in part.names}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return tuple(line for line in lines if line and not {line, line.rpartition("+")[2]} & present)
