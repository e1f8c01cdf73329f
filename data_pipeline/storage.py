"""Where the bytes of a picture lie.

`media` of a table names a picture by a plain path, by `lmdb:ENVIRONMENT#KEY` or by
`array_record:FILE#NUMBER`.
"""

from collections.abc import Callable

from data_pipeline.errors import InputError


def read(media: str) -> bytes:
    """The bytes of a picture.

    Raises:
        InputError: it is missing or the system refuses it.
    """
    scheme, found, place = media.partition(":")
    if found and scheme in SCHEMES:
        return SCHEMES[scheme](*place.rsplit("#", 1))
    return _read_file(media)


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; check that the data set is complete and mounted"
        ) from error


SCHEMES: dict[str, Callable[[str, str], bytes]] = {}
"""Reader of (container, key) by the word before the colon."""
