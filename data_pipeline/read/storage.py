"""Where the bytes of a picture lie.

`media` of a table names a picture by a plain path, by `lmdb:ENVIRONMENT#KEY` or by
`array_record:FILE#NUMBER`, the number counting from 0.
"""

import os
from collections.abc import Callable

from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from data_pipeline.errors import InputError
from data_pipeline.read import listing, lmdb_store, protocol_buffers, record_sizes
from data_pipeline.read.opened import Opened
from data_pipeline.terminal import visible_name

# Shards that stay open, each with its index in memory.
MAX_OPEN = 256
READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
READER_BYTES = 1 << 15

# The first byte of a serialized `tf.train.Example`; no kind of picture begins so.
EXAMPLE_MAGIC = b"\n"
IMAGE = b"image"
# Field numbers of the messages Example, Features, the entries of their map, Feature, BytesList.
FEATURES, FEATURE, KEY, VALUE, BYTES_LIST, BYTES = 1, 1, 1, 2, 1, 1


def read(media: str) -> bytes:
    """The bytes of a picture.

    Raises:
        InputError: it is missing or the system refuses it.
    """
    scheme, found, place = media.partition(":")
    if not found or scheme not in SCHEMES:
        return _read_file(media)
    container, found, key = place.rpartition("#")
    if not found:
        raise InputError(f"{media} names no picture; expected {scheme}:PLACE#WHICH")
    return SCHEMES[scheme](container, key)


def close() -> None:
    """Closes the containers that are kept open for the next picture."""
    lmdb_store.ENVIRONMENTS.clear()
    RECORD_FILES.clear()


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        checks = "check the path, and that its disk is mounted"
        if not os.path.isabs(path):
            checks = (
                f"check the path: it was looked for in {os.getcwd()}; where it begins in another "
                "folder, work there or give the whole path"
            )
        raise InputError(f"cannot read {visible_name(path)}: {error.strerror}; {checks}") from error


def _read_record(path: str, number: str) -> bytes:
    if not (number.isascii() and number.isdigit()):
        raise InputError(f"{path}#{number} is no record; expected a number from 0 after the #")
    return RECORD_FILES.get(path).picture(int(number))


class RecordFile:
    """An ArrayRecord file of pictures, open for random access by several threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        if not listing.is_file(path):
            raise InputError(
                f"there is no file {path}; check that the data set is complete and mounted"
            )
        listing.check_opens(path)
        self._sizes = record_sizes.RecordSizes(path)
        self._reader = array_record_module.ArrayRecordReader(
            path, READER_OPTIONS, file_reader_buffer_size=READER_BYTES
        )
        # A damaged file is opened without a complaint and then gives empty records.
        if not self._reader.ok():
            raise InputError(f"{path} is no ArrayRecord file or a damaged one; copy it again")

    def picture(self, number: int) -> bytes:
        """The picture of a record: its bytes, or the feature `image` where it is an Example.

        Raises:
            InputError: there is no such record, it is damaged, or holds no picture.
        """
        if number >= self._reader.num_records():
            raise InputError(
                f"{self._path} has {self._reader.num_records()} records; there is no record "
                f"{number}, counted from 0"
            )
        self._sizes.check(number)
        try:
            (record,) = self._reader.read([number])
        except RuntimeError as error:
            raise InputError(
                f"record {number} of {self._path} is damaged ({error}); copy the file again"
            ) from error
        if not record.startswith(EXAMPLE_MAGIC):
            return record
        try:
            return image_of(record)
        except (IndexError, ValueError) as error:
            raise InputError(
                f"record {number} of {self._path} holds no picture: {error}"
            ) from error


def image_of(example: bytes) -> bytes:
    """The bytes feature `image` of a serialized `tf.train.Example`.

    Raises:
        ValueError, IndexError: it is no Example, or has no such feature.
    """
    for features in protocol_buffers.messages(example, FEATURES):
        for entry in protocol_buffers.messages(features, FEATURE):
            if any(key == IMAGE for key in protocol_buffers.messages(entry, KEY)):
                for feature in protocol_buffers.messages(entry, VALUE):
                    for values in protocol_buffers.messages(feature, BYTES_LIST):
                        for value in protocol_buffers.messages(values, BYTES):
                            return bytes(value)
    raise ValueError("an Example without a feature 'image' of bytes")


RECORD_FILES = Opened(RecordFile, MAX_OPEN)

SCHEMES: dict[str, Callable[[str, str], bytes]] = {
    "lmdb": lmdb_store.read,
    "array_record": _read_record,
}
"""Reader of (container, key) by the word before the colon."""
