"""Models that lie elsewhere: OWNER/NAME of Hugging Face, fetched once and kept."""

import importlib
import os
import re

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from luperson_jax.weights import packed

NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def local(source: str | os.PathLike) -> str:
    """Where a model lies on this machine: what exists here is itself, another OWNER/NAME is
    fetched.

    Raises:
        InputError: nothing is there, and it cannot be fetched.
    """
    place = os.fspath(source)
    if listing.exists(place) or not NAME.fullmatch(place):
        return place
    try:
        huggingface_hub = importlib.import_module("huggingface_hub")  # an extra
    except ImportError:
        raise InputError(
            f"{place} does not exist here; to fetch it from Hugging Face install the extra: "
            "pip install 'luperson_jax[hub]'"
        ) from None
    try:
        return huggingface_hub.snapshot_download(place, allow_patterns=list(packed.FILES))
    except Exception as error:  # of whatever library carries the request
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{place} does not exist here, and cannot be fetched from Hugging Face: {reason}"
        ) from error
