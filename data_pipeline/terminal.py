"""What a program says: nothing that a terminal obeys, and no reader who can end its work.

All that commands and training say goes through `say`, `complain` and `console`, and their work
through `run`.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from data_pipeline import interruption
from data_pipeline.errors import InputError, out_of_memory, refusal

# Controls but for tab and newline; marks that turn the direction of writing or cannot be seen;
# bytes of file names that are not UTF-8, which Python keeps as surrogates.
_SPECIAL = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SPECIAL_IN_NAMES = re.compile("[\t\n]")
NOT_WRITTEN = "cannot write the standard output"
DONE = (
    "the work is done and the files asked for are written; send the output to where there is room"
)


def visible(text: str) -> str:
    """A text with its control characters shown, such as `\\x1b`; its lines stay lines."""
    return _SPECIAL.sub(_escaped, text)


def visible_name(name: object) -> str:
    """A name, such as that of a file, as one line without control characters."""
    return _SPECIAL_IN_NAMES.sub(_escaped, visible(str(name)))


def say(*lines: Any) -> None:
    """Lines, or tables of rich, on the standard output, at once."""
    for line in lines:
        if isinstance(line, str):
            sys.stdout.write(f"{visible(line)}\n")
        else:
            console().print(line)
    sys.stdout.flush()


def complain(program: str, error: object) -> None:
    """A message on the standard error."""
    sys.stderr.write(f"{program}: {visible(str(error))}\n")
    sys.stderr.flush()


def console(*, stderr: bool = False, quiet: bool = False, soft_wrap: bool = True):
    """A console of rich that takes every text as it is: no markup, no emoji, no colored numbers.

    Control characters pass it. Whoever puts names into a table takes `visible_name` of them.
    """
    import rich.console  # late: most commands only say lines

    return rich.console.Console(
        file=sys.stderr if stderr else sys.stdout,
        quiet=quiet,
        soft_wrap=soft_wrap,
        markup=False,
        emoji=False,
        highlight=False,
    )


def run(program: str, work: Callable[[], int]) -> int:
    """Does a program's work and returns its exit status.

    An output that cannot be written (a closed pipe, a full disk) does not end the work: what the
    program writes to files is written. A closed pipe is no fault: its reader has seen enough. What
    the encoding of the output lacks is escaped.

    Args:
        program: its name, for messages.
        work: gives the status.

    Returns:
        The status of `work`; 2 with one message where it raises InputError, where the system
        refuses a file or folder, or where the output could not be written; 1 where the memory did
        not suffice; 130 or 143 where Ctrl-C or SIGTERM ended it.
    """
    former = sys.stdout, sys.stderr
    # They are None where the program was started with them closed (`>&-`).
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        out, err = (Output(stream or nowhere) for stream in former)
        sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
        try:
            status = _status(program, work)
            out.flush()
            if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
                complain(program, f"{NOT_WRITTEN}: {out.failure.strerror or out.failure}; {DONE}")
                status = status or 2
            return status
        finally:
            out.flush()
            err.flush()
            sys.stdout, sys.stderr = former


def importing(program: str) -> contextlib.AbstractContextManager[None]:
    """A block that only imports, in which Ctrl-C and SIGTERM end the process with one line."""
    return interruption.ending_at_once(lambda ended: complain(program, ended))


def _status(program: str, work: Callable[[], int]) -> int:
    try:
        with interruption.raised(lambda words: complain(program, words)):
            return work()
    except interruption.Interrupted as ended:
        complain(program, ended)
        return ended.status
    except InputError as error:
        complain(program, error)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        complain(program, refusal(error.filename, error))
        return 2
    except MemoryError as error:
        complain(program, out_of_memory(error))
        return 1
    except SystemExit as end:  # argparse after a help
        if not isinstance(end.code, int | None):
            raise
        return end.code or 0


class Output:
    """A standard output that never raises: it escapes what its encoding lacks, and falls silent at
    the first failure.

    Attributes:
        failure: the first one, None so far as there was none.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Writes what can be written; tells the length of all of it."""
        with self._surviving():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding
                escaped = text.encode(encoding, "backslashreplace")
                self._stream.write(escaped.decode(encoding))
        return len(text)

    def flush(self) -> None:
        """As that of the stream."""
        with self._surviving():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = self.failure or error
            # What the stream still holds would fail again when the interpreter ends.
            with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name
        return f"\\x{code - 0xDC00:02x}"
    return found[0].encode("unicode_escape").decode("ascii")
