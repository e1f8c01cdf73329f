"""The one door to trained weights, of this program and of others; rules between their names."""

import pathlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luperson_jax.weights.model import Model


def load(path: str | pathlib.Path, **options: Any) -> "Model":
    """The model at a path: a workdir, a model file, a file of PyTorch or safetensors.

    See `opener.load` for the options and what is raised.
    """
    from luperson_jax.weights import opener  # late: names of families are wanted without it

    return opener.load(pathlib.Path(path), **options)
