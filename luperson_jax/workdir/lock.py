"""One run at a time in a workdir."""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator

from data_pipeline.errors import InputError

LOCK_FILE = "lock"
TAKEN = (errno.EACCES, errno.EAGAIN)
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[str | None]:
    """Within, no other process can hold this workdir.

    A POSIX lock, which network file systems know too. The system takes it back when its process
    ends, in whatever way, so that no stale lock remains; the file itself stays.

    Yields:
        None, or why the file system cannot lock: the workdir is then not protected.

    Raises:
        InputError: another process holds it; or the workdir cannot be written.
    """
    path = workdir / LOCK_FILE
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(f"cannot write to the workdir {str(workdir)!r}: {error}") from error
    # The lock of a process goes with the first descriptor of the file that it closes.
    try:
        yield _take(descriptor, workdir)
    finally:
        os.close(descriptor)


def _take(descriptor: int, workdir: pathlib.Path) -> str | None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in TAKEN:
            raise InputError(
                f"another run is using the workdir {str(workdir)!r}: {_holder(descriptor)}; wait "
                "for it or stop it, or give another --workdir"
            ) from error
        if error.errno not in UNSUPPORTED:
            raise InputError(f"cannot lock {workdir / LOCK_FILE}: {error}") from error
        return (
            f"note: {workdir} cannot be locked ({error.strerror}); see to it that no other run "
            "uses it"
        )
    now = datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds")
    words = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
    with contextlib.suppress(OSError):  # a full disk: the lock holds, its file names nobody
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{json.dumps(words)}\n".encode(), 0)
    return None


def _holder(descriptor: int) -> str:
    try:
        words = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {words['pid']} on {words['host']}, since {words['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its lock file does not say who"
