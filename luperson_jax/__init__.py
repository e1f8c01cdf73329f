"""Person re-identification in JAX: `load`, `ReidModel` and `Index`, or the command `luperson`."""

from typing import Any

__version__ = "0.1.0"

_HOMES = {"load": "reid_model", "ReidModel": "reid_model", "Index": "gallery_index"}


def __getattr__(name: str) -> Any:
    """What is imported when it is first used: nothing else is loaded with the package."""
    if name not in _HOMES:
        raise AttributeError(f"module 'luperson_jax' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"luperson_jax.serving.{_HOMES[name]}"), name)
