"""Where the bytes of a picture lie.

`media` of a table names a picture by a plain path, by `lmdb:ENVIRONMENT#KEY` or by
`array_record:FILE#NUMBER`, the number counting from 0.
"""

from collections.abc import Callable, Iterator

from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from data_pipeline.errors import InputError
from data_pipeline.read import listing, lmdb_store
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
        raise InputError(
            f"cannot read {visible_name(path)}: {error.strerror}; check that the data set is "
            "complete and mounted"
        ) from error


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
    for features in _messages(example, FEATURES):
        for entry in _messages(features, FEATURE):
            if any(key == IMAGE for key in _messages(entry, KEY)):
                for feature in _messages(entry, VALUE):
                    for values in _messages(feature, BYTES_LIST):
                        for value in _messages(values, BYTES):
                            return bytes(value)
    raise ValueError("an Example without a feature 'image' of bytes")


def _messages(message: bytes | memoryview, wanted: int) -> Iterator[memoryview]:
    """The values of one field of a protocol buffer message: strings, bytes or messages."""
    view, at = memoryview(message), 0
    while at < len(view):
        tag, at = _varint(view, at)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            _, at = _varint(view, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size, at = _varint(view, at)
            if at + size > len(view):
                raise ValueError("it is cut off")
            if field == wanted:
                yield view[at : at + size]
            at += size
        else:
            raise ValueError("it is no Example")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        byte = view[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("it is no Example")


RECORD_FILES = Opened(RecordFile, MAX_OPEN)

SCHEMES: dict[str, Callable[[str, str], bytes]] = {
    "lmdb": lmdb_store.read,
    "array_record": _read_record,
}
"""Reader of (container, key) by the word before the colon."""
