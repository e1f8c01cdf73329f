"""Worker processes of the loader that lose their parent, their life or their shared memory."""

import contextlib
import errno
import json
import multiprocessing
import os
import pathlib
import select
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.read import loader
from data_pipeline.read.loader import Loader, LoaderOptions
from data_pipeline.table import records

if not loader.SHARED_MEMORY.is_dir():
    pytest.skip("blocks are shared by name on Linux only", allow_module_level=True)

ROOT = pathlib.Path(__file__).resolve().parents[2]
CANVAS = (160, 140)
LONGEST_MS = 60_000

PARENT = """
import json, multiprocessing, sys
from multiprocessing import resource_tracker
import numpy as np
from data_pipeline.read import loader; from data_pipeline.table import records

names = []

def recorded(element, copied=loader._out_of_shared_memory):
    names.append(element["batch"]["images"].shm.name)
    return copied(element)

loader._out_of_shared_memory = recorded

if __name__ == "__main__":
    table = records.make_table([(sys.argv[1], 0, 0, -1)])
    options = loader.LoaderOptions((160, 140), num_workers=2, worker_kind="processes")
    batches = iter(loader.Loader(table, np.zeros((500, 1), int), options))
    next(batches), next(batches)
    workers = [one.pid for one in multiprocessing.active_children()]
    tracker = resource_tracker._resource_tracker._pid
    print(json.dumps([workers, tracker, names]), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def table(tmp_path):
    Image.fromarray(np.full((8, 4, 3), 40, np.uint8)).save(tmp_path / "a.png")
    return records.make_table([(str(tmp_path / "a.png"), 0, 0, -1)])


def has_ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(LONGEST_MS))


def test_workers_of_a_killed_parent_end_and_leave_no_shared_memory(table):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, table.media[0]],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    workers, tracker, names = json.loads(parent.stdout.readline())
    assert len(workers) == len(names) == 2
    waiting = {pid: os.pidfd_open(pid) for pid in (*workers, tracker)}
    try:
        parent.kill()
        parent.wait()
        # The tracker of shared memory ends last, when it has removed what they left.
        alive = [pid for pid, descriptor in waiting.items() if not has_ended(descriptor)]
    finally:
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(waiting[pid], signal.SIGKILL)
        for descriptor in waiting.values():
            os.close(descriptor)
        parent.stdin.close()
        parent.stdout.close()
    assert alive == []
    blocks = {name.rpartition("_")[0] for name in names}
    assert not [name for name in (*names, *blocks) if (loader.SHARED_MEMORY / name).exists()]


def batches_of(table, num_workers=2):
    options = LoaderOptions(CANVAS, num_workers=num_workers, worker_kind="processes")
    return Loader(table, np.zeros((200, 1), int), options)


def test_a_killed_worker_is_a_message(table):
    with batches_of(table) as batches:
        iterator = iter(batches)
        next(iterator)
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(InputError, match=r"ended by signal 9, .*smaller `num_workers`"):
            list(iterator)
    assert multiprocessing.active_children() == []


def test_a_worker_without_shared_memory_is_told_what_to_do():
    message = str(loader._killed(-signal.SIGBUS))
    assert "no shared memory left; give more of it (docker run --shm-size" in message


def test_full_shared_memory_is_a_message(monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    images = np.zeros((1, *CANVAS, 3), np.uint8)
    read = loader._SharingReader(lambda step: {"batch": {"images": images}, "skipped": {}})
    monkeypatch.setattr(os, "posix_fallocate", fail)
    element = read(0)
    with pytest.raises(InputError, match=r"bytes left and a batch takes 67200 .*--shm-size"):
        raise element["error"]
    assert not read._blocks
