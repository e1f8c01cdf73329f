"""Folders and picture files as the data sets' readers meet them."""

import difflib
import os
from collections.abc import Iterable

from data_pipeline.errors import InputError
from data_pipeline.read import listing

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp", ".tif", ".tiff", ".gif")

# What folders of the parts of a set are called, in sets of a folder per person.
PARTS = {"train", "val", "valid", "validation", "test", "query", "gallery"}
PARTS |= {"bounding_box_train", "bounding_box_test"}


def is_picture(name: str) -> bool:
    """Whether a file name counts as a picture. Hidden files never do: macOS leaves `._x.jpg`."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def checked_root(root: str, expected: str = "the folder of the data set") -> str:
    """A folder that is there, with `~` expanded.

    Args:
        root: its path.
        expected: what it is to be, for messages.

    Raises:
        InputError: it does not exist or is not a folder; the message names the nearest one.
    """
    if not root.strip():
        raise InputError(f"the path {root!r} is empty; expected {expected}")
    path = os.path.expanduser(root)
    if listing.is_folder(path):
        return path
    if listing.exists(path):
        raise InputError(f"{root} is a file; expected {expected}")
    parent, name = os.path.split(os.path.abspath(path))
    while not listing.is_folder(parent):
        parent, name = os.path.split(parent)
    raise InputError(
        f"{root} does not exist; expected {expected}. "
        f"The path is good as far as {parent}, which {contents(parent, name)}"
    )


def roots(text: str) -> list[str]:
    """The folders that a text names: itself where it is a folder, else its parts between commas."""
    if text.strip() and listing.is_folder(os.path.expanduser(text)):
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()]


def check_picture(path: str) -> None:
    """Raises InputError where a path ends as a picture's, its folder is there, and it is not; the
    message names the nearest picture."""
    folder, name = os.path.split(path)
    home = folder or os.curdir
    if not is_picture(name) or listing.exists(path) or not listing.is_folder(home):
        return
    there = list(filter(is_picture, listing.names(home)))
    near = difflib.get_close_matches(name, there, n=1, cutoff=0.6)
    held = f"holds {len(there)} pictures of other names" if there else "holds no picture"
    hint = f"has {near[0]!r}: is that the one?" if near else held
    raise InputError(f"{path} does not exist; its folder, {os.path.abspath(home)}, {hint}")


def contents(folder: str, wanted: str) -> str:
    """What a folder holds, for an error message: the nearest name first, then a few others."""
    folders = listing.subfolders(folder)
    near = difflib.get_close_matches(wanted, folders, n=1, cutoff=0.6)
    if near:
        return f"has no folder {wanted!r} but has {near[0]!r}: is that the one?"
    if folders:
        return f"has no folder {wanted!r}; its folders are: {some(folders)}"
    return f"has no folder {wanted!r} and no other folder"


def people(root: str) -> list[str]:
    """Names of the folders of pictures in a folder that looks like one per person.

    All pictures lie one level down, in two folders or more, or two levels down below folders that
    are called as parts of a set are (`train`, `val`, ...). Empty where it looks like anything else.

    Raises:
        InputError: a folder cannot be read.
    """
    holding = [
        os.path.relpath(folder, root).split(os.sep)
        for folder, names in listing.walk(root, follow_links=True)
        if any(map(is_picture, names))
    ]
    if [os.curdir] in holding:
        return []
    depths = {len(way) for way in holding}
    names = {way[-1] for way in holding}
    above = {way[0].lower() for way in holding if len(way) == 2}
    fits = depths == {1} or (depths == {2} and above <= PARTS)
    return sorted(names) if fits and len(names) > 1 and not {*map(str.lower, names)} & PARTS else []


def missing(home: str, names: Iterable[str]) -> list[str]:
    """Those of some paths below a folder that are not there. Each folder is listed once."""
    held: dict[str, set[str]] = {}
    absent = []
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder not in held:
            path = os.path.join(home, folder)
            held[folder] = set(listing.names(path)) if listing.is_folder(path) else set()
        if file not in held[folder]:
            absent.append(name)
    return absent


def some(names: list[str], limit: int = 5) -> str:
    """A few names for a message, and how many more there are."""
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
