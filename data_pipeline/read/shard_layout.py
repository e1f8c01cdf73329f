"""What a packed folder holds, and how its tables are written and read.

    packed.json                                       what it is; written last
    index.npz                                         names and labels of all pictures
    luperson_NAME-PART.array_record-00000-of-00002    the pictures
    features.json, dataset_info.json                  for `tfds.builder_from_directory`

Pictures are stored in the order of their names: packing reads the source from front to back, the
frames of a tracklet lie side by side, and media sort as names do. The rows of the tables keep the
order that they have unpacked, which tells nothing about identity; the index says where each goes.

The index has one set of columns a shard, so that a process that writes a shard reads no more:
`PART/00000/names` (UTF-8, joined), `lengths` (bytes of each name), `rows` (places in the table),
`pid`, `camera` and `track`.
"""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import array_files, atomic, listing
from data_pipeline.table.paths import Paths
from data_pipeline.table.records import Splits, Table, empty_table

PACK_AGAIN = "it is damaged; pack the data set once more"

FORMAT = 1
DESCRIPTION = "packed.json"
UNFINISHED = "packing.json"
INDEX = "index.npz"
PARTS = ("train", "query", "gallery")
LABELS = ("pid", "camera", "track")


@dataclasses.dataclass(frozen=True)
class Shard:
    """The index of one shard.

    Attributes:
        names: [N] ascending.
        rows: [N] int64 places in the table of the part.
        pid, camera, track: [N] int64.
    """

    names: Paths
    rows: np.ndarray
    pid: np.ndarray
    camera: np.ndarray
    track: np.ndarray


def source_prefix(tables: Iterable[Table]) -> str:
    """What the media of all rows begin with: whole folders, none of the last two components.

    Those two stay in the names because fingerprints and the order of rows look at them.
    """
    folders = {_folder(media) for table in tables for media in table.media}
    ends = (folder.split("/")[:-1] for folder in (min(folders), max(folders)))
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*ends, strict=False))
    return "".join(f"{name}/" for name, _ in shared)


def _folder(media: str) -> str:
    parts = media.rsplit("/", 2)
    return f"{parts[0]}/" if len(parts) == 3 else ""


def shards_of(table: Table, prefix: str, shard_images: int) -> list[Shard]:
    """The rows by ascending name, cut into pieces of `shard_images`, the last one smaller."""
    names = [media[len(prefix) :] for media in table.media]
    order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    pieces = (order[at : at + shard_images] for at in range(0, len(order), shard_images))
    return [
        Shard(
            Paths.of(names[row] for row in rows),
            rows,
            *(getattr(table, label)[rows] for label in LABELS),
        )
        for rows in pieces
    ]


def write_index(home: pathlib.Path, parts: Mapping[str, Sequence[Shard]]) -> None:
    """Writes the index of all parts; equal shards give equal bytes."""
    columns: dict[str, Any] = {
        f"{part}/{number:05d}/{name}": column
        for part, shards in parts.items()
        for number, shard in enumerate(shards)
        for name, column in _columns(shard).items()
    }
    with atomic.replacing(home / INDEX) as path, open(path, "wb") as file:
        np.savez(file, **columns)


def _columns(shard: Shard) -> dict[str, np.ndarray]:
    encoded = list(shard.names.encoded())
    columns = {
        "names": np.frombuffer(b"".join(encoded), np.uint8),
        "lengths": np.array([len(name) for name in encoded], np.uint32),
        "rows": shard.rows.astype(np.uint32),
    }
    for label in LABELS:
        column = getattr(shard, label)
        smallest = np.result_type(
            np.min_scalar_type(column.min()), np.min_scalar_type(column.max()), np.int8
        )
        columns[label] = column.astype(smallest)
    return columns


def read_shard(home: pathlib.Path, part: str, number: int) -> Shard:
    """The index of one shard."""
    with array_files.open_npz(home / INDEX, PACK_AGAIN) as arrays:
        columns = _read(arrays, part, number)
    ends = np.cumsum(columns["lengths"], dtype=np.int64)
    names = Paths(columns["names"].tobytes(), ends - columns["lengths"], ends)
    return Shard(
        names, columns["rows"].astype(np.int64), *(columns[one].astype(np.int64) for one in LABELS)
    )


def _read(arrays: array_files.Arrays, part: str, number: int) -> dict[str, np.ndarray]:
    names = ("names", "lengths", "rows", *LABELS)
    return {name: arrays[f"{part}/{number:05d}/{name}"] for name in names}


def write_description(path: pathlib.Path, description: Mapping[str, Any]) -> None:
    """Writes what is known of a packed folder, for programs and people."""
    atomic.write_text(path, json.dumps(description, indent=1, ensure_ascii=False) + "\n")


def read_description(path: pathlib.Path) -> dict[str, Any]:
    """What `write_description` wrote.

    Raises:
        InputError: the file is refused, damaged or of another format.
    """
    listing.check_opens(path)
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        found = description["format"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read as the description of a packed data set ({error!r}); "
            "pack it once more"
        ) from error
    if found != FORMAT:
        raise InputError(f"{path} is of format {found}; this version reads format {FORMAT}")
    return description


def open_packed(home: pathlib.Path) -> tuple[dict[str, Any], Splits]:
    """The description of a packed folder and its tables. No picture is read.

    Raises:
        InputError: packing has not ended, or a file is missing, too short or damaged.
    """
    description = read_description(home / DESCRIPTION)
    try:
        files = description["bytes"]
        lengths = {part: description["parts"][part]["shards"] for part in description["parts"]}
    except (KeyError, TypeError) as error:
        raise InputError(f"{home / DESCRIPTION} lacks {error}; pack the data set again") from error
    for file, size in files.items():
        found = (home / file).stat().st_size if listing.is_file(home / file) else None
        if found != size:
            raise InputError(
                f"{home / file} "
                + ("is missing" if found is None else f"has {found} bytes")
                + f"; expected {size} bytes. Copy the packed folder anew, or pack it once more"
            )
    with array_files.open_npz(home / INDEX, PACK_AGAIN) as arrays:
        try:
            tables = {part: _table(home, part, arrays, lengths.get(part, {})) for part in PARTS}
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise InputError(
                f"{home / INDEX} and {home / DESCRIPTION} do not belong together ({error}); "
                f"{PACK_AGAIN}"
            ) from error
    return description, Splits(**tables)


def _table(
    home: pathlib.Path, part: str, arrays: array_files.Arrays, shards: Mapping[str, int]
) -> Table:
    if not shards:
        return empty_table()
    pieces = [_read(arrays, part, number) for number in range(len(shards))]
    found = [len(piece["rows"]) for piece in pieces]
    if found != list(shards.values()):
        raise ValueError(f"shards of {found} pictures, {list(shards.values())} expected")
    columns = {name: np.concatenate([one[name] for one in pieces]) for name in pieces[0]}
    del pieces
    ends = np.cumsum(columns["lengths"], dtype=np.int64)
    names = Paths(columns["names"].tobytes(), ends - columns["lengths"], ends)
    order = np.empty(len(ends), np.int64)
    order[columns["rows"]] = np.arange(len(ends))
    table = Table(
        _media(home, shards), *(columns[label].astype(np.int64) for label in LABELS), names=names
    )
    return table.take(order)


def _media(home: pathlib.Path, shards: Mapping[str, int]) -> Paths:
    """`array_record:FILE#NUMBER` of each record; numbers have equally many digits, so that media
    sort as records do."""
    width = len(str(max(shards.values()) - 1))
    blocks, lengths = [], []
    for file, images in shards.items():
        prefix = f"array_record:{home / file}#".encode("utf-8", "surrogateescape")
        block = np.empty((images, len(prefix) + width), np.uint8)
        block[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
        digits = np.arange(images)[:, None] // 10 ** np.arange(width - 1, -1, -1) % 10
        block[:, len(prefix) :] = digits + ord("0")
        blocks.append(block.tobytes())
        lengths.append(np.full(images, len(prefix) + width, np.int64))
    ends = np.cumsum(np.concatenate(lengths))
    return Paths(b"".join(blocks), ends - np.concatenate(lengths), ends)
