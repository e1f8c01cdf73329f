"""Writes the shards of a packed data set, here, in several processes or by Apache Beam.

Each shard is written on its own under another name and renamed when it is whole. So what bears a
shard's name is complete, and packing goes on where it was killed.
"""

import contextlib
import dataclasses
import functools
import importlib
import multiprocessing
import os
import pathlib
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

from array_record.python import array_record_module  # type: ignore[attr-defined]

from data_pipeline.errors import InputError
from data_pipeline.packing import examples
from data_pipeline.read import listing, shard_layout, storage, worker

# One record a chunk, or reading one would mean reading its neighbors. Pictures are compressed
# already.
OPTIONS = "group_size:1,uncompressed"
PART_SUFFIX = ".part"


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """One shard to write.

    Attributes:
        home: folder of the packed data set, which has the index.
        prefix: what the media of the source begin with, before the names in the index.
        part: train, query or gallery.
        number: which shard of it.
        file: name of the shard.
        images: number of its records.
    """

    home: str
    prefix: str
    part: str
    number: int
    file: str
    images: int


def is_written(job: ShardJob) -> bool:
    """Whether the shard is there, and whole."""
    path = pathlib.Path(job.home, job.file)
    return listing.is_file(path) and _num_records(str(path)) == job.images


def _num_records(path: str) -> int:
    """Of a file that is cut short or no ArrayRecord, none."""
    reader = array_record_module.ArrayRecordReader(path)
    if not reader.ok():
        return 0
    num_records = reader.num_records()
    reader.close()
    return num_records


def write(job: ShardJob) -> ShardJob:
    """Writes one shard. Two processes may write the same one: either result is whole, and alike.

    Raises:
        InputError: a picture cannot be read, or the shard cannot be written.
    """
    home = pathlib.Path(job.home)
    shard = shard_layout.read_shard(home, job.part, job.number)
    serialize = _serializer()
    with _replacing(home / job.file) as path:
        writer = array_record_module.ArrayRecordWriter(str(path), OPTIONS)
        columns = zip(shard.names, shard.pid, shard.camera, shard.track, strict=True)
        for name, pid, camera, track in columns:
            writer.write(
                serialize(
                    image=storage.read(job.prefix + name),
                    pid=pid,
                    camera=camera,
                    track=track,
                    name=name.encode("utf-8", "surrogateescape"),
                )
            )
        writer.close()
    return job


@functools.lru_cache(maxsize=1)
def _serializer() -> Callable[..., bytes]:
    return examples.make_serializer()


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file to write in place of `path`, of a name that no other process has: the workers of a
    program that was killed may still be writing when it is started again."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PART_SUFFIX}")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:  # array_record raises the latter, for a full disk too
        raise InputError(f"cannot write {path}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def remove_parts(home: pathlib.Path) -> None:
    """Removes what writers that were killed have left."""
    for name in listing.names(home):
        if name.endswith(PART_SUFFIX):
            (home / name).unlink(missing_ok=True)


def run(jobs: Sequence[ShardJob], workers: int) -> Iterator[ShardJob]:
    """Writes shards in `workers` processes, or in this one if that is fewer than two.

    Yields:
        each job that is done.

    Raises:
        InputError: one of them failed, or a process was killed.
    """
    if workers < 2 or len(jobs) < 2:
        yield from map(write, jobs)
        return
    pool = futures.ProcessPoolExecutor(
        min(workers, len(jobs)), multiprocessing.get_context("spawn"), _live_with_the_parent
    )
    try:
        with worker.as_main_module():
            pending = [pool.submit(write, job) for job in jobs]
        for done in futures.as_completed(pending):
            yield done.result()
    except BrokenProcessPool as error:
        raise InputError(
            "a packing process was killed, perhaps for want of memory; give the same command "
            "again, with fewer workers, to go on"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _live_with_the_parent() -> None:
    """Lets this process end with the one that started it, however that ends, and not before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.end_with_parent()


def run_on_beam(jobs: Sequence[ShardJob], options: Sequence[str]) -> None:
    """Writes shards by a pipeline of Apache Beam, whose machines must all see source and target.

    Args:
        jobs: the shards.
        options: of the pipeline, as on a command line: `--runner=FlinkRunner`.

    Raises:
        InputError: Beam is not installed, or a shard could not be written.
    """
    beam = import_beam()
    pipeline_options = importlib.import_module("apache_beam.options.pipeline_options")
    try:
        with beam.Pipeline(options=pipeline_options.PipelineOptions(list(options))) as pipeline:
            # Without the shuffle one machine would get all jobs, being fused with their creation.
            _ = pipeline | beam.Create(list(jobs)) | beam.Reshuffle() | beam.Map(write)
    except RuntimeError as error:  # what went wrong on another machine comes as text
        raise InputError(f"the pipeline failed: {str(error).strip().splitlines()[-1]}") from error


def import_beam():
    """The module `apache_beam`.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("apache_beam")
    except ImportError as error:
        raise InputError(
            "Apache Beam is not installed; pip install 'luperson_jax[beam]', best in an "
            "environment of its own because it wants older versions of protobuf and pillow, or "
            "pack with --workers in place of --beam"
        ) from error
