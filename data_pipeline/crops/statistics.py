"""Mean and standard deviation of the pixels of a data set, exactly and in one pass."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from data_pipeline.crops.workers import process_pool
from data_pipeline.errors import InputError
from data_pipeline.read.decode import DecodeError, to_canvas
from data_pipeline.read.picture_files import read_picture

LEVELS = 256
CHUNK = 512


@dataclasses.dataclass(frozen=True)
class PixelStatistics:
    """Statistics of a set of pictures.

    Attributes:
        mean, std: [3] red, green, blue, in 0..1, the unit in which the recipes' mean and standard
            deviation are given. `std` is that of all pixels together, not a mean over pictures.
        images: how many pictures were read.
        pixels: how many pixels they have.
        skipped: messages for the pictures that could not be read.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    images: int
    pixels: int
    skipped: tuple[str, ...]


def pixel_statistics(
    media: Sequence[str],
    size: tuple[int, int] | None = None,
    skip_unreadable: bool = False,
    num_workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> PixelStatistics:
    """Mean and standard deviation of the pixels of pictures.

    Pixels are counted by value, in whole numbers, so that the result does not depend on the order
    of pictures or the number of processes, and no digit is lost over millions of them.

    Args:
        media: [N] where the pictures lie, as `storage.read` knows them.
        size: height and width to which pictures are stretched first, so that all count the same;
            by default they count by their area.
        skip_unreadable: go on past pictures that cannot be read, and list them.
        num_workers: processes; 0 and 1 do the work in this one.
        on_progress: called with how many of how many pictures are done.

    Raises:
        InputError: no pictures, or one that cannot be read.
    """
    chunks = (list(media[start : start + CHUNK]) for start in range(0, len(media), CHUNK))
    work = functools.partial(_count, size=size, skip_unreadable=skip_unreadable)
    total = np.zeros((3, LEVELS), np.int64)
    skipped: list[str] = []
    done = 0
    for number, (counts, unread) in _mapped(work, chunks, num_workers):
        total += counts
        skipped += unread
        done += number
        if on_progress:
            on_progress(done, len(media))
    pixels = int(total[0].sum())
    if not pixels:
        raise InputError(f"none of the {len(media)} pictures could be read; there are no pixels")
    mean, std = zip(*(_moments(channel.tolist()) for channel in total), strict=True)
    return PixelStatistics(mean, std, done - len(skipped), pixels, tuple(skipped))


def _moments(counts: list[int]) -> tuple[float, float]:
    """Mean and standard deviation, 0..1, from how often each value 0..255 comes."""
    number = sum(counts)
    first = sum(value * count for value, count in enumerate(counts))
    second = sum(value * value * count for value, count in enumerate(counts))
    # Whole numbers of any length: the difference of the two large terms is exact.
    return first / number / 255, math.sqrt(number * second - first * first) / number / 255


def _count(
    media: Sequence[str], size: tuple[int, int] | None, skip_unreadable: bool
) -> tuple[np.ndarray, list[str]]:
    """How often each value comes in each channel, [3, 256], and what could not be read."""
    counts = np.zeros((3, LEVELS), np.int64)
    skipped = []
    for one in media:
        try:
            picture = read_picture(one)
        except DecodeError as error:
            if not skip_unreadable:
                raise
            skipped.append(str(error))
            continue
        picture = to_canvas(picture, size) if size else picture
        for channel in range(3):
            counts[channel] += np.bincount(picture[..., channel].ravel(), minlength=LEVELS)
    return counts, skipped


def _mapped(
    work: Callable, chunks: Iterator[list[str]], num_workers: int
) -> Iterator[tuple[int, tuple[np.ndarray, list[str]]]]:
    """How many pictures a chunk has, and what the work made of them."""
    if num_workers <= 1:
        yield from ((len(chunk), work(chunk)) for chunk in chunks)
        return
    with process_pool(num_workers) as pool:
        # A bounded number at a time, because waiting chunks hold names.
        while ready := list(itertools.islice(chunks, 8 * num_workers)):
            yield from zip(map(len, ready), pool.map(work, ready), strict=True)
