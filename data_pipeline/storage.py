"""Where the bytes of a picture lie. A reader is anything called as `read(key) -> bytes`."""

from data_pipeline.errors import InputError


def read(key: str) -> bytes:
    """The bytes of the plain file whose path is `key`.

    Raises:
        InputError: the file is missing or the system refuses it.
    """
    try:
        with open(key, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(
            f"cannot read {key}: {error.strerror}; check that the data set is complete and mounted"
        ) from error
