"""Folders and picture files as the data sets' readers meet them."""

import difflib
import os
from collections.abc import Iterable

from data_pipeline.errors import InputError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm")


def is_picture(name: str) -> bool:
    """Whether a file name counts as a picture. Hidden files never do: macOS leaves `._x.jpg`."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def checked_root(root: str) -> str:
    """The folder of a data set, with `~` expanded.

    Raises:
        InputError: it does not exist or is not a folder; the message names the nearest one.
    """
    path = os.path.expanduser(root)
    if os.path.isdir(path):
        return path
    if os.path.exists(path):
        raise InputError(f"{root} is a file; expected the folder of the data set")
    parent, name = os.path.split(os.path.abspath(path))
    while not os.path.isdir(parent):
        parent, name = os.path.split(parent)
    raise InputError(
        f"{root} does not exist; expected the folder of the data set. "
        f"The path is good as far as {parent}, which {contents(parent, name)}"
    )


def contents(folder: str, wanted: str) -> str:
    """What a folder holds, for an error message: the nearest name first, then a few others."""
    folders = subfolders(folder)
    near = difflib.get_close_matches(wanted, folders, n=1, cutoff=0.6)
    if near:
        return f"has no folder {wanted!r} but has {near[0]!r}: is that the one?"
    if folders:
        return f"has no folder {wanted!r}; its folders are: {some(folders)}"
    return f"has no folder {wanted!r} and no other folder"


def subfolders(folder: str) -> list[str]:
    """Names of the visible folders in a folder, sorted."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def missing(home: str, names: Iterable[str]) -> list[str]:
    """Those of some paths below a folder that are not there. Each folder is listed once."""
    held: dict[str, set[str]] = {}
    absent = []
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder not in held:
            path = os.path.join(home, folder)
            held[folder] = set(os.listdir(path)) if os.path.isdir(path) else set()
        if file not in held[folder]:
            absent.append(name)
    return absent


def some(names: list[str], limit: int = 5) -> str:
    """A few names for a message, and how many more there are."""
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
