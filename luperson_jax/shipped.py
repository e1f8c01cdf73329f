"""The configurations that come with the program, by name."""

import difflib
import pathlib

from data_pipeline.errors import InputError


def folder() -> pathlib.Path:
    """Where they lie: inside an installed package, or at the top of a checkout."""
    inside = pathlib.Path(__file__).parent / "configs"
    return inside if inside.is_dir() else pathlib.Path(__file__).parent.parent / "configs"


def names() -> list[str]:
    """What they are called, without `.py`."""
    return sorted(path.stem for path in folder().glob("*.py"))


def find(chosen: str) -> str:
    """The path of a configuration.

    Args:
        chosen: path of a file, or name of a shipped one, with or without `configs/` and `.py`.

    Raises:
        InputError: it is neither.
    """
    if pathlib.Path(chosen).is_file():
        return chosen
    name = chosen.removeprefix("configs/").removesuffix(".py")
    if name in names():
        return str(folder() / f"{name}.py")
    raise InputError(f"configuration {chosen!r} does not exist{_nearest(chosen, name)}")


def _nearest(chosen: str, name: str) -> str:
    beside = pathlib.Path(chosen).parent
    files = {path.stem: str(path) for path in beside.glob("*.py")}
    known = {one: one for one in names()} | (files if beside != pathlib.Path() else {})
    near = difflib.get_close_matches(pathlib.Path(name).name, known, n=1)
    if near:
        return f"; did you mean {known[near[0]]!r}?"
    return f"; give a file, or one of {', '.join(names())}"
