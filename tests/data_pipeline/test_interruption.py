"""Signals that ask a program to end."""

import signal

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
    with pytest.raises(Interrupted, match="SIGINT"), interruption.raised():
        signal.raise_signal(signal.SIGINT)


def test_a_signal_during_imports_ends_the_process_at_once(monkeypatch):
    said, ends = [], []
    monkeypatch.setattr(interruption.os, "_exit", ends.append)
    with interruption.ending_at_once(lambda ended: said.append(str(ended))):
        signal.raise_signal(signal.SIGTERM)
    assert (said, ends) == (["stopped by SIGTERM"], [143])


def test_what_was_ignored_stays_ignored():
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption.raised():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, former)
