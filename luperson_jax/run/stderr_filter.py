"""What a job says that ends because another of its processes did: one line in place of a stack.

JAX ends such a process from within, with an abort, and no code of ours can run then. So its
standard error goes through this program, which outlives it. It stands alone: nothing is imported
that takes time.
"""

import re
import signal
import sys
from collections.abc import Iterable, Iterator

ABOUT_THE_JOB = re.compile(
    rb"[EFW]\d{4} \S+ +\d+ (coordination_service|client\.h|preemption_sync_manager)"
)
"""How the lines begin that JAX says of other processes."""
FATAL = b"Terminating process because the JAX distributed service detected fatal errors"


def replaced(lines: Iterable[bytes], words: bytes) -> Iterator[bytes]:
    """The lines, and in place of JAX's last ones `words`, where these have not been said already.

    What begins like a report on the job is kept until it is known whether the process ends of it.
    """
    kept: list[bytes] = []
    said = False
    for line in lines:
        if kept or ABOUT_THE_JOB.match(line):
            kept.append(line)
        else:
            said = said or words in line
            yield line
    if not any(FATAL in line for line in kept):
        yield from kept
    elif not said:
        yield words + b"\n"


def main() -> None:
    """Passes the standard input on, until the last process that writes to it has ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for line in replaced(sys.stdin.buffer, sys.argv[1].encode()):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
