"""From where a picture lies to its pixels."""

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import storage
from data_pipeline.read.decode import DecodeError, decode
from data_pipeline.terminal import visible_name


def read_picture(media: str) -> np.ndarray:
    """The pixels of a picture, [height, width, 3] uint8 RGB, as `decode` makes them.

    Raises:
        DecodeError: its bytes are missing, refused by the system, or no whole picture.
    """
    try:
        data = storage.read(media)
    except InputError as error:
        # The error names the picture itself, and need not do so twice.
        reason = str(error).removeprefix(f"cannot read {visible_name(media)}: ")
        raise DecodeError(reason, media) from error
    return decode(data, media)
