"""Pictures as the page sends them: made anew from their pixels, small, without what files carry."""

import functools
import io
from collections.abc import Sequence

from PIL import Image

from luperson_jax.measure import plots

HEIGHT, STRIP_HEIGHT = 256, 96
"""Pixels of a picture, and of the frames of a strip."""
MAX_FRAMES = 6
"""Of a strip; more are spread evenly."""
QUALITY = 88
ABSENT = (
    b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 64 128' width='64' height='128'>"
    b"<rect width='64' height='128' fill='#8884'/><path d='M20 50l24 24m0-24l-24 24' "
    b"stroke='#888' stroke-width='3' fill='none'/></svg>"
)
"""In place of a file that is gone."""


@functools.lru_cache(maxsize=512)
def strip(keys: tuple[str, ...], height: int) -> bytes:
    """A JPEG of pictures side by side.

    Raises:
        InputError: one of them cannot be read.
    """
    return as_jpeg(plots.read_strip(keys, height))


def as_jpeg(picture: Image.Image) -> bytes:
    """The file of a picture."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def spread(keys: Sequence[str], num: int) -> tuple[str, ...]:
    """At most so many of the keys, evenly spread."""
    if len(keys) <= num:
        return tuple(keys)
    return tuple(keys[round(place * (len(keys) - 1) / (num - 1))] for place in range(num))
