"""Pictures as users have them: paths, arrays, Pillow's; checked before a network sees them."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.read.picture_files import read_picture

Picture = str | os.PathLike | np.ndarray | Image.Image
"""A file, an array [H, W, 3] of uint8 in RGB, or a picture of Pillow."""

BLUER = 5.0
"""Gray levels. Persons under lamps and sky are redder than blue: in the mean of LUPerson by 10 of
255, of ImageNet by 20."""
MIN_PICTURES, SHARE = 8, 0.8
"""Fewer pictures tell nothing, nor does a smaller share of bluish ones."""


class LooksLikeBGR(UserWarning):
    """Most pictures are bluer than red, as those of OpenCV are that nobody converted."""


def as_list(pictures: Any) -> tuple[list[Picture], bool]:
    """Pictures in a list, and whether it was a single one.

    Args:
        pictures: one, a sequence of them, or an array [N, H, W, 3].

    Raises:
        InputError: none, or something else.
    """
    if isinstance(pictures, str | os.PathLike | Image.Image):
        return [pictures], True
    if isinstance(pictures, np.ndarray):
        if pictures.ndim == 3:
            return [pictures], True
        if pictures.ndim != 4:
            raise InputError(
                f"an array of shape {list(pictures.shape)} is no picture; expected [H, W, 3], or "
                "[N, H, W, 3] of several"
            )
    elif not isinstance(pictures, Sequence):
        raise InputError(
            f"{type(pictures).__name__} is no picture; expected a path, an array [H, W, 3] of "
            "uint8 in RGB, a picture of Pillow, or a list of these"
        )
    listed = list(pictures)
    if not listed:
        raise InputError("no picture was given; expected one or more")
    return listed, False


def pixels(picture: Picture) -> np.ndarray:
    """The pixels [H, W, 3] uint8 in RGB.

    Raises:
        InputError: a file that cannot be read, or an array that is no RGB picture of uint8.
    """
    if isinstance(picture, str | os.PathLike):
        return read_picture(os.fspath(picture))
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if not isinstance(picture, np.ndarray):
        raise InputError(f"{type(picture).__name__} is no picture; expected a path or an array")
    _check(picture)
    return picture


def _check(array: np.ndarray) -> None:
    shape = list(array.shape)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in shape:
        hint = ""
        if array.ndim == 3 and array.shape[0] == 3:
            hint = "; channels come last here: picture.transpose(1, 2, 0)"
        elif array.ndim == 3 and array.shape[2] == 4:
            hint = "; leave the alpha channel out: picture[..., :3]"
        raise InputError(f"a picture has the shape {shape}; expected [height, width, 3]{hint}")
    if array.dtype != np.uint8:
        hint = ""
        if np.issubdtype(array.dtype, np.floating):
            largest = float(np.max(array))
            hint = "; it is in 0..1: (255 * picture).round().astype(np.uint8)"
            if not 0 < largest <= 1:
                hint = "; normalization is a part of the model: give the raw pixels"
        raise InputError(f"a picture is of {array.dtype}; expected uint8, 0 to 255{hint}")
    if array.max() <= 1 and array.size > 3 * 64:
        raise InputError(
            "a picture of uint8 has no value above 1; expected 0 to 255 (was it in 0..1 before?)"
        )


def warn_of_bgr(pictures: Sequence[np.ndarray]) -> None:
    """Warns `LooksLikeBGR` where most of several arrays [H, W, 3] are bluer than red."""
    if len(pictures) < MIN_PICTURES:
        return
    means = np.array([picture.reshape(-1, 3).mean(axis=0) for picture in pictures])
    if np.mean(means[:, 2] - means[:, 0] > BLUER) >= SHARE:
        warnings.warn(
            "most of these pictures are bluer than red: are they BGR, as OpenCV reads them? RGB is "
            "expected: picture[..., ::-1]",
            LooksLikeBGR,
            stacklevel=4,
        )
