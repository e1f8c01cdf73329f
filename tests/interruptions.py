"""A run that ends early, without a signal."""

import pytest

from luperson_jax.run import setup


class Interruption(Exception):
    """Stands for whatever ends a run early."""


def interrupt_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Lets the next run make so many steps and no more."""
    original = setup.compile_step

    def compile_step(current):
        step, done = original(current), [0]

        def limited(state, batch):
            if done[0] == steps:
                raise Interruption
            done[0] += 1
            return step(state, batch)

        return limited

    monkeypatch.setattr(setup, "compile_step", compile_step)
