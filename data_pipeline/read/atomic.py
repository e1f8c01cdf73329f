"""Files that appear whole or not at all."""

import contextlib
import os
import pathlib
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator

from data_pipeline.errors import InputError

SUFFIX = ".part"
"""Of the names of what is being written."""
MAX_NAME = 255
"""Bytes of a file name."""
MAX_LINKS = 40
FOLDERS_OF_DESCRIPTORS = ("/dev/fd", "/proc/self/fd")


@contextlib.contextmanager
def replacing(path: str | pathlib.Path, *, through: bool = True) -> Iterator[pathlib.Path]:
    """A file beside `path` to write to; it takes the place of `path` when the block is done.

    A link is followed, and what it points to is replaced. What is no regular file (a pipe, a
    device, `/dev/stdout`) stays what it is and is sent the content when the block is done. The
    file beside it has a name that nobody can guess, so that none can be planted. A process killed
    meanwhile leaves the former file, and perhaps one that ends in `.part`.

    Args:
        path: the file.
        through: False replaces links, pipes and devices too, as a folder needs that is filled
            from an archive and must not reach out of itself.

    Raises:
        InputError: the folder is missing or cannot be written to, or the disk is full.
    """
    try:
        if not through:
            with _beside(pathlib.Path(path)) as part:
                yield part
        elif _is_special(path):
            with tempfile.TemporaryDirectory() as folder:
                part = pathlib.Path(folder, "part")
                yield part
                _send(part, path)
        else:
            with _beside(pathlib.Path(os.path.realpath(path))) as part:
                yield part
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def making(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder beside `folder` to fill; it gets that name when the block is done.

    Raises:
        InputError: it cannot be written, or `folder` exists and is not empty.
    """
    part = _part_of(folder)
    try:
        part.mkdir()
        yield part
        part.replace(folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Writes a text file as `replacing` does, in UTF-8.

    Parts of file names that are not UTF-8 (surrogates) appear as `\\udc..`.

    Raises:
        InputError: as `replacing`.
    """
    with replacing(path) as part:
        part.write_bytes(text.encode("utf-8", "backslashreplace"))


def is_part(name: str) -> bool:
    """Whether a file is called like one that a killed process left while it wrote."""
    return name.endswith(SUFFIX)


def _part_of(path: pathlib.Path) -> pathlib.Path:
    end = f".{secrets.token_hex(8)}{SUFFIX}"
    return path.with_name(os.fsdecode(os.fsencode(path.name)[: MAX_NAME - len(end)]) + end)


@contextlib.contextmanager
def _beside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    part = _part_of(path)
    # Exclusive, so that nothing that stands there already is followed. The system takes the umask
    # and the rights of the folder into account.
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    try:
        with contextlib.suppress(FileNotFoundError):
            former = path.lstat().st_mode
            if stat.S_ISREG(former):
                part.chmod(stat.S_IMODE(former))
        yield part
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _is_special(path: str | pathlib.Path) -> bool:
    """Whether something stands there that is neither a file nor a folder, or is open already."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:  # missing, or the attempt to write tells what is wrong
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _descriptor(path: str | pathlib.Path) -> int | None:
    """The number of the open file that a path such as `/dev/stdout` stands for.

    Opened by its name it would be emptied, where the output goes to a file.
    """
    folders = {os.path.realpath(one) for one in FOLDERS_OF_DESCRIPTORS}
    place = os.path.abspath(path)
    for _ in range(MAX_LINKS):
        home, name = os.path.split(place)
        if name.isdigit() and os.path.realpath(home) in folders:
            return int(name)
        if not os.path.islink(place):
            return None
        place = os.path.normpath(os.path.join(os.path.realpath(home), os.readlink(place)))
    return None


def _send(part: pathlib.Path, path: str | pathlib.Path) -> None:
    descriptor = _descriptor(path)
    if descriptor is None:
        opened = os.open(path, os.O_WRONLY | os.O_NOCTTY)
    else:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # what was said before comes before
        opened = os.dup(descriptor)
    # A reader that has closed its pipe has seen enough, as in `>(head -1)`.
    with (
        contextlib.suppress(BrokenPipeError),
        os.fdopen(opened, "wb") as stream,
        part.open("rb") as content,
    ):
        shutil.copyfileobj(content, stream)
