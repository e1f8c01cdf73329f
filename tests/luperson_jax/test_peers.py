"""What a process says that ends because another one of its job did."""

import io
import os
import subprocess
import sys

import jax
import pytest

from data_pipeline.errors import InputError
from luperson_jax.run import peers, stderr_filter

WORDS = b"luperson: another process has ended"
OURS = WORDS + b" (its step failed)\n"
REPORT = [
    b"E1129 09:08:33.766551   23575 coordination_service.cc:1549] [49] Use error polling: 1\n",
    b"The tasks have crashed.\n",
]
END = [
    b"F1129 09:08:33.778284   23586 client.h:80] " + stderr_filter.FATAL + b". absl::Status\n",
    b"*** Check failure stack trace: ***\n",
    b"    @     0x7f366de40634  absl::LogMessage::SendToLog()\n",
]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([b"one\n", *REPORT, *END], [b"one\n", WORDS + b"\n"]),
        ([b"one\n", *REPORT, OURS, *END], [b"one\n", WORDS + b"\n"]),
        ([OURS, *REPORT, *END], [OURS]),
        ([OURS], [OURS]),
        ([b"one\n", *REPORT, b"two\n"], [b"one\n", *REPORT, b"two\n"]),
        ([b"E1129 09:08:33.7 1 cuda.cc:1] two\n", b"one"], None),
    ],
)
def test_one_line_in_place_of_a_stack(given, said):
    assert list(stderr_filter.replaced(given, WORDS)) == (given if said is None else said)


def test_the_filter_outlives_an_abort():
    program = f"""
import os
from data_pipeline.errors import InputError
from luperson_jax.run import peers
peers._filter_stderr()
os.write(2, b"before\\n")
os.write(2, {b"".join([*REPORT, *END])!r})
os.abort()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.stderr == f"before\nluperson: {peers.LOST}\n".encode()
    assert done.returncode < 0


def test_what_a_save_of_a_job_waits_for_in_vain_ends_the_process_too(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(jax, "process_count", lambda: 2)

    def save(reason):
        with peers.watched():
            try:
                raise reason
            except Exception as error:
                raise InputError("cannot write a checkpoint") from error

    save(TimeoutError("barrier"))
    assert ended == [peers.STATUS]
    save(ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer"))
    assert ended == [peers.STATUS] * 2
    with pytest.raises(InputError, match="cannot write"):
        save(ValueError("RESOURCE_EXHAUSTED: Error writing [os_error_code='28']"))
    with pytest.raises(InputError, match="cannot write"):
        save(OSError(28, "No space left on device"))


def test_a_step_that_fails_in_a_job_ends_the_process_at_once(monkeypatch):
    ended, said = [], io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    monkeypatch.setattr(os, "_exit", ended.append)

    def fail():
        with peers.watched():
            raise jax.errors.JaxRuntimeError("UNKNOWN: Gloo failed\nat a place")

    with pytest.raises(jax.errors.JaxRuntimeError):
        fail()
    assert not ended
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    fail()
    assert ended == [peers.STATUS]
    assert said.getvalue() == f"luperson: {peers.LOST} (here: UNKNOWN: Gloo failed)\n"
