"""Containers of many pictures that stay open between two pictures."""

import collections
import os
import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

Container = TypeVar("Container")


class Opened(Generic[Container]):
    """The containers that this process has open: each one once, and a bounded number of them.

    Threads share them. One that is dropped is closed when the last thread is done with it. A
    forked process begins without any, so that it opens its own.
    """

    def __init__(self, open_one: Callable[[str], Container], limit: int) -> None:
        self._open_one, self._limit = open_one, limit
        self._alive: weakref.WeakValueDictionary[str, Container] = weakref.WeakValueDictionary()
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        # A child's copy of the lock may be held by a thread that the child does not have.
        self._lock = threading.Lock()
        self._recent: collections.OrderedDict[str, Container] = collections.OrderedDict()

    def get(self, path: str) -> Container:
        """The container, opened where it is not open yet; the opener's errors pass through."""
        with self._lock:
            if path in self._recent:
                self._recent.move_to_end(path)
                return self._recent[path]
            place = os.path.realpath(path)
            found = self._alive.get(place)
            if found is None:
                found = self._alive[place] = self._open_one(path)
            self._recent[path] = found
            if len(self._recent) > self._limit:
                self._recent.popitem(last=False)
            return found

    def clear(self) -> None:
        """Drops them all."""
        with self._lock:
            self._recent.clear()
