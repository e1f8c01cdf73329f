"""One process at a time that writes in a folder: a run in its workdir, a writer of an index."""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import NamedTuple

from data_pipeline.errors import InputError

LOCK_FILE = "lock"
TAKEN = (errno.EACCES, errno.EAGAIN)
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class Words(NamedTuple):
    """How messages speak of a folder, of who holds it, and of what to do then."""

    folder: str = "the workdir"
    holder: str = "another run is using"
    advice: str = "wait for it or stop it, or give another --workdir"


OF_A_RUN = Words()


@contextlib.contextmanager
def held(folder: pathlib.Path, words: Words = OF_A_RUN) -> Iterator[str | None]:
    """Within, no other process can hold this folder, which is made where it is missing.

    A POSIX lock, which network file systems know too. The system takes it back when its process
    ends, in whatever way, so that no stale lock remains; the file itself stays. It is the lock of
    a process: within the block the same process must not take it again.

    Yields:
        None, or why the file system cannot lock: the folder is then not protected.

    Raises:
        InputError: another process holds it; or the folder cannot be written.
    """
    path = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(f"cannot write to {words.folder} {str(folder)!r}: {error}") from error
    # The lock of a process goes with the first descriptor of the file that it closes.
    try:
        yield _take(descriptor, folder, words)
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: pathlib.Path, words: Words) -> str | None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in TAKEN:
            raise InputError(
                f"{words.holder} {words.folder} {str(folder)!r}: {_holder(descriptor)}; "
                f"{words.advice}"
            ) from error
        if error.errno not in UNSUPPORTED:
            raise InputError(f"cannot lock {folder / LOCK_FILE}: {error}") from error
        return (
            f"note: {folder} cannot be locked ({error.strerror}); see to it that no other process "
            "writes in it"
        )
    now = datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds")
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
    with contextlib.suppress(OSError):  # a full disk: the lock holds, its file names nobody
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{json.dumps(holder)}\n".encode(), 0)
    return None


def _holder(descriptor: int) -> str:
    try:
        words = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {words['pid']} on {words['host']}, since {words['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its lock file does not say who"
