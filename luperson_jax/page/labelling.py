"""Who is who, as people say it: identities that are merged, split and named by hand.

`Labelling` is a value; every change gives another one, and `History` keeps the former ones.
"""

import dataclasses
import threading
from collections.abc import Callable, Mapping

import numpy as np

from data_pipeline.errors import InputError

NOBODY = -1
MAX_UNDONE = 200


@dataclasses.dataclass(frozen=True)
class Labelling:
    """Identities of T items.

    Attributes:
        labels: [T] int64 identity from 0, -1 for none.
        names: what people call some of them.
    """

    labels: np.ndarray
    names: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def numbers(self) -> list[int]:
        """The identities, the one with the most items first."""
        numbers, sizes = np.unique(self.labels[self.labels != NOBODY], return_counts=True)
        return [int(one) for one in numbers[np.argsort(-sizes, kind="stable")]]

    def members(self, number: int) -> np.ndarray:
        """Items of an identity, or of none."""
        return np.flatnonzero(self.labels == number)

    def title(self, number: int) -> str:
        """What an identity is called."""
        if number == NOBODY:
            return "nobody yet"
        return self.names.get(number, f"identity {number}")

    def merged(self, into: int, other: int) -> "Labelling":
        """With all items of `other` given to `into`, which keeps its name or takes the other's.

        Raises:
            InputError: no such identities, or the same one twice.
        """
        for number in (into, other):
            self._check(number)
        if into == other:
            raise InputError(f"identity {into} cannot be merged with itself; choose another one")
        names = dict(self.names)
        name = names.pop(other, None)
        if name is not None:
            names.setdefault(into, name)
        return Labelling(np.where(self.labels == other, into, self.labels), names)

    def moved(self, items: np.ndarray, number: int | None) -> "Labelling":
        """With items given to an identity, to none (-1) or, None, to a new one.

        Raises:
            InputError: no such identity.
        """
        if number is None:
            number = self.next_number
        elif number != NOBODY:
            self._check(number)
        labels = self.labels.copy()
        labels[items] = number
        left = set(np.unique(labels).tolist())
        return Labelling(labels, {one: name for one, name in self.names.items() if one in left})

    def named(self, number: int, name: str) -> "Labelling":
        """With a name for an identity; an empty one takes it away.

        Raises:
            InputError: no such identity.
        """
        self._check(number)
        others = {one: text for one, text in self.names.items() if one != number}
        return Labelling(self.labels, others | ({number: name} if name else {}))

    @property
    def next_number(self) -> int:
        """That of an identity that is not there yet."""
        return int(self.labels.max(initial=NOBODY)) + 1

    def _check(self, number: int) -> None:
        if number < 0 or not np.any(self.labels == number):
            raise InputError(f"there is no identity {number}; it may have been merged or emptied")


class History:
    """The labelling as it stands, and what it was before each change."""

    def __init__(self, start: Labelling) -> None:
        self._lock = threading.Lock()
        self._past: list[tuple[str, Labelling]] = []
        self.now = start
        self.num_changes = 0

    def change(self, words: str, how: Callable[[Labelling], Labelling]) -> Labelling:
        """Changes the labelling.

        Args:
            words: what is done, for whom would undo it.
            how: gives the new labelling; where it raises, nothing has changed.
        """
        with self._lock:
            after = how(self.now)
            self._past = [*self._past[-MAX_UNDONE + 1 :], (words, self.now)]
            self.now = after
            self.num_changes += 1
            return after

    def undo(self) -> str:
        """Takes the last change back; its words.

        Raises:
            InputError: there is none.
        """
        with self._lock:
            if not self._past:
                raise InputError("there is nothing to undo")
            words, self.now = self._past.pop()
            self.num_changes -= 1
            return words

    @property
    def last(self) -> str:
        """Words of the last change; empty where there is none."""
        return self._past[-1][0] if self._past else ""
