"""What people do with identities, as a form tells it."""

from collections.abc import Sequence

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.page.gallery import Gallery
from luperson_jax.page.labelling import NOBODY, History, Labelling
from luperson_jax.page.views import whole

MAX_NAME = 80


def change(gallery: Gallery, history: History, given: Sequence[tuple[str, str]]) -> str:
    """Does what a form asks for.

    Args:
        gallery: what is labelled.
        history: is changed.
        given: fields of the form: `action` (merge, new, move, nobody, join, name or undo), `id` of
            every item that was chosen, `identity` where it was done, and `to`, `query` or `name`.

    Returns:
        The address to show then.

    Raises:
        InputError: an unknown action, or one that is not possible.
    """
    fields = dict(given)
    action = fields.get("action", "")
    numbers = [whole(value, "id") for name, value in given if name == "id"]
    items = np.array([gallery.place(one) for one in numbers], np.int64)
    here = whole(fields.get("identity", str(NOBODY)), "identity")
    what = "tracklet" if gallery.has_tracklets else "picture"
    chosen = f"{len(items)} {what}{'' if len(items) == 1 else 's'}"

    if action in ("nobody", "new", "move", "join") and not len(items):
        raise InputError("nothing was chosen; tick one or more pictures first")
    if action == "undo":
        history.undo()
        return "/labels"
    if action == "merge":
        other = whole(fields.get("to", ""), "to")
        words = f"merging {other} into {here}"
        history.change(words, lambda now: now.merged(here, other))
        return address(here)
    if action == "name":
        name = " ".join(fields.get("name", "").split())[:MAX_NAME]
        history.change(f"naming {here}", lambda now: now.named(here, name))
        return address(here)
    if action == "nobody":
        after = history.change(f"taking out {chosen}", lambda now: now.moved(items, NOBODY))
        return _still(after, here)
    if action == "new":
        after = history.change(
            f"making an identity of {chosen}", lambda now: now.moved(items, None)
        )
        return address(int(after.labels[items[0]]))
    if action == "move":
        to = whole(fields.get("to", ""), "to")
        after = history.change(f"moving {chosen} to {to}", lambda now: now.moved(items, to))
        return _still(after, here)
    if action == "join":
        query = gallery.place(whole(fields.get("query", ""), "query"))
        after = history.change(
            f"joining {chosen}", lambda now: _joined(now, query, np.append(items, query))
        )
        return address(int(after.labels[query]))
    raise InputError(f"{action[:40]!r} is nothing that this page does")


def address(number: int) -> str:
    """Of the sheet of an identity."""
    return "/identities/nobody" if number == NOBODY else f"/identities/{number}"


def _joined(now: Labelling, query: int, items: np.ndarray) -> Labelling:
    """With items given to the identity of a query, or with it to a new one."""
    number = int(now.labels[query])
    return now.moved(items, None if number == NOBODY else number)


def _still(after: Labelling, here: int) -> str:
    """The sheet where something was done, or all of them where it is empty."""
    return address(here) if len(after.members(here)) else "/identities"
