"""The one door to trained weights, of this program and of others: `load`.

Behind it: PyTorch checkpoints to our parameters and back, by tables of rules.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luperson_jax.weights.model import Model, save
    from luperson_jax.weights.opener import load

__all__ = ["Model", "load", "save"]

_HOMES = {"load": "opener", "Model": "model", "save": "model"}


def __getattr__(name: str) -> Any:
    """Imports JAX where it is needed: what only looks into files does without it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
