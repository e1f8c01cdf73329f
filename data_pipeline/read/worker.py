"""What a decoding process imports in place of the program's main module.

A spawned process begins by importing the main module of its parent. For a training program that
means the model code and JAX, in each of many processes that only decode pictures; for a script
without an `if __name__ == "__main__"` guard it means running the script again.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator

from absl import logging

_starting = threading.Lock()


def end_with_parent() -> None:
    """Ends this process when the one that started it ends, killed or not.

    Otherwise it would go on, and write into a folder that the next run is filling.
    """
    # Ctrl-C reaches all processes of a terminal: what it ends is the parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def begin_decoding(number: int, count: int) -> None:
    """What each process of a loader does first; grain gives its number and how many there are.

    grain's own processes would outlive a killed program, and hold all shared memory with it.
    """
    end_with_parent()


@contextlib.contextmanager
def as_main_module() -> Iterator[None]:
    """Processes spawned inside this context import this module as their main module."""
    with _starting:
        program = sys.modules["__main__"]
        sys.modules["__main__"] = sys.modules[__name__]
        try:
            yield
        finally:
            sys.modules["__main__"] = program


if __name__ == "__mp_main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in `end_with_parent`
    # grain takes JAX's tree functions where JAX can be imported, and its own ones otherwise. Its
    # import warns of that, in each process.
    sys.modules["jax"] = None  # type: ignore[assignment]
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    importlib.import_module("grain")
    logging.set_verbosity(verbosity)
