"""The lock of an index, for commands that change one."""

import contextlib
from collections.abc import Iterator

from luperson_jax.commands import output
from luperson_jax.serving.gallery_index import Index


@contextlib.contextmanager
def held(folder: str, *, existing: bool = False) -> Iterator[None]:
    """Within, no other process can change the index, see `Index.locked`; where the file system
    cannot lock, that is told."""
    with Index.locked(folder, existing=existing) as note:
        if note:
            output.say(note)
        yield
