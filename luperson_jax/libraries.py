"""Packages that come with extras, imported where they are needed."""

import importlib
from typing import Any

from data_pipeline.errors import InputError


def extra(name: str, brought_by: str) -> Any:
    """A package.

    Args:
        name: of its module.
        brought_by: the extra.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{name} is not installed ({error}); pip install 'luperson_jax[{brought_by}]' brings it"
        ) from error
