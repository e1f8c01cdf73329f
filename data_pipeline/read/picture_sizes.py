"""Heights and widths of pictures, from the first bytes of their files."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.read import storage
from data_pipeline.read.decode import PILLOW_ERRORS, PILLOW_FORMATS

FORMATS = ("JPEG", *PILLOW_FORMATS)


def sample(media: Sequence[str], num: int) -> np.ndarray:
    """Sizes of pictures at even distances along a list.

    Args:
        media: where the pictures lie, as a table has them.
        num: how many to look at, at most.

    Returns:
        [n, 2] int64 heights and widths. Nothing is decoded; pictures whose size cannot be read are
        left out, as reading them will say what is wrong.
    """
    places = np.linspace(0, len(media) - 1, min(num, len(media))).round().astype(int)
    sizes = [size for place in places if (size := _size_of(media[int(place)])) is not None]
    return np.array(sizes, np.int64).reshape(-1, 2)


def _size_of(media: str) -> tuple[int, int] | None:
    try:
        with Image.open(io.BytesIO(storage.read(media)), formats=FORMATS) as image:
            return image.height, image.width
    except (InputError, *PILLOW_ERRORS):
        return None
