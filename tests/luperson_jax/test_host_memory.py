"""What is free goes back to the system, and when a run asks for that."""

import ctypes
import pathlib
import re
from typing import Any

import pytest

from luperson_jax import host_memory
from luperson_jax.page.uploads import Uploads
from tests import stand_in
from tests.helpers import run, tiny

BLOCK, NUMBER = 1 << 16, 1024  # 64 MiB of blocks that do not get a mapping of their own
SMAPS = pathlib.Path("/proc/self/smaps_rollup")


def resident() -> int:
    """Bytes of this process that no file holds."""
    found = re.search(r"Pss_Anon: +(\d+) kB", SMAPS.read_text())
    assert found is not None
    return int(found[1]) << 10


@pytest.mark.skipif(
    host_memory._trim() is None or not SMAPS.exists(), reason="needs the GNU C library and /proc"
)
def test_what_lies_below_something_in_use_is_given_back():
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
    blocks = [library.malloc(BLOCK) for _ in range(NUMBER)]
    last = library.malloc(BLOCK)
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks:
        library.free(block)
    kept = resident()
    host_memory.give_back()
    assert kept - resident() > 0.9 * NUMBER * BLOCK
    library.free(last)


def test_a_run_gives_back_once_in_each_epoch(tmp_path, monkeypatch, unlabelled_world):
    stand_in.use(monkeypatch)
    calls = []
    monkeypatch.setattr(host_memory, "give_back", lambda: calls.append(None))
    run(tiny("moco", unlabelled_world, train__epochs=3), tmp_path)
    assert len(calls) == 3


def test_a_page_gives_back_what_compiling_took(monkeypatch):
    class Model:
        embedded = 0

        def embed(self, picture):
            self.embedded += 1

    model: Any = Model()
    calls = []
    monkeypatch.setattr(host_memory, "give_back", lambda: calls.append(model.embedded))
    Uploads(model).warm()
    assert calls == [1]


def test_without_such_a_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(host_memory, "_trim", lambda: None)
    host_memory.give_back()
