"""Signals that ask a program to end."""

import signal
import subprocess
import sys
import threading

import pytest

from data_pipeline import interruption
from data_pipeline.interruption import Interrupted


@pytest.fixture(autouse=True)
def handlers():
    former = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    yield
    for number in former:
        assert signal.getsignal(number) == former[number]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_a_second_one_has_its_way(number, status):
    with interruption.noted() as signalled:
        assert signalled.number == 0
        signal.raise_signal(number)
        assert signalled.number == number
        assert {signal.getsignal(one) for one in interruption.SIGNALS} == {signal.SIG_DFL}
        with pytest.raises(Interrupted) as caught, signalled.ending():
            pass
    assert caught.value.status == status


def test_a_signal_ends_a_block_without_anything_to_save():
    done = []

    def work():
        signal.raise_signal(signal.SIGTERM)
        done.append(True)

    with interruption.noted() as signalled:
        with signalled.ending(allowed=False):
            assert signalled.number == 0
        with pytest.raises(Interrupted, match="SIGTERM"), signalled.ending():
            work()
    assert not done


def test_commands_are_ended_by_a_signal():
    with pytest.raises(Interrupted, match="SIGINT"), interruption.raised(print):
        signal.raise_signal(signal.SIGINT)


DEAF = """
import ctypes, signal, sys
from data_pipeline import terminal

def work():
    # Another thread takes the signal, and this one stays in its call, as in that of a compiler.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    ctypes.CDLL(None).system(b"echo begins; read line")
    return 0

sys.exit(terminal.run("program", work))
"""


@pytest.mark.parametrize("again", [False, True])
def test_a_signal_in_a_long_call_is_answered_at_once_and_a_second_one_ends_it(again):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", DEAF], text=True, **pipes) as process:
        kill = threading.Timer(50, process.kill)
        kill.start()
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begins\n"
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline() == (f"program: {interruption.WAITING.format('SIGTERM')}\n")
        if again:
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 143
        said = process.communicate("\n")[1]  # of a line for the shell, which ends the call
        assert said == ("" if again else "program: stopped by SIGTERM\n")
        assert process.returncode == 143
        kill.cancel()


def test_a_signal_during_imports_ends_the_process_at_once(monkeypatch):
    said, ends = [], []
    monkeypatch.setattr(interruption.os, "_exit", ends.append)
    with interruption.ending_at_once(lambda ended: said.append(str(ended))):
        signal.raise_signal(signal.SIGTERM)
    assert (said, ends) == (["stopped by SIGTERM"], [143])


def test_what_was_ignored_stays_ignored():
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption.raised(print):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, former)
