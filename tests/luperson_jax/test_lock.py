"""The lock of a workdir."""

import errno
import fcntl
import os

import pytest

from data_pipeline.errors import InputError
from luperson_jax.workdir import lock
from tests.holders import holding

HOLDER = """
import pathlib, sys
from luperson_jax.workdir import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_held_workdir_is_refused_until_its_holder_is_killed(tmp_path):
    with holding(HOLDER, str(tmp_path)) as holder:
        with (
            pytest.raises(InputError, match=rf"another run .* process {holder.pid} on .* since"),
            lock.held(tmp_path),
        ):
            pass
        holder.kill()
        holder.wait()
        with lock.held(tmp_path) as note:
            assert note is None
            assert f'"pid": {os.getpid()}' in (tmp_path / lock.LOCK_FILE).read_text()


def test_a_file_system_without_locks_is_noted(tmp_path, monkeypatch):
    def lockf(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with lock.held(tmp_path / "new") as note:
        assert note is not None
        assert "cannot be locked (No locks available)" in note


def test_a_workdir_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="cannot write to the workdir"),
        lock.held(tmp_path / "file" / "run"),
    ):
        pass
