"""The configurations that come with the program, by name."""

import difflib
import pathlib

from data_pipeline.errors import InputError
from data_pipeline.read import listing


def folder() -> pathlib.Path:
    """Where they lie: inside an installed package, or at the top of a checkout."""
    inside = pathlib.Path(__file__).parent / "configs"
    return inside if listing.is_folder(inside) else pathlib.Path(__file__).parent.parent / "configs"


def names() -> list[str]:
    """What they are called, without `.py`."""
    return sorted(_files(folder()))


def find(chosen: str) -> str:
    """The path of a configuration.

    Args:
        chosen: path of a file, or name of a shipped one, with or without `configs/` and `.py`; the
            end of a name does where no other ends so: "mgn" is `finetune_mgn`.

    Raises:
        InputError: it is neither.
    """
    if listing.is_file(chosen):
        return chosen
    name = chosen.removeprefix("configs/").removesuffix(".py")
    known = names()
    meant = [one for one in known if one == name] or [one for one in known if _ends(one, name)]
    if len(meant) == 1:
        return str(folder() / f"{meant[0]}.py")
    raise InputError(f"configuration {chosen!r} does not exist{_nearest(chosen, name)}")


def _ends(known: str, name: str) -> bool:
    return known.endswith(f"_{name}")


def _nearest(chosen: str, name: str) -> str:
    beside = pathlib.Path(chosen).parent
    files = _files(beside) if beside != pathlib.Path() and listing.is_folder(beside) else {}
    known = {one: one for one in names()} | files
    near = difflib.get_close_matches(pathlib.Path(name).name, known, n=1)
    if near:
        return f"; did you mean {known[near[0]]!r}?"
    return f"; give a file, or one of {', '.join(names())}"


def _files(folder: pathlib.Path) -> dict[str, str]:
    """Name without `.py` -> path."""
    paths = [folder / name for name in listing.names(folder)]
    return {path.stem: str(path) for path in paths if path.suffix == ".py"}
