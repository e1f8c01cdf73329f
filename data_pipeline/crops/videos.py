"""Names of LUPerson's videos, and where their files and detections lie.

A video is named `country+city+id`, and its file is `<root>/<country>/<city>/<country+city+id>.mp4`.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable

from data_pipeline.datasets.folders import checked_root, some
from data_pipeline.errors import InputError, shorten
from data_pipeline.read import listing

# In the order of preference, where a video lies there in several.
SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".m4v", ".avi", ".flv", ".ts", ".mpg", ".mpeg")
DETECTION_SUFFIX = ".pkl"


@dataclasses.dataclass(frozen=True, order=True)
class Video:
    """One video: the country and the city that it shows, and its id at the place it came from."""

    country: str
    city: str
    id: str

    @property
    def name(self) -> str:
        """`country+city+id`: a line of the list, and the stem of its files."""
        return f"{self.country}+{self.city}+{self.id}"

    @property
    def folder(self) -> str:
        """Where its crops lie, below the folder of the pictures."""
        return f"{self.country}/{self.city}/{self.id}"


@dataclasses.dataclass(frozen=True)
class VideoList:
    """Which videos a data set consists of.

    Attributes:
        videos: each id once, sorted by country, city, id.
        repeated: names that stand in the list more than once.
        elsewhere: names whose id stands under another country or city too, which comes first in
            the order above and is the one kept. LUPerson's packing skips them in the same way.
    """

    videos: tuple[Video, ...]
    repeated: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()


def read_list(path: str) -> VideoList:
    """The videos of a list such as LUPerson's `vnames.txt`: one `country+city+id` a line.

    Line ends of Windows, a byte order mark, blank lines and blanks around a name do no harm.

    Raises:
        InputError: the file cannot be read, names nothing, or has lines that are no names.
    """
    try:
        text = pathlib.Path(path).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the list of videos {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the list of videos {path} is not UTF-8 text: {error}") from error
    videos, bad = [], []
    for number, line in enumerate(text.splitlines(), 1):
        name = line.strip()
        video = parse_name(name)
        if video:
            videos.append(video)
        elif name:
            bad.append(f"line {number}: {name[:60]!r}")
    if bad or not videos:
        found = "\n  ".join(shorten(bad)) or "no line at all"
        raise InputError(
            f"the list of videos {path} should have lines of the form country+city+id; it has\n"
            f"  {found}"
        )
    return _sorted_out(videos)


def list_folder(root: str) -> VideoList:
    """The videos that lie below a folder, for those who have no list.

    Raises:
        InputError: there are none.
    """
    root = checked_root(root)
    videos, others = set(), []
    for country in listing.subfolders(root):
        for city in listing.subfolders(os.path.join(root, country)):
            for stem in _files(os.path.join(root, country, city)):
                video = parse_name(stem)
                if video and (video.country, video.city) == (country, city):
                    videos.add(video)
                else:
                    others.append(f"{country}/{city}/{stem}")
    if not videos:
        found = f"; it has {some(others)}" if others else ""
        raise InputError(
            f"{root} has no videos; expected <country>/<city>/<country+city+id>.mp4 in it{found}"
        )
    return _sorted_out(sorted(videos))


def parse_name(name: str) -> Video | None:
    """The video of that name; None where it is none or could not be the name of a folder."""
    parts = name.split("+")
    if len(parts) != 3:
        return None
    unfit = any(not p or p != p.strip() or p[0] == "." or "/" in p or "\\" in p for p in parts)
    return None if unfit else Video(*parts)


def find_videos(root: str, videos: Iterable[Video]) -> dict[Video, str]:
    """The files of those videos that are there.

    Raises:
        InputError: there is no such folder.
    """
    root = checked_root(root)
    listed: dict[str, dict[str, str]] = {}
    found = {}
    for video in videos:
        folder = os.path.join(root, video.country, video.city)
        if folder not in listed:
            listed[folder] = _files(folder) if listing.is_folder(folder) else {}
        if video.name in listed[folder]:
            found[video] = listed[folder][video.name]
    return found


def find_detections(root: str, videos: Iterable[Video]) -> dict[Video, str]:
    """The pickles of those videos that have one, at any depth below a folder.

    Raises:
        InputError: there is no such folder, or two pickles have one name.
    """
    root = checked_root(root)
    by_stem: dict[str, str] = {}
    for folder, names in listing.walk(root):
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix != DETECTION_SUFFIX or name.startswith("."):
                continue
            path = os.path.join(folder, name)
            if stem in by_stem:
                raise InputError(
                    f"two files of detections for {stem}: {by_stem[stem]} and {path}; leave one"
                )
            by_stem[stem] = path
    return {video: by_stem[video.name] for video in videos if video.name in by_stem}


def _files(folder: str) -> dict[str, str]:
    """Paths of the video files in a folder, by stem."""
    found: dict[str, tuple[int, str]] = {}
    for name in listing.names(folder):
        stem, suffix = os.path.splitext(name)
        path = os.path.join(folder, name)
        if suffix.lower() in SUFFIXES and not stem.startswith(".") and listing.is_file(path):
            place = (SUFFIXES.index(suffix.lower()), path)
            found[stem] = min(found.get(stem, place), place)
    return {stem: path for stem, (_, path) in sorted(found.items())}


def _sorted_out(videos: list[Video]) -> VideoList:
    kept: dict[str, Video] = {}
    repeated, elsewhere = [], []
    for before, video in zip([None, *sorted(videos)], sorted(videos), strict=False):
        if video == before:
            repeated.append(video.name)
        elif video.id in kept:
            elsewhere.append(video.name)
        else:
            kept[video.id] = video
    return VideoList(tuple(kept.values()), tuple(dict.fromkeys(repeated)), tuple(elsewhere))
