"""Files that appear whole or not at all."""

import contextlib
import pathlib
from collections.abc import Iterator

from data_pipeline.errors import InputError


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file beside `path` to write to; it takes the place of `path` when the block is done.

    A process killed meanwhile leaves the former file, and perhaps one that ends in `.part`.

    Raises:
        InputError: the folder is missing or cannot be written to.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
