"""Unpacking archives of strangers: zip and tar, whole or cut into numbered pieces.

Nothing is written outside the folder, no link is made, and an archive that grows out of proportion
is refused. A file appears whole or not at all, and an unpacking that was cut off is taken up again.
"""

import bz2
import gzip
import lzma
import os
import pathlib
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, NamedTuple, cast

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.read.archive_parts import how_many, open_archive
from data_pipeline.read.atomic import replacing

MAX_RATIO = 100
# Small archives of text may shrink by more.
FREE_BYTES = 1 << 26
CHUNK = 1 << 20
# Headers of tar are read at once, whatever size they announce.
MAX_READ = 1 << 22

ZIP = b"PK"
FOREIGN = {b"7z\xbc\xaf\x27\x1c": "7-Zip", b"Rar!": "RAR"}
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}

# What damaged archives let out.
DAMAGED = (
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


class Extracted(NamedTuple):
    """Numbers of files written and of those that were there already; names that were left out."""

    written: int
    kept: int
    skipped: tuple[str, ...]


class _Member(NamedTuple):
    """One entry. `kind` is file, folder, link (relative to the archive's root: `target`) or
    what else it is, in words."""

    name: str
    kind: str
    size: int
    target: str
    open: Any


def extract(archive: str | os.PathLike, folder: str | os.PathLike) -> Extracted:
    """Unpacks an archive into a folder, which is made where it is missing.

    Files that are there already with the same size are kept, so that the same call goes on where
    an earlier one was cut off. Links to files that precede them become copies; other links are
    left out, and so are files whose names end in `.part`, the mark of unfinished ones.

    Args:
        archive: a zip or tar (.gz, .bz2, .xz) file, told by its content; or any piece of one that
            is cut into pieces, all of which lie beside it.
        folder: where to.

    Raises:
        InputError: it is missing, incomplete, damaged, needs a password or another program; it
            would write outside the folder, or grow to more than a hundred times its size.
    """
    home = pathlib.Path(folder)
    path = os.fspath(archive)
    writer = _Writer(path, home)
    with open_archive(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        for member in _members(path, file, size * MAX_RATIO + FREE_BYTES, home):
            writer.add(member)
    return Extracted(writer.written, writer.kept, tuple(writer.skipped))


class _Limited:
    """A stream that ends in an error where it grows out of proportion."""

    def __init__(self, path: str, file: IO[bytes], limit: int) -> None:
        self._path, self._file, self._limit = path, file, limit

    def read(self, size: int) -> bytes:
        if size > MAX_READ:
            raise InputError(f"{self._path} has a header of {size} bytes; it is damaged or harmful")
        data = self._file.read(size)
        self._check(self._file.tell())
        return data

    def seek(self, place: int) -> int:
        self._check(place)
        return self._file.seek(place)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, place: int) -> None:
        if place > self._limit:
            raise InputError(_out_of_proportion(self._path))


def _out_of_proportion(path: str) -> str:
    return (
        f"{path} would unpack to more than {MAX_RATIO} times its size, as archives do that are "
        "made to fill a disk; if you trust it, unpack it with another program"
    )


def _members(path: str, file: IO[bytes], limit: int, home: pathlib.Path) -> Iterator[_Member]:
    start = file.read(8)
    file.seek(0)
    for magic, program in FOREIGN.items():
        if start.startswith(magic):
            raise InputError(
                f"{path} is an archive of {program}, which needs a program of its own; unpack it "
                f"with `7z x {path}`"
            )
    try:
        if start.startswith(ZIP):
            yield from _zip_members(path, file, limit, home)
        else:
            yield from _tar_members(path, file, start, limit)
    except DAMAGED as error:
        raise InputError(
            f"{path} is no zip or tar archive, or a damaged or incomplete one ({error}); remove "
            f"what was unpacked from it, which may be damaged too, and get it again{how_many(path)}"
        ) from error


def _zip_members(path: str, file: IO[bytes], limit: int, home: pathlib.Path) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        total = sum(one.file_size for one in archive.infolist())
        if total > limit:
            raise InputError(_out_of_proportion(path))
        _check_space(path, total, home)
        for one in archive.infolist():
            if one.flag_bits & 1:
                raise InputError(f"{path} needs a password; unpack it with `7z x {path}`")
            mode = one.external_attr >> 16
            kind, target = "file", ""
            if one.is_dir():
                kind = "folder"
            elif stat.S_ISLNK(mode):
                with archive.open(one) as link:
                    content = link.read(MAX_READ).decode("utf-8", "surrogateescape")
                kind, target = "link", _beside(one.filename, content)
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                kind = "a device or pipe"
            yield _Member(
                one.filename, kind, one.file_size, target, lambda one=one: archive.open(one)
            )


def _check_space(path: str, total: int, home: pathlib.Path) -> None:
    """That the disk has room for all of it, before hours are spent."""
    place = next(one for one in (home.absolute(), *home.absolute().parents) if listing.exists(one))
    free = shutil.disk_usage(place).free
    if total > free and total - _present(home) > free:
        raise InputError(
            f"{path} unpacks to {total} bytes; {place} has room for {free}; free some or unpack "
            "it elsewhere"
        )


def _present(home: pathlib.Path) -> int:
    """Bytes that an earlier unpacking has written."""
    found = listing.walk(home) if listing.exists(home) else ()
    return sum(
        os.lstat(os.path.join(inner, one)).st_size for inner, names in found for one in names
    )


def _tar_members(path: str, file: IO[bytes], start: bytes, limit: int) -> Iterator[_Member]:
    openers = [opener for magic, opener in COMPRESSED.items() if start.startswith(magic)]
    stream = cast("IO[bytes]", openers[0](file)) if openers else file
    total = 0
    limited = cast("IO[bytes]", _Limited(path, stream, limit))
    with tarfile.open(fileobj=limited, mode="r:") as archive:
        while (one := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # millions would fill the memory
            total += one.size
            if total > limit:
                raise InputError(_out_of_proportion(path))
            kind, target = "a device or pipe", ""
            if one.isfile():
                kind = "file"
            elif one.isdir():
                kind = "folder"
            elif one.issym():
                kind, target = "link", _beside(one.name, one.linkname)
            elif one.islnk():
                kind, target = "link", one.linkname
            yield _Member(
                one.name, kind, one.size, target, lambda one=one: archive.extractfile(one)
            )
        # A damaged header is taken for the end; the true end is a block of zeros.
        limited.seek(archive.offset)
        if limited.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("a damaged header, or no end")
        while limited.read(CHUNK):
            pass  # the checksum of gzip stands at the very end


def _beside(name: str, target: str) -> str:
    """Where a link that lies in the archive as `name` points to, from the archive's root."""
    if target.startswith(("/", "\\")):
        return target
    return os.path.normpath(os.path.join(os.path.dirname(name), target))


class _Writer:
    """Writes the members of an archive into a folder."""

    def __init__(self, archive: str, home: pathlib.Path) -> None:
        self._archive, self._home = archive, home
        self._safe: set[pathlib.Path] = set()
        self.written = self.kept = 0
        self.skipped: list[str] = []

    def add(self, member: _Member) -> None:
        if member.kind not in ("file", "folder", "link"):
            raise InputError(f"{self._archive} holds {member.kind}: {member.name}; refused")
        place = self._place(member.name, member.name)
        if member.kind == "folder":
            self._make(place)
            return
        if place == self._home:
            raise InputError(f"{self._archive} holds a file without a name; it is damaged")
        self._make(place.parent)
        source = self._place(member.target, member.name) if member.kind == "link" else None
        unfinished = place.name.endswith(".part")  # the name of a file while it is written
        if unfinished or (source is not None and not self._is_ours(source)):
            self.skipped.append(member.name)
            return
        size = source.stat().st_size if source is not None else member.size
        if _is_file(place) and place.stat().st_size == size:
            self.kept += 1
            return
        with replacing(place, through=False) as part, open(part, "wb") as file:
            for piece in self._pieces(member, source):
                file.write(piece)
        self.written += 1

    def _pieces(self, member: _Member, source: pathlib.Path | None) -> Iterator[bytes]:
        """The content, with errors of reading told from those of writing."""
        try:
            with member.open() if source is None else open(source, "rb") as content:
                while piece := content.read(CHUNK):
                    yield piece
        except DAMAGED as error:
            raise InputError(
                f"{self._archive} is damaged or incomplete at {member.name} ({error}); get it "
                f"again{how_many(self._archive)}"
            ) from error

    def _place(self, name: str, shown: str) -> pathlib.Path:
        """The path within the folder; raises InputError where it leads out of it."""
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        rooted = name.startswith(("/", "\\")) or bool(re.match(r"[A-Za-z]:", name))
        if rooted or ".." in parts or "\0" in name:
            raise InputError(
                f"{self._archive} would write or read outside the folder, by {shown!r}; it is "
                "damaged or made to do harm, get it from another source"
            )
        return self._home.joinpath(*parts)

    def _make(self, folder: pathlib.Path) -> None:
        if folder in self._safe:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {folder}: {error.strerror}") from error
        self._check(folder)
        self._safe.add(folder)

    def _check(self, folder: pathlib.Path) -> None:
        home = os.path.realpath(self._home)
        if os.path.commonpath([home, os.path.realpath(folder)]) != home:
            raise InputError(
                f"{folder} is a link out of {self._home}; remove it or unpack elsewhere"
            )

    def _is_ours(self, source: pathlib.Path) -> bool:
        if not _is_file(source):
            return False
        self._check(source.parent)
        return True


def _is_file(path: pathlib.Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
