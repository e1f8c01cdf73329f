"""From the bytes of a picture file to pixels."""

import functools
import io
import struct
import zlib

import numpy as np
import simplejpeg
from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.terminal import visible_name

JPEG_MAGIC = b"\xff\xd8\xff"

# The largest picture of any format, in pixels: 8192 x 8192, twice a frame of 8K video (7680 x
# 4320). Its RGB takes 192 MiB in each decoding thread, where a header of a few bytes can claim
# 12 GiB. Crops of people have 0.03 million pixels. Checked before memory is taken.
MAX_PIXELS = 1 << 26

# A closed list, because Pillow would otherwise try every plugin it has, and one of them (EPS) hands
# the file to an external program.
PILLOW_FORMATS = ("PNG", "BMP", "PPM", "GIF", "TIFF", "WEBP")

TOO_LARGE = (
    "a picture may have {} pixels; where it is real make it smaller, else restore it "
    "from the source"
)

# What Pillow's readers let out on damaged files.
PILLOW_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
    MemoryError,
    Warning,  # in programs that make errors of them
)

# Pillow's own limit, which lies higher.
PILLOW_LIMIT = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class DecodeError(InputError):
    """A picture that cannot be read.

    Attributes:
        reason: what is wrong with the bytes.
        name: the file, "" where it is not known.
    """

    def __init__(self, reason: str, name: str = "") -> None:
        # Both go to Exception as they are, so that the error survives the pickling between a
        # worker process and its parent.
        super().__init__(reason, name)
        self.reason = reason
        self.name = name

    def __str__(self) -> str:
        name = visible_name(self.name) or "(no name)"
        return f"cannot read the picture {name}: {self.reason}"


def decode(data: bytes, name: str = "", max_pixels: int | None = None) -> np.ndarray:
    """The pixels of a picture file, told by its first bytes and never by its name.

    JPEG is strict: truncated or damaged data is an error, never a half gray picture. Gray and
    palette pictures become RGB; 16-bit ones keep the high byte. Alpha is dropped and the color
    under it kept, as OpenCV does for color pictures. Of several frames the first counts. EXIF
    orientation is ignored: re-ID crops come from video and carry none, and identities must not turn
    with the camera software.

    Args:
        data: the whole file.
        name: the file's name, for the error only.
        max_pixels: what its header may claim; None = `MAX_PIXELS`.

    Returns:
        [H, W, 3] uint8, RGB.

    Raises:
        DecodeError: empty, damaged, truncated, of more pixels, or not a picture.
    """
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if not data:
        raise DecodeError("the file is empty (0 bytes); restore it from the source", name)
    if not data.startswith(JPEG_MAGIC):
        return _decode_by_pillow(data, name, limit)
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        _check_size(int(height), int(width), limit)
        return simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    except _TooLarge as error:
        raise DecodeError(str(error), name) from None
    except (ValueError, MemoryError) as error:
        reason = str(error) or "no memory for its pixels"
        raise DecodeError(f"damaged JPEG ({reason}); restore it from the source", name) from error


def _by_pillow(
    resampling: Image.Resampling, picture: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), resampling))


def bilinear_tf1(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture resized as TensorFlow 1 does it: `tf.image.resize_images` without `align_corners`.

    Pixel i of n is read at i * N / n of the N pixels, between that one and the next: the picture is
    not centered, and nothing is averaged where it shrinks.

    Args:
        picture: [H, W, 3] uint8.
        size: height and width that are wanted, in pixels.

    Returns:
        [height, width, 3] float32, 0..255, not rounded.
    """
    found = picture.astype(np.float32)
    for axis, number in enumerate(size):
        last = picture.shape[axis] - 1
        source = np.arange(number, dtype=np.float32) * np.float32(picture.shape[axis] / number)
        before = np.minimum(source.astype(np.int64), last)
        share = (source - before.astype(np.float32)).reshape((-1, 1) if axis else (-1, 1, 1))
        one, other = (found.take(at, axis) for at in (before, np.minimum(before + 1, last)))
        found = one + (other - one) * share
    return found


def _in_levels(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.rint(bilinear_tf1(picture, size)).astype(np.uint8)


FILTERS = {
    "bicubic": functools.partial(_by_pillow, Image.Resampling.BICUBIC),
    "bilinear": functools.partial(_by_pillow, Image.Resampling.BILINEAR),
    "bilinear_tf1": _in_levels,
}
"""How a picture [H, W, 3] comes to a size: Pillow's antialiased filters, and the bilinear one of
TensorFlow 1, rounded to whole gray levels as these are."""


def filter_of_evaluation(training: str) -> str:
    """The filter of pictures that are embedded: that of the published evaluations, whatever trained
    the network, but for one that was trained on pictures of TensorFlow 1."""
    return training if training == "bilinear_tf1" else "bicubic"


def to_canvas(picture: np.ndarray, size: tuple[int, int], filter: str = "bicubic") -> np.ndarray:
    """The whole picture stretched to `size`.

    Args:
        picture: [H, W, 3] uint8.
        size: height and width of the canvas in pixels.
        filter: one of `FILTERS`.

    Returns:
        [height, width, 3] uint8; the picture itself, not a copy, where it already has that size.

    Raises:
        InputError: unknown filter.
    """
    if filter not in FILTERS:
        raise InputError(f"`filter` is {filter!r}; expected one of {', '.join(FILTERS)}")
    return picture if picture.shape[:2] == tuple(size) else FILTERS[filter](picture, size)


class _TooLarge(Exception):
    """A picture whose header claims too many pixels."""


def _check_size(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise _TooLarge(
            f"its header claims {height} x {width} pixels, {height * width} in all; "
            f"{TOO_LARGE.format(max_pixels)}"
        )


def _decode_by_pillow(data: bytes, name: str, max_pixels: int) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as image:
            _check_size(image.height, image.width, max_pixels)
            return np.array(_as_rgb(image))
    except _TooLarge as error:
        raise DecodeError(str(error), name) from None
    except PILLOW_LIMIT as error:
        raise DecodeError(
            f"its header claims too much ({error}); {TOO_LARGE.format(max_pixels)}", name
        ) from error
    except Image.UnidentifiedImageError as error:
        reason = f"not a picture in a known format (it begins with {data[:12]!r})"
        raise DecodeError(f"{reason}; remove it from the data set or convert it", name) from error
    except PILLOW_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise DecodeError(f"damaged file ({reason}); restore it from the source", name) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits at 255 instead of scaling them.
        high_byte = np.clip(np.asarray(image), 0, 65535) >> 8
        image = Image.fromarray(high_byte.astype(np.uint8))
    if image.mode == "P":
        # By way of RGBA, because the direct path warns about transparent palette entries.
        image = image.convert("RGBA")
    return image.convert("RGB")
