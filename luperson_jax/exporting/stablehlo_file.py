"""A network as StableHLO, for any program of JAX and what else reads it."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np

from luperson_jax import libraries
from luperson_jax.exporting.tracing import Traced

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def write(traced: Traced, path: pathlib.Path) -> None:
    """Writes a network for all `PLATFORMS`, as `jax.export` serializes it.

    Raises:
        InputError: flatbuffers, which `jax.export` writes with, is not installed.
    """
    libraries.extra("flatbuffers", "export")
    exported = jax.export.export(jax.jit(traced.function), platforms=PLATFORMS)(traced.example)
    path.write_bytes(exported.serialize())


def runner(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """Runs a file that `write` wrote."""
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    return lambda pictures: np.asarray(exported.call(pictures))
