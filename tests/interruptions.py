"""A run that ends early, without a signal."""

import contextlib
from collections.abc import Iterator

import pytest

from luperson_jax.run import setup


class Interruption(Exception):
    """Stands for whatever ends a run early."""


@contextlib.contextmanager
def cut_short(steps: int) -> Iterator[None]:
    """A block whose run makes so many steps and no more."""
    original = setup.compile_step

    def compile_step(current):
        step, done = original(current), [0]

        def limited(state, batch):
            if done[0] == steps:
                raise Interruption
            done[0] += 1
            return step(state, batch)

        return limited

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "compile_step", compile_step)
        with pytest.raises(Interruption):
            yield
