"""Ctrl-C, and SIGTERM, which schedulers send before they take a machine away.

The first of them ends the work under way in good order; a second one ends the program at once.
Python hears of a signal between two of its own instructions alone: not while a library works in
one call, as the compiler of a program does for a minute. There a thread answers.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 1.0
"""Seconds after a signal in which a program may end without a word."""
WAITING = (
    "{} has come: the program ends when what is under way is done, such as a training step or the "
    "compiling of a program; a second signal ends it at once"
)


class Interrupted(BaseException):
    """A signal asked the program to end. No `Exception`, so that nothing takes it for a failure.

    Attributes:
        number: of the signal.
        status: what the program ends with, as shells have it: 130 or 143.
    """

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message or f"stopped by {signal.Signals(number).name}")
        self.number, self.status = number, 128 + number


class Signalled:
    """Whether a signal came.

    Attributes:
        number: of the signal; 0 where none came.
    """

    def __init__(self) -> None:
        self.number, self._raises = 0, False

    def receive(self, number: int) -> None:
        """Notes a signal, or raises `Interrupted` inside of `ending`."""
        self.number = number
        if self._raises:
            raise Interrupted(number)

    @contextlib.contextmanager
    def ending(self, *, allowed: bool = True) -> Iterator[None]:
        """A block without anything to save: a signal, also one before it, ends it at once.

        Raises:
            Interrupted: at a signal, where `allowed`.
        """
        if not allowed:
            yield
            return
        self._raises = True
        try:
            if self.number:
                raise Interrupted(self.number)
            yield
        finally:
            self._raises = False


@contextlib.contextmanager
def noted() -> Iterator[Signalled]:
    """Within, the first signal is noted, for the work to look at when it can stop."""
    signalled = Signalled()
    with _handling(signalled.receive):
        yield signalled


@contextlib.contextmanager
def raised(say: Callable[[str], None]) -> Iterator[None]:
    """Within, the first signal raises `Interrupted`. What lasts longer than `PATIENCE` from there
    is answered with a line, from a thread, and ends with a second signal whatever it does."""
    with _answered(say), noted() as signalled, signalled.ending():
        yield


@contextlib.contextmanager
def ending_at_once(say: Callable[[Interrupted], None]) -> Iterator[None]:
    """Within, the first signal ends the process where it stands, after `say`: for imports, which
    have nothing to save, and in which an exception is lost or taken for a broken library."""

    def end(number: int) -> None:
        ended = Interrupted(number)
        say(ended)
        os._exit(ended.status)

    with _handling(end):
        yield


@contextlib.contextmanager
def _answered(say: Callable[[str], None]) -> Iterator[None]:
    """See `raised`. The system's handler writes the number of each signal into a pipe at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    left = threading.Event()

    def answer() -> None:
        heard = 0
        while number := os.read(reading, 1)[0]:
            if number not in SIGNALS:
                continue
            heard += 1
            if heard > 1:
                os._exit(128 + number)
            if not left.wait(PATIENCE):
                say(WAITING.format(signal.Signals(number).name))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(former)
        os.write(writing, b"\0")
        thread.join()
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def _handling(receive: Callable[[int], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and it has them
        return

    # What a parent told its child to ignore (`nohup`, `&` in a script) stays ignored.
    former = {number: signal.getsignal(number) for number in SIGNALS}
    taken = [number for number in SIGNALS if former[number] not in (signal.SIG_IGN, None)]

    def handle(number: int, _: object) -> None:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)
        receive(number)

    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, former[number])
