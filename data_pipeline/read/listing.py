"""What lies in a folder. One that the system refuses to show is an error, never an empty one.

`os.walk` passes over such a folder in silence, and `os.path.isdir` calls absent what it may not
look at: a data set would be read in part, and nothing would say so.
"""

import errno
import os
import stat
from collections.abc import Iterator

from data_pipeline.errors import ABSENT, refusal

# What file systems keep for themselves at the root of a disk, closed to everybody.
OF_THE_SYSTEM = ("lost+found", "System Volume Information", "$RECYCLE.BIN")

Path = str | os.PathLike[str]


def names(folder: Path) -> list[str]:
    """Names of all that is in a folder, sorted.

    Raises:
        InputError: it cannot be listed.
    """
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise refusal(folder, error) from error


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, links to folders among them; without hidden ones
    and those of the file system.

    Raises:
        InputError: it cannot be listed.
    """
    return _entries(folder)[0]


def walk(root: Path, follow_links: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Each folder from `root` down, before those in it, with the sorted names of its files.

    Folders are taken as `subfolders` does, in an order that the file system does not decide.

    Args:
        root: where to begin.
        follow_links: whether links to folders are followed; each folder is visited once.

    Raises:
        InputError: one of the folders cannot be listed.
    """
    visited: set[tuple[int, int]] = set()
    waiting = [os.fspath(root)]
    while waiting:
        folder = waiting.pop()
        inner, files = _entries(folder)
        if follow_links:
            status = os.stat(folder)
            # A link to a folder above would be walked for ever, one to a folder beside it twice.
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
        yield folder, files
        below = [os.path.join(folder, name) for name in inner]
        waiting += reversed([one for one in below if follow_links or not os.path.islink(one)])


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder.

    Raises:
        InputError: the system does not let one look.
    """
    return stat.S_ISDIR(_mode(path))


def is_file(path: Path) -> bool:
    """Whether a path leads to an ordinary file.

    Raises:
        InputError: the system does not let one look.
    """
    return stat.S_ISREG(_mode(path))


def exists(path: Path) -> bool:
    """Whether a path leads anywhere.

    Raises:
        InputError: the system does not let one look.
    """
    return bool(_mode(path))


def check_opens(path: Path) -> None:
    """What readers ask first, who take all that goes wrong later for damage of the file.

    Raises:
        InputError: a file is there, and the system does not open it.
    """
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        if error.errno not in (*ABSENT, errno.EISDIR):
            raise refusal(path, error) from error


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Sorted names of the folders in a folder, see `subfolders`, and of its files."""
    inner, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _is_folder(entry):
                    files.append(entry.name)
                elif not entry.name.startswith(".") and entry.name not in OF_THE_SYSTEM:
                    inner.append(entry.name)
    except OSError as error:
        raise refusal(folder, error) from error
    return sorted(inner), sorted(files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in ABSENT:
            return False  # a link that leads nowhere
        raise refusal(entry.path, error) from error


def _mode(path: Path) -> int:
    """The mode of what a path leads to; 0 where there is nothing."""
    try:
        return os.stat(path).st_mode
    except ValueError:
        return 0  # a NUL, which no path has
    except OSError as error:
        if error.errno in ABSENT:
            return 0
        raise refusal(path, error) from error
