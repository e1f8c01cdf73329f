"""Batches of decoded pictures, by grain, from rows that a sampler has laid out.

One element of the grain pipeline is a whole step. So the position is the step number whatever the
number of workers, no worker holds back an incomplete batch, and one large array a step goes through
shared memory instead of many small ones.
"""

import contextlib
import dataclasses
import gc
import itertools
import math
import os
import pathlib
import re
import shutil
import signal
import weakref
from collections.abc import Generator, Iterator
from multiprocessing import resource_tracker
from typing import Any

import grain
import numpy as np
from absl import flags
from grain.multiprocessing import SharedMemoryArray, SharedMemoryArrayMetadata

from data_pipeline.errors import InputError
from data_pipeline.read import worker
from data_pipeline.read.decode import FILTERS, DecodeError, to_canvas
from data_pipeline.read.picture_files import read_picture
from data_pipeline.table.records import UNLABELLED, Table

PADDING = -1

# Smaller arrays travel through the pipe: a shared-memory block costs more than copying them.
SHARED_MEMORY_BYTES = 1 << 16

# Where Linux shows shared memory as files.
SHARED_MEMORY = pathlib.Path("/dev/shm")

MORE_SHARED_MEMORY = (
    "give more of it (docker run --shm-size=8g), make `num_workers`, `prefetch` or "
    "`batch_size` smaller, or use `worker_kind`=threads, which need none"
)

# How grain words the end of a worker process.
KILLED = re.compile(r"terminated unexpectedly with exit code (-?\d+)")

# The one flag that grain reads without asking whether the flags have been parsed, which they are
# only under `absl.app.run`.
UNGUARDED_GRAIN_FLAG = "grain_enable_multiprocess_worker_profiling"


@dataclasses.dataclass(frozen=True)
class LoaderOptions:
    """How pictures are read.

    Attributes:
        canvas: height and width that every picture is stretched to.
        resize: filter for it, one of `decode.FILTERS`.
        unreadable: "error" stops at a picture that cannot be read; "skip" puts the next readable
            row in its place, of the same tracklet or else identity where it has one.
        num_workers: decoding threads or processes; 0 decodes in the calling thread.
        worker_kind: "threads" or "processes". Decoding frees the interpreter lock, so that threads
            serve until its rest, the Python code between the calls, fills one core.
        prefetch: steps made ready ahead of the consumer by all workers together.
    """

    canvas: tuple[int, int]
    resize: str = "bicubic"
    unreadable: str = "error"
    num_workers: int = 0
    worker_kind: str = "threads"
    prefetch: int = 4

    def __post_init__(self) -> None:
        choices = {
            "resize": tuple(FILTERS),
            "unreadable": ("error", "skip"),
            "worker_kind": ("threads", "processes"),
        }
        for name, valid in choices.items():
            if getattr(self, name) not in valid:
                raise InputError(
                    f"`{name}` is {getattr(self, name)!r}; expected one of {', '.join(valid)}"
                )
        for name, least in (("num_workers", 0), ("prefetch", 1)):
            if getattr(self, name) < least:
                raise InputError(f"`{name}` is {getattr(self, name)}; expected {least} or more")
        if len(self.canvas) != 2 or min(self.canvas) < 1:
            raise InputError(f"`canvas` is {self.canvas}; expected height and width in pixels")


@dataclasses.dataclass(frozen=True)
class _StepReader:
    """Reads the rows of one step. Travels to the worker processes, so it holds data only."""

    table: Table
    rows: np.ndarray
    options: LoaderOptions
    unreadable: dict[int, str] = dataclasses.field(default_factory=dict)

    def __call__(self, step: int) -> dict[str, Any]:
        """The step, or the error in its place: raised in a worker ahead of the consumer, it would
        arrive before the good steps that precede it."""
        try:
            return self._read_step(step)
        except InputError as error:
            return {"error": error}

    def _read_step(self, step: int) -> dict[str, Any]:
        wanted = self.rows[step]
        height, width = self.options.canvas
        images = np.zeros((len(wanted), height, width, 3), np.uint8)
        size = np.zeros((len(wanted), 2), np.int32)
        index = np.full(len(wanted), PADDING, np.int32)
        skipped: dict[str, str] = {}
        for place in np.flatnonzero(wanted != PADDING).tolist():
            row, picture = self._read_or_replace(int(wanted[place]), skipped)
            images[place] = to_canvas(picture, (height, width), self.options.resize)
            size[place], index[place] = picture.shape[:2], row
        mask = index != PADDING
        batch = {
            "images": images,
            "size": size,
            "label": np.where(mask, self.table.pid[index], -1).astype(np.int32),
            "camera": np.where(mask, self.table.camera[index], -1).astype(np.int32),
            "index": index,
            "mask": mask,
        }
        if self.table.source is not None:
            batch["source"] = np.where(mask, self.table.source[index], -1).astype(np.int32)
        return {"batch": batch, "skipped": skipped}

    def _read_or_replace(self, row: int, skipped: dict[str, str]) -> tuple[int, np.ndarray]:
        """The row, or the first readable one after it, and its picture."""
        for candidate in self._candidates(row):
            if candidate not in self.unreadable:
                try:
                    return candidate, read_picture(self.table.media[candidate])
                except DecodeError as error:
                    if self.options.unreadable == "error":
                        raise
                    self.unreadable[candidate] = error.reason
            skipped[self.table.media[candidate]] = self.unreadable[candidate]
        raise InputError(
            f"none of the {len(self.table)} pictures of the table can be read, the first being "
            f"{self.table.media[0]}: {self.unreadable[0]}; check that the data set is mounted"
        )

    def _candidates(self, row: int) -> Iterator[int]:
        """The row itself, the later and then the earlier rows of its tracklet, those of its
        identity, all other rows."""
        yield row
        for column in (self.table.track, self.table.pid):
            if column[row] != UNLABELLED:
                same = np.flatnonzero(column == column[row])
                yield from np.roll(same, -1 - int(np.searchsorted(same, row)))[:-1].tolist()
        yield from ((row + ahead) % len(self.table) for ahead in range(1, len(self.table)))


class _SharingReader:
    """Reads steps in a worker process and hands their pictures over in blocks of shared memory,
    which are used again: memory fresh from the system costs more than all else on the way.

    The parent gets a block under a second name, by a hard link that grain removes when the parent
    is done with it. So a block of one name is free.
    """

    def __init__(self, reader: _StepReader) -> None:
        self._reader = reader
        self._blocks: list[SharedMemoryArray] = []
        self._num_names = 0

    def __call__(self, step: int) -> dict[str, Any]:
        element = self._reader(step)
        images = element["batch"]["images"] if "batch" in element else None
        if images is None or images.nbytes < SHARED_MEMORY_BYTES:
            return element
        try:
            element["batch"]["images"] = self._share(images)
        except OSError as error:
            free = shutil.disk_usage(SHARED_MEMORY).free
            return {
                "error": InputError(
                    f"{SHARED_MEMORY} has {free} bytes left and a batch takes {images.nbytes} "
                    f"({error.strerror}); {MORE_SHARED_MEMORY}"
                )
            }
        return element

    def _share(self, images: np.ndarray) -> SharedMemoryArrayMetadata:
        block = self._free_block(images.shape)
        np.copyto(block, images)
        name = block.metadata.name
        link, self._num_names = f"{name}_{self._num_names}", self._num_names + 1
        os.link(SHARED_MEMORY / name, SHARED_MEMORY / link)
        # As for any shared memory: it removes what a killed program leaves behind.
        resource_tracker.register(f"/{link}", "shared_memory")
        return SharedMemoryArrayMetadata(link, images.shape, images.dtype)

    def _free_block(self, shape: tuple[int, ...]) -> SharedMemoryArray:
        for block in self._blocks:
            if os.stat(SHARED_MEMORY / block.metadata.name).st_nlink == 1:
                return block
        block = SharedMemoryArray(shape, np.uint8)
        block.unlink_on_del()
        # Writing to memory that the system promised and does not have would end the process.
        with open(SHARED_MEMORY / block.metadata.name, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, block.nbytes)
        self._blocks.append(block)
        return block


class Loader:
    """The batches of a run of steps, decoded ahead by threads or processes.

    Iterating yields one dict of numpy arrays a step, with the fields of a batch: `images`
    [b, H, W, 3] uint8, `size` [b, 2] int32 before the resize, `label`, `camera` and `index` [b]
    int32, `mask` [b] bool, and of a table of several data sets `source` [b] int32; b = B /
    process_count. Padding is black, with mask False and the
    numbers -1 (size 0). The batches depend on the table, the indices and the files alone, never on
    the workers, so that `start=s` continues exactly what an earlier loader left at step s, also
    with another number of workers or processes.

    Args:
        table: the pictures.
        indices: [steps, B] rows of it, -1 for padding.
        options: how they are read.
        start: step to begin at.
        process_index, process_count: which share of each batch this process reads.

    Worker processes live as long as an iteration. They end with it, when the iterator is dropped,
    and at `close()` or the end of a `with` block.

    Attributes:
        skipped: path -> reason of every unreadable picture met so far, in the steps handed out.

    Raises:
        DecodeError: while iterating, for a picture that cannot be read, under "error".
        InputError: B is no multiple of process_count; start lies outside the steps; no picture of
            the table can be read, under "skip"; a worker process was killed, or shared memory is
            full.
    """

    def __init__(
        self,
        table: Table,
        indices: np.ndarray,
        options: LoaderOptions,
        *,
        start: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        assert indices.ndim == 2, f"indices: {indices.shape}, expected [steps, B]"
        assert indices.max(initial=-1) < len(table), f"row {indices.max()} of {len(table)}"
        assert 0 <= process_index < process_count, f"process {process_index} of {process_count}"
        steps, batch_size = indices.shape
        if batch_size % process_count:
            raise InputError(
                f"`batch_size` {batch_size} cannot be shared by {process_count} processes "
                "alike; make it a multiple of their number"
            )
        if not 0 <= start <= steps:
            raise InputError(f"cannot start at step {start} of an epoch of {steps} steps")
        share = batch_size // process_count
        rows = indices[start:, process_index * share : (process_index + 1) * share]
        self.skipped: dict[str, str] = {}
        self._reader = _StepReader(table, np.ascontiguousarray(rows), options)
        self._iterations: weakref.WeakSet = weakref.WeakSet()

    def __len__(self) -> int:
        return len(self._reader.rows)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        iteration = self._iterate()
        self._iterations.add(iteration)
        return iteration

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the iterations under way and their workers."""
        for iteration in list(self._iterations):
            iteration.close()

    def _iterate(self) -> Generator[dict[str, np.ndarray], None, None]:
        if not len(self):
            return
        with contextlib.closing(_elements(self._reader)) as elements:
            for element in elements:
                if "error" in element:
                    raise element["error"]
                self.skipped.update(element["skipped"])
                yield element["batch"]


def _elements(reader: _StepReader) -> Generator[dict[str, Any], None, None]:
    """What the reader gives for each step in turn; its workers end with this generator."""
    options = reader.options
    num_workers = min(options.num_workers, len(reader.rows))
    steps = grain.MapDataset.source(range(len(reader.rows)))
    if options.worker_kind == "processes" and num_workers:
        read = _SharingReader(reader) if SHARED_MEMORY.is_dir() else reader
        yield from _by_processes(steps.map(read), num_workers, options.prefetch)
        return
    # Without threads grain must not buffer either, or it would look for its thread pool.
    ahead = max(options.prefetch, num_workers) if num_workers else 0
    read_options = grain.ReadOptions(num_threads=num_workers, prefetch_buffer_size=ahead)
    with contextlib.closing(iter(steps.map(reader).to_iter_dataset(read_options))) as elements:
        yield from elements


def _by_processes(
    steps: grain.MapDataset, num_workers: int, prefetch: int
) -> Iterator[dict[str, Any]]:
    if UNGUARDED_GRAIN_FLAG in flags.FLAGS and not flags.FLAGS.is_parsed():
        flags.FLAGS[UNGUARDED_GRAIN_FLAG].present = 1
    # grain keeps as many steps again in the parent as in each worker.
    ahead = math.ceil(prefetch / (2 * num_workers))
    dataset = grain.experimental.WithOptionsIterDataset(
        steps.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)),
        grain.experimental.DatasetOptions(min_shm_size=SHARED_MEMORY_BYTES),
    ).mp_prefetch(
        grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=ahead),
        worker_init_fn=worker.begin_decoding,
    )
    elements = iter(dataset)
    try:
        with worker.as_main_module():
            # grain spawns its processes in threads of its own, at some time after the first call.
            # They have all begun when each has delivered a step.
            first = [_out_of_shared_memory(e) for e in itertools.islice(elements, num_workers)]
        yield from first
        yield from map(_out_of_shared_memory, elements)
    except RuntimeError as error:
        if found := KILLED.search(str(error)):
            raise _killed(int(found[1])) from error
        raise
    finally:
        elements.close()
        # grain's iterators refer to one another in circles, and each keeps its last array: without
        # a collection that much shared memory stays taken, at the end of the program too.
        del elements
        gc.collect()


def _killed(code: int) -> InputError:
    """The message for a worker process that ended with a code, which is negative for a signal."""
    if code == -signal.SIGBUS:
        return InputError(f"a decoding process found no shared memory left; {MORE_SHARED_MEMORY}")
    how = f"by signal {-code}" if code < 0 else f"with status {code}"
    return InputError(
        f"a decoding process ended {how}, perhaps for want of memory; give the same command "
        "again, with a smaller `num_workers` or `prefetch`, or with `worker_kind`=threads"
    )


def _out_of_shared_memory(element: dict[str, Any]) -> dict[str, Any]:
    """The element in plain arrays. Shared memory is scarce in containers, and grain takes it back
    when its own array type dies."""
    batch = element.get("batch", {})
    return element | {"batch": {name: np.array(column) for name, column in batch.items()}}
