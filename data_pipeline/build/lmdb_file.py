"""Writing an LMDB environment."""

import importlib
import pathlib
import shutil
from collections.abc import Iterable
from typing import Any

from data_pipeline.errors import InputError

FIRST_MAP_BYTES = 1 << 26
BATCH_ITEMS = 2000


def write_lmdb(path: pathlib.Path, items: Iterable[tuple[str, bytes]]) -> None:
    """Writes a folder with an LMDB environment; what lies there under this name is replaced.

    The map grows with the contents, so that it takes no more room than they do where files cannot
    have holes. After an error there is no folder.

    Args:
        path: the folder.
        items: keys, in ASCII, and values.

    Raises:
        InputError: the package lmdb is missing, a key comes twice, or the disk refuses.
    """
    try:
        lmdb = importlib.import_module("lmdb")
    except ImportError as error:
        raise InputError(
            "writing LMDB needs the package lmdb; pip install 'luperson_jax[lmdb]'"
        ) from error
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.mkdir(parents=True)
        quick = {"lock": False, "sync": False, "metasync": False}
        with lmdb.open(str(path), map_size=FIRST_MAP_BYTES, **quick) as environment:
            batch: list[tuple[bytes, bytes]] = []
            for key, value in items:
                batch.append((key.encode("ascii"), value))
                if len(batch) == BATCH_ITEMS:
                    _put(lmdb, environment, batch)
                    batch = []
            _put(lmdb, environment, batch)
            environment.sync(True)
    except (OSError, lmdb.Error) as error:
        shutil.rmtree(path, ignore_errors=True)
        raise InputError(f"cannot write {path}: {error}") from error
    except InputError:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _put(lmdb: Any, environment: Any, batch: list[tuple[bytes, bytes]]) -> None:
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in batch:
                    if not transaction.put(key, value, overwrite=False):
                        raise InputError(f"two pictures have the key {key.decode()}")
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
