"""Packs a data set into ArrayRecord files that both `packed` and TensorFlow Datasets open.

The shards are written here and not by `download_and_prepare` of TensorFlow Datasets. That writes
in one process, begins anew where it was killed, and leaves the order of a record's fields to
protobuf. Features, records, file names and metadata are theirs, so that
`tfds.builder_from_directory` reads the result.
"""

import importlib.metadata
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.packing import examples, plan, shards
from data_pipeline.read import listing, shard_layout

SHARD_IMAGES = 10_000
FORM = "array_record"


def pack(
    name: str,
    root: str,
    out: str,
    *,
    split: int = 0,
    shard_images: int = SHARD_IMAGES,
    workers: int = 0,
    beam: Sequence[str] | None = None,
    progress: plan.Progress = plan.no_progress,
) -> dict[str, Any]:
    """Writes the pictures and tables of a data set into a folder that the data set `packed` opens.

    Bytes of pictures stay as they are. Killed and started again with the same arguments, it goes
    on with the shards that are missing; the result does not depend on that, nor on `workers`.

    Args:
        name: the word of the data set.
        root: its folder, or several separated by commas.
        out: folder to fill; absent, empty, or where the same packing was interrupted.
        split: which of the published divisions, of sets that have several.
        shard_images: pictures in one file.
        workers: processes; fewer than two work in this one.
        beam: options of an Apache Beam pipeline that takes the place of the processes.
        progress: called with the numbers of pictures written and to be written.

    Returns:
        the content of `packed.json`.

    Raises:
        InputError: a wrong argument, a data set that cannot be read, an `out` that holds anything
            else, or a full disk.
    """
    for option, value, least in (("shard-images", shard_images, 1), ("workers", workers, 0)):
        if value < least:
            raise InputError(f"--{option} is {value}; expected {least} or more")
    chosen = datasets.find(name)
    tables = plan.load(name, root, split)
    if any(table.names is not None for table in tables.values()):
        raise InputError(f"{root} is packed already; pack the folder that it was made from")
    prefix = shard_layout.source_prefix(tables.values())
    index = {
        part: shard_layout.shards_of(table, prefix, shard_images) for part, table in tables.items()
    }
    files = {part: _files(name, part, pieces) for part, pieces in index.items()}
    description = _describe(plan.describe(chosen, split, FORM, tables), name, files)
    home = plan.prepare(out, description)
    if listing.exists(home / shard_layout.DESCRIPTION):
        return _end(home)
    shard_layout.write_index(home, index)
    del index, tables
    _write_shards(_jobs(home, prefix, files), workers, beam, progress)
    examples.write_metadata(chosen, split, home, files)
    sizes = {one: (home / one).stat().st_size for one in (shard_layout.INDEX, *_names(files))}
    shard_layout.write_description(home / shard_layout.DESCRIPTION, description | {"bytes": sizes})
    return _end(home)


def _files(name: str, part: str, pieces: Sequence[shard_layout.Shard]) -> dict[str, int]:
    """Number of pictures in each shard, by its file's name."""
    files = examples.file_names(name, part, len(pieces))
    return {file: len(piece.names) for file, piece in zip(files, pieces, strict=True)}


def _names(files: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [file for part in files.values() for file in part]


def _describe(
    known: dict[str, Any], name: str, files: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    parts = {part: facts | {"shards": files[part]} for part, facts in known["parts"].items()}
    libraries = ("tensorflow-datasets", "array_record")
    return known | {
        "parts": parts,
        "tfds_name": examples.tfds_name(name),
        "versions": {library: importlib.metadata.version(library) for library in libraries},
    }


def _jobs(
    home: pathlib.Path, prefix: str, files: Mapping[str, Mapping[str, int]]
) -> list[shards.ShardJob]:
    return [
        shards.ShardJob(str(home.absolute()), prefix, part, number, file, images)
        for part, inside in files.items()
        for number, (file, images) in enumerate(inside.items())
    ]


def _write_shards(
    jobs: Sequence[shards.ShardJob],
    workers: int,
    beam: Sequence[str] | None,
    progress: plan.Progress,
) -> None:
    missing = [job for job in jobs if not shards.is_written(job)]
    total = sum(job.images for job in jobs)
    done = total - sum(job.images for job in missing)
    progress(done, total)
    if beam is not None:
        shards.run_on_beam(missing, beam)
        progress(total, total)
        return
    for job in shards.run(missing, workers):
        done += job.images
        progress(done, total)


def _end(home: pathlib.Path) -> dict[str, Any]:
    """Removes what only packing needed, from a folder that is packed to the end."""
    description, _ = shard_layout.open_packed(home)
    shards.remove_parts(home)
    (home / shard_layout.UNFINISHED).unlink(missing_ok=True)
    return description
