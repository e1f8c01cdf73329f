"""What is free goes back to the system, and when a run asks for that."""

import ctypes
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest

from luperson_jax import cli, host_memory, main, platforms
from luperson_jax.page.uploads import Uploads
from tests import stand_in
from tests.helpers import run, tiny

BLOCK, NUMBER = 1 << 16, 1024  # 64 MiB of blocks that do not get a mapping of their own
ROOT = pathlib.Path(__file__).resolve().parents[2]
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


@pytest.fixture
def restarts(monkeypatch, tmp_path):
    """Commands that the program would start itself anew with; nothing speaks against it."""
    commands, answer = [], tmp_path / "enabled"
    answer.write_text("always [madvise] never")
    monkeypatch.setattr(host_memory, "HOW_PAGES_ARE_GIVEN", answer)
    monkeypatch.setattr(platforms, "surely_only_cpu", lambda: True)
    monkeypatch.setattr(os, "execv", lambda program, command: commands.append(command))
    monkeypatch.setenv(host_memory.TUNABLES, "")
    monkeypatch.delenv(host_memory.TUNABLES)
    return commands


def test_large_pages_are_taken_by_starting_anew(restarts):
    host_memory.take_large_pages()
    assert restarts == [[sys.executable, *sys.orig_argv[1:]]]
    assert os.environ[host_memory.TUNABLES] == host_memory.LARGE_PAGES
    host_memory.take_large_pages()
    assert len(restarts) == 1


@pytest.mark.parametrize("given", ["", "glibc.malloc.arena_max=1"])
def test_what_is_set_stays(given, restarts, monkeypatch):
    monkeypatch.setenv(host_memory.TUNABLES, given)
    host_memory.take_large_pages()
    assert not restarts
    assert os.environ[host_memory.TUNABLES] == given


@pytest.mark.parametrize("enabled", ["[always] madvise never", "always madvise [never]", None])
def test_nothing_happens_where_asking_changes_nothing(enabled, restarts):
    host_memory.HOW_PAGES_ARE_GIVEN.unlink()
    if enabled:
        host_memory.HOW_PAGES_ARE_GIVEN.write_text(enabled)
    host_memory.take_large_pages()
    assert not restarts


def test_nothing_happens_where_there_may_be_an_accelerator(restarts, monkeypatch):
    monkeypatch.setattr(platforms, "surely_only_cpu", lambda: False)
    host_memory.take_large_pages()
    assert not restarts


@pytest.mark.parametrize(
    ("program", "given", "taken"),
    [
        (main, "--config none", True),
        (cli, "train none", True),
        (cli, "study none", True),
        (cli, "metrics --query none --gallery none", False),
    ],
)
def test_programs_that_train_take_them(program, given, taken, restarts, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["luperson", *given.split()])
    assert program.main() == 2
    assert bool(restarts) == taken
    assert program.main(given.split()) == 2  # called by another program, which stays as it is
    assert len(restarts) == taken


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_the_process_and_its_command_line_stay_the_same(tmp_path):
    answer = tmp_path / "enabled"
    answer.write_text("always [madvise] never")
    code = f"""
import os, pathlib, sys
from luperson_jax import host_memory
host_memory.HOW_PAGES_ARE_GIVEN = pathlib.Path({str(answer)!r})
host_memory.take_large_pages()
print(os.getpid(), os.environ["GLIBC_TUNABLES"], *sys.argv[1:], sys.flags.optimize)
"""
    environment = {"PATH": os.environ["PATH"], "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-O", "-c", code, "one", "two words"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
    assert said == f"{process.pid} {host_memory.LARGE_PAGES} one two words 1\n"


def test_the_demo_takes_the_same():
    """Its script imports JAX first, and so could not start itself anew."""
    assert f"?= {host_memory.LARGE_PAGES}\n" in (ROOT / "Makefile").read_text()


def test_without_such_a_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(host_memory, "_trim", lambda: None)
    host_memory.give_back()
