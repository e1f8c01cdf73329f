"""Pictures in LMDB, the form in which LUPerson is passed around: a key to a picture's bytes.

An environment is a folder with `data.mdb` in it, or that file itself under any name. Its package
is the extra `[lmdb]`, imported when one is opened.
"""

import itertools
import os
import types
from collections.abc import Iterable

from data_pipeline.errors import InputError
from data_pipeline.read import listing, lmdb_pages
from data_pipeline.read.opened import Opened

DATA_FILE = "data.mdb"
FILE_SUFFIXES = (".lmdb", ".mdb")
MAX_OPEN = 16

# Pictures that one transaction writes: what a kill loses, and what a full map repeats.
WRITE_IMAGES = 1000
FIRST_MAP_BYTES = 1 << 24


def is_environment(path: str) -> bool:
    """Whether a path looks like an environment: by its names, without opening it."""
    if listing.is_folder(path):
        return listing.is_file(os.path.join(path, DATA_FILE))
    return path.endswith(FILE_SUFFIXES) and listing.is_file(path)


def read(environment: str, key: str) -> bytes:
    """The bytes under a key.

    Raises:
        InputError: the extra `[lmdb]` is missing; there is no such environment or key; it is
            damaged.
    """
    return _open(environment).read(key)


def keys(environment: str, limit: int | None = None) -> list[str]:
    """All keys, or the first ones, sorted byte by byte. Those that begin with `__` hold notes of a
    writer, no picture.

    Raises:
        InputError: as `read`.
    """
    return _open(environment).keys(limit)


def size(environment: str) -> int:
    """Number of keys, notes included.

    Raises:
        InputError: as `read`.
    """
    return _open(environment).size()


def write_lmdb(path: str | os.PathLike, items: Iterable[tuple[str, bytes]]) -> int:
    """Puts pictures into an environment, which is made where it is missing and grows as needed.

    A write that was cut off is taken up again by the same call: what is there already is kept.

    Args:
        path: folder of the environment.
        items: keys, of 1 to 511 bytes, and what they stand for.

    Returns:
        Number of pictures written, without those that were there.

    Raises:
        InputError: the extra `[lmdb]` is missing; a key is too long or stands for something else
            already; the folder cannot be written to, or this program has it open for reading.
    """
    lmdb = _package()
    folder = os.fspath(path)
    ENVIRONMENTS.clear()
    written = 0
    try:
        os.makedirs(folder, exist_ok=True)
        with lmdb.open(folder, map_size=_map_size(folder)) as environment:
            waiting = iter(items)
            while batch := list(itertools.islice(waiting, WRITE_IMAGES)):
                written += _write(lmdb, environment, batch)
    except (OSError, lmdb.Error) as error:
        raise InputError(f"cannot write the LMDB environment {folder}: {error}") from error
    return written


def _write(lmdb: types.ModuleType, environment, batch: list[tuple[str, bytes]]) -> int:
    while True:
        try:
            with environment.begin(write=True) as transaction:
                return sum(_put(transaction, key, data) for key, data in batch)
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])


def _put(transaction, key: str, data: bytes) -> bool:
    name = key.encode("utf-8", "surrogateescape")
    if transaction.put(name, data, overwrite=False):
        return True
    if transaction.get(name) != data:
        raise InputError(
            f"the key {key} stands for another picture already; give each picture a key of its "
            "own, or write to an empty folder"
        )
    return False


def _map_size(folder: str) -> int:
    data = os.path.join(folder, DATA_FILE)
    present = os.path.getsize(data) if listing.exists(data) else 0
    return max(FIRST_MAP_BYTES, 2 * present)


class Environment:
    """An environment open for reading. Threads may share it, processes may not."""

    def __init__(self, path: str) -> None:
        self._lmdb = lmdb = _package()
        self._path = path
        folder = listing.is_folder(path)
        data = os.path.join(path, DATA_FILE) if folder else path
        if not listing.is_file(data):
            raise InputError(
                f"there is no LMDB environment {path}; expected a folder with {DATA_FILE} in it, "
                "or that file itself"
            )
        listing.check_opens(data)
        try:
            self._environment = lmdb.open(
                path, subdir=folder, readonly=True, lock=False, readahead=False, meminit=False
            )
            pages = self._environment.info()["last_pgno"] + 1
            expected = pages * self._environment.stat()["psize"]
        except (OSError, lmdb.Error) as error:
            raise InputError(
                f"{data} is no LMDB environment or a damaged one ({error}); copy it again"
            ) from error
        # Reading beyond the end of a file in memory ends the process.
        if os.path.getsize(data) < expected:
            raise InputError(
                f"{data} is cut off: it has {os.path.getsize(data)} bytes of {expected}; copy or "
                "unpack it again"
            )
        self._pages = lmdb_pages.Pages(data)

    def read(self, key: str) -> bytes:
        """The bytes under a key; raises InputError where there are none."""
        stored = key.encode("utf-8", "surrogateescape")
        self._pages.check(stored)
        try:
            with self._environment.begin() as transaction:
                data = transaction.get(stored)
        except self._lmdb.BadValsizeError:
            data = None  # a key that no environment can hold
        except self._lmdb.Error as error:
            raise InputError(
                f"cannot read {key} of {self._path}: {error}; it is damaged, copy it again"
            ) from error
        if data is None:
            raise InputError(
                f"{self._path} has no key {key!r}; it has {self.size()} keys such as "
                f"{', '.join(self.keys(3)) or 'none'}; do the list of keys and the environment "
                "belong together?"
            )
        return data

    def size(self) -> int:
        """Number of all keys."""
        return self._environment.stat()["entries"]

    def keys(self, limit: int | None) -> list[str]:
        """The first keys of pictures, or all.

        Raises:
            InputError: as `read`.
        """
        try:
            with self._environment.begin() as transaction, transaction.cursor() as cursor:
                names = (
                    key.decode("utf-8", "surrogateescape")
                    for key in cursor.iternext(keys=True, values=False)
                    if not key.startswith(b"__")
                )
                return list(itertools.islice(names, limit))
        except self._lmdb.Error as error:
            raise InputError(f"{self._path} is damaged ({error}); copy it again") from error


def _open(path: str) -> Environment:
    # By its folder, however it is named: LMDB does not know that the two are one.
    return ENVIRONMENTS.get(path.removesuffix(os.sep + DATA_FILE))


def _package() -> types.ModuleType:
    try:
        import lmdb
    except ImportError as error:
        raise InputError(
            "LMDB needs a package that is not installed; pip install 'luperson_jax[lmdb]' "
            "or pip install lmdb"
        ) from error
    return lmdb


ENVIRONMENTS = Opened(Environment, MAX_OPEN)
"""Those that this process reads; LMDB allows each one once."""
