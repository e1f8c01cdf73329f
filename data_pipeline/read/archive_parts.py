"""Archives that come in several files: as pieces of one archive or as numbered archives."""

import bisect
import io
import itertools
import os
import re
from typing import IO, Any

from data_pipeline.errors import InputError, refusal, shorten
from data_pipeline.read import listing

# Pieces of one file, as 7-Zip (NAME.zip.001) and split (NAME.tar.gz.aa, .00) name them.
PIECE = re.compile(r"(.+)\.(\d{3})|(.+\.(?:zip|tar|tgz|gz|bz2|xz|7z|rar))\.(\d{2}|[a-d][a-z])")
# Archives that each hold a part of a data set: NAME.part01.rar, NAME_part_001.zip, NAME_001.zip.
NUMBERED = re.compile(
    r"(.*?)[._-]?(?:part[._-]?(\d{1,3})|(?<!\d)(0\d\d))(?:\.(?:zip|tar|tgz|gz|bz2|xz|7z|rar))+",
    re.IGNORECASE,
)
ZIP_VOLUME = re.compile(r"(.+)\.z(\d{2})", re.IGNORECASE)

LUPERSON_PARTS = 13
"""Pieces in which users pass LUPerson around: 001 to 013."""


def numbered_parts(folder: str | os.PathLike) -> dict[str, list[int]]:
    """The numbers of the archives in a folder that are named as parts, by what they have in common.

    Pieces of one file count as well: `x.zip.001` and `x_part001.zip` are both number 1.
    """
    found: dict[str, list[int]] = {}
    for name in listing.names(folder):
        if piece := PIECE.fullmatch(name):
            stem, number = piece[1] or piece[3], piece[2] or piece[4]
        elif numbered := NUMBERED.fullmatch(name):
            stem, number = numbered[1], numbered[2] or numbered[3]
        else:
            continue
        if number.isdigit():
            found.setdefault(stem, []).append(int(number))
    return {stem: sorted(set(numbers)) for stem, numbers in found.items()}


def open_archive(path: str) -> IO[bytes]:
    """An archive as one file, put together where it is in pieces.

    Raises:
        InputError: it is missing, a piece of it is, or it is a volume that needs another program.
    """
    volume = ZIP_VOLUME.fullmatch(path)
    if volume:
        raise InputError(
            f"{path} is a volume of {volume[1]}.zip; put all of them into one folder and unpack "
            f"them with `7z x {volume[1]}.zip`"
        )
    piece = PIECE.fullmatch(os.path.basename(path))
    try:
        if piece:
            return io.BufferedReader(_Joined(_pieces(path, piece[1] or piece[3])))
        return open(path, "rb")
    except OSError as error:
        raise refusal(error.filename or path, error) from error


def how_many(path: str) -> str:
    """Of how many pieces an archive was put together, to end a message; "" where it is whole."""
    piece = PIECE.fullmatch(os.path.basename(path))
    if not piece:
        return ""
    stem = piece[1] or piece[3]
    count = len(_pieces(path, stem))
    known = f"; LUPerson is passed around in {LUPERSON_PARTS}" if "luperson" in stem.lower() else ""
    return f". It was put together from the {count} pieces that are there{known}"


def _pieces(path: str, stem: str) -> list[str]:
    """All pieces of a file in order; raises InputError where one is missing."""
    folder = os.path.dirname(path) or "."
    found: dict[str, str] = {}
    for name in listing.names(folder):
        piece = PIECE.fullmatch(name)
        if piece and (piece[1] or piece[3]) == stem:
            found[piece[2] or piece[4]] = os.path.join(folder, name)
    if not found:
        raise InputError(f"there is no file {path}")
    numbers = sorted(int(one) for one in found if one.isdigit())
    if numbers:
        expected = range(min(numbers[0], 1), numbers[-1] + 1)
        missing = [f"{number:03d}" for number in expected if number not in numbers]
        if missing:
            raise InputError(
                f"{os.path.join(folder, stem)} is cut into {len(expected)} pieces or more, of "
                f"which {', '.join(shorten(missing, 20))} are missing; put them all into one "
                "folder, none of them can be unpacked alone"
            )
    return [found[number] for number in sorted(found)]


class _Joined(io.RawIOBase):
    """Files one after the other as one."""

    def __init__(self, paths: list[str]) -> None:
        super().__init__()
        self._file: IO[bytes] | None = None  # before anything fails: `close` is called at the end
        self._paths = paths
        sizes = []
        for path in paths:
            with open(path, "rb") as piece:  # one that is refused later passes for damage
                sizes.append(os.fstat(piece.fileno()).st_size)
        self._starts = [0, *itertools.accumulate(sizes)]
        self._at, self._number = 0, -1

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._starts[-1]:
            return 0
        number = bisect.bisect_right(self._starts, self._at) - 1
        if number != self._number or self._file is None:
            self.close_piece()
            self._file, self._number = open(self._paths[number], "rb"), number  # noqa: SIM115
        self._file.seek(self._at - self._starts[number])
        count = self._file.readinto(memoryview(buffer))  # type: ignore[attr-defined]
        self._at += count
        return count

    def close_piece(self) -> None:
        if self._file is not None:
            self._file.close()

    def close(self) -> None:
        self.close_piece()
        super().close()
