"""An index for faiss or usearch, and back: vectors and numbers, with what is known of the pictures.

A folder holds the library's own file (`index.faiss` or `index.usearch`), whose ids are the numbers
of the pictures, and `columns.parquet`: id, key, camera, time, and in its metadata the digest of the
weights that made the features, where they were read from, and the names of cameras. Those libraries
search fast and approximately, or many at once; the vectors are of unit length, so that their inner
product is the cosine.
"""

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from data_pipeline.errors import InputError
from data_pipeline.read import atomic, listing
from luperson_jax import libraries
from luperson_jax.serving.camera_names import CameraNames
from luperson_jax.serving.gallery_index import Index
from luperson_jax.serving.index_columns import IndexColumns
from luperson_jax.serving.reid_model import ReidModel

COLUMNS, ABOUT = "columns.parquet", b"luperson_jax.index"
NEIGHBORS, QUERIES = 10, 64
"""What is asked of what was written: the nearest of so many of its own pictures."""
EXACT = 1e-4
"""Largest difference of a cosine by another sum."""


class Handover(NamedTuple):
    """How what was written answers, on pictures of its own.

    Attributes:
        pictures: in the index.
        recall: share of our nearest pictures that the library finds too.
        difference: the largest of distances of one picture.
    """

    pictures: int
    recall: float
    difference: float


def _add_faiss(faiss: Any, features: np.ndarray, ids: np.ndarray, approximate: bool) -> Any:
    kind = "IDMap2,HNSW32" if approximate else "IDMap2,Flat"
    made = faiss.index_factory(features.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    made.add_with_ids(features, ids)
    return made


def _read_faiss(faiss: Any, path: str) -> tuple[np.ndarray, np.ndarray]:
    found = faiss.read_index(path)
    ids = faiss.vector_to_array(found.id_map).astype(np.int64)
    return ids, found.index.reconstruct_n(0, found.ntotal)


def _search_faiss(faiss: Any, path: str, query: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
    cosine, ids = faiss.read_index(path).search(query, k)
    return ids, 1 - cosine


def _add_usearch(usearch: Any, features: np.ndarray, ids: np.ndarray, approximate: bool) -> Any:
    made = usearch.Index(ndim=features.shape[1], metric="ip", dtype="f32")
    made.add(ids.astype(np.uint64), features)
    return made


def _read_usearch(usearch: Any, path: str) -> tuple[np.ndarray, np.ndarray]:
    found = usearch.Index.restore(path)
    ids = np.asarray(found.keys, np.uint64)
    return ids.astype(np.int64), np.asarray(found.get(ids), np.float32)


def _search_usearch(usearch: Any, path: str, query: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
    found = usearch.Index.restore(path).search(query, k)
    rows = (len(query), -1)
    return np.asarray(found.keys).reshape(rows).astype(np.int64), found.distances.reshape(rows)


class Library(NamedTuple):
    """A library: its module and file, and how it adds, writes, reads and searches."""

    module: str
    file: str
    add: Callable[..., Any]
    write: Callable[[Any, Any, str], Any]
    read: Callable[[Any, str], tuple[np.ndarray, np.ndarray]]
    search: Callable[[Any, str, np.ndarray, int], tuple[np.ndarray, ...]]


LIBRARIES = {
    "faiss": Library(
        *("faiss", "index.faiss", _add_faiss),
        lambda faiss, made, path: faiss.write_index(made, path),
        *(_read_faiss, _search_faiss),
    ),
    "usearch": Library(
        *("usearch.index", "index.usearch", _add_usearch),
        lambda usearch, made, path: made.save(path),
        *(_read_usearch, _search_usearch),
    ),
}


def hand_over(
    index: Index, folder: str | os.PathLike, library: str, *, approximate: bool = False
) -> Handover:
    """Writes an index for another library, if vectors and numbers come back as they are.

    Args:
        index: of `Index.build` or `Index.open`.
        folder: to be made.
        library: "faiss" or "usearch".
        approximate: of faiss, a graph (HNSW) in place of all products; usearch has only a graph.

    Returns:
        How what was written answers.

    Raises:
        InputError: the library is not installed, the folder exists, the index is empty, or what
            was written gives other vectors, or other answers where it is exact.
    """
    home, chosen = pathlib.Path(folder), _library(library)
    module = libraries.extra(chosen.module, "ann")
    if listing.exists(home):
        raise InputError(f"{home} exists; delete it, or write to another name")
    if not len(index):
        raise InputError("the index is empty; there is nothing to hand over")
    ids = np.asarray(index.columns.id, np.int64)
    features = index.features()
    with atomic.making(home) as part:
        path = str(part / chosen.file)
        chosen.write(module, chosen.add(module, features, ids, approximate), path)
        table = pa.table(index.columns._asdict())
        about = [index.made_by, index.made_with, index.cameras.values()]
        table = table.replace_schema_metadata({ABOUT: json.dumps(about).encode()})
        pyarrow.parquet.write_table(table, part / COLUMNS)
        _check_vectors(chosen.read(module, path), ids, features)
        found = _compared(index, features, chosen.search, module, path)
        if library == "faiss" and not approximate and found.difference > EXACT:
            raise InputError(f"faiss answers otherwise than the index: {found}")
        return found


def take_over(folder: str | os.PathLike, library: str, model: ReidModel | None = None) -> Index:
    """The index that `hand_over` wrote, from the vectors that the library keeps.

    Args:
        folder: of `hand_over`.
        library: "faiss" or "usearch".
        model: the one whose features they are, where pictures are searched.

    Raises:
        InputError: the library is not installed, the folder holds something else, or the weights of
            the model are others.
    """
    home, chosen = pathlib.Path(folder), _library(library)
    module = libraries.extra(chosen.module, "ann")
    try:
        table = pyarrow.parquet.read_table(home / COLUMNS)
        made_by, made_with, named = json.loads((table.schema.metadata or {})[ABOUT])
        columns = IndexColumns(*(table.column(one).to_numpy() for one in IndexColumns._fields))
        cameras = CameraNames.of_values(named, columns.camera)
        ids, features = chosen.read(module, str(home / chosen.file))
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError),
        pa.ArrowException,
    ) as error:
        raise InputError(
            f"{home} cannot be read as an index of {library} ({error}); expected {chosen.file} and "
            f"{COLUMNS}"
        ) from error
    order, wanted = np.argsort(ids), np.argsort(columns.id)
    if not np.array_equal(ids[order], columns.id[wanted]):
        raise InputError(f"{home / chosen.file} and {COLUMNS} are of other pictures")
    rows = np.empty(len(ids), np.int64)
    rows[wanted] = order
    parts = (np.ascontiguousarray(features[rows]),)
    found = Index(parts, np.arange(len(rows)), columns, None, made_by, made_with, cameras)
    return found if model is None else found.with_model(model, home)


def _library(name: str) -> Library:
    if name not in LIBRARIES:
        raise InputError(f"no library is called {name!r}; valid are {', '.join(LIBRARIES)}")
    return LIBRARIES[name]


def _check_vectors(
    found: tuple[np.ndarray, np.ndarray], ids: np.ndarray, features: np.ndarray
) -> None:
    order, wanted = np.argsort(found[0]), np.argsort(ids)
    same = np.array_equal(found[0][order], ids[wanted])
    if not (same and np.array_equal(found[1][order], features[wanted])):
        raise InputError("the library does not give back the vectors and numbers that it was given")


def _compared(
    index: Index, features: np.ndarray, search: Callable[..., Any], module: Any, path: str
) -> Handover:
    query, k = features[:: max(len(features) // QUERIES, 1)][:QUERIES], min(NEIGHBORS, len(index))
    theirs, distance = search(module, path, query, k)
    ours = index.search(query, k)
    shared, worst = 0, 0.0
    for matches, row, far in zip(ours, theirs, distance, strict=True):
        known = {match.id: match.distance for match in matches}
        both = [
            (known[one], d)
            for one, d in zip(row.tolist(), far.tolist(), strict=True)
            if one in known
        ]
        shared += len(both)
        worst = max([worst, *(abs(a - b) for a, b in both)])
    return Handover(len(index), shared / (len(query) * k), worst)
