"""What takes seconds or minutes, worked out in a thread while the page says so."""

import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

PATIENCE_S = 0.5


class Later:
    """Values by name, each made once, one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, futures.Future[Any]] = {}

    def start(self, name: str, make: Callable[[], Any]) -> futures.Future[Any]:
        """Begins with a value unless it has begun."""
        with self._lock:
            before = [one for one in self._made.values() if not one.done()]
            if name not in self._made:
                made: futures.Future[Any] = futures.Future()
                # A daemon: nobody who closes the page waits for it.
                arguments = (made, make, before)
                threading.Thread(target=_work, args=arguments, daemon=True).start()
                self._made[name] = made
            return self._made[name]

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """The value.

        Raises:
            StillWorking: it is not there yet.
        """
        try:
            return self.start(name, make).result(PATIENCE_S)
        except futures.TimeoutError:
            raise StillWorking(name) from None


class StillWorking(Exception):
    """A value is being made; its name is the argument."""


def _work(
    made: futures.Future[Any], make: Callable[[], Any], before: list[futures.Future[Any]]
) -> None:
    futures.wait(before)
    try:
        made.set_result(make())
    except BaseException as error:  # whoever asks for the value gets it
        made.set_exception(error)
