"""Where the commands write: JSON files, and checks before long work. `say` is the terminal's."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from data_pipeline.errors import InputError
from data_pipeline.read import atomic, listing
from data_pipeline.terminal import say as say


def check_folder(path: str | pathlib.Path | None, option: str) -> None:
    """Raises InputError where what is to be written later has no folder. None is welcome."""
    if path is not None and not listing.is_folder(pathlib.Path(path).absolute().parent):
        raise InputError(
            f"{option} is {path}, and there is no folder {pathlib.Path(path).parent}; make it first"
        )


def check_file(path: str | pathlib.Path | None, option: str) -> None:
    """Raises InputError where a file to be written later has no folder, or is one. None is
    welcome."""
    check_folder(path, option)
    if path is not None and listing.is_folder(path):
        raise InputError(f"{option} is {path}, which is a folder; give the name of a file")


def check_suffix(path: str | pathlib.Path | None, option: str, *suffixes: str) -> None:
    """Raises InputError where a file to be written later has another ending. None is welcome."""
    if path is not None and pathlib.Path(path).suffix not in suffixes:
        raise InputError(
            f"{option} is {path}; expected a name that ends in {' or '.join(suffixes)}"
        )


def make_folder(path: str | pathlib.Path) -> pathlib.Path:
    """Makes one folder.

    Raises:
        InputError: the system refuses.
    """
    folder = pathlib.Path(path)
    try:
        folder.mkdir()
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error}") from error
    return folder


def write_json(path: str | pathlib.Path, values: Mapping[str, Any]) -> None:
    """Writes values as JSON, whole or not at all."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    atomic.write_text(path, text)
