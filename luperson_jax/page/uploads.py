"""Pictures that a browser sends: checked, embedded, and kept in memory for a while."""

import collections
import secrets
import threading
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.read import decode
from luperson_jax import host_memory
from luperson_jax.page import pictures
from luperson_jax.retrieval import looks
from luperson_jax.serving.reid_model import ReidModel

MAX_BYTES = 16 << 20
MAX_PIXELS = 24_000_000
"""Of a photograph; crops of people have 0.03 million."""
MAX_KEPT = 64


class Upload(NamedTuple):
    """A picture that was sent.

    Attributes:
        name: of its file, for the reader alone.
        feature: [D] float32 of unit length.
        jpeg: a small copy.
        is_wide: wider than high, as no crop of a standing person is.
        canvas: the picture as `retrieval.looks` sees it.
    """

    name: str
    feature: np.ndarray
    jpeg: bytes
    is_wide: bool
    canvas: np.ndarray


class Uploads:
    """The last pictures that were sent, by tokens that nobody guesses."""

    def __init__(self, model: ReidModel | None) -> None:
        self._model = model
        self._kept: collections.OrderedDict[str, Upload] = collections.OrderedDict()
        self._lock = threading.Lock()

    @property
    def welcome(self) -> bool:
        """Whether there is a network that embeds them."""
        return self._model is not None

    def warm(self) -> None:
        """Compiles, so that nobody waits for it later."""
        if self._model is not None:
            with self._lock:
                self._model.embed(np.full((64, 32, 3), 127, np.uint8))
            host_memory.give_back()

    def add(self, data: bytes, name: str) -> str:
        """Checks and embeds a picture; its token.

        Raises:
            InputError: no network, or a file that is too large or no picture.
        """
        if self._model is None:
            raise InputError(
                "this page was started without a network, so only pictures of the index can be "
                "searched with; start it with --workdir or --weights"
            )
        if not data:
            raise InputError("no file was chosen, or an empty one; choose a picture of a person")
        if len(data) > MAX_BYTES:
            raise InputError(
                f"{name} has {len(data) / 2**20:.1f} MiB, and a picture may have "
                f"{MAX_BYTES >> 20}; make it smaller"
            )
        pixels = decode.decode(data, name, MAX_PIXELS)
        small = Image.fromarray(pixels)
        small.thumbnail((2 * pictures.HEIGHT, pictures.HEIGHT))
        with self._lock:
            feature = self._model.embed(pixels)
            token = secrets.token_urlsafe(16)
            is_wide = pixels.shape[1] > pixels.shape[0]
            canvas = decode.to_canvas(pixels, looks.SIZE)
            self._kept[token] = Upload(name, feature, pictures.as_jpeg(small), is_wide, canvas)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return token

    def get(self, token: str) -> Upload:
        """The picture of a token.

        Raises:
            InputError: it is not kept any more.
        """
        with self._lock:
            found = self._kept.get(token)
        if found is None:
            raise InputError(
                f"this picture is not kept any more: the page forgets all but the last {MAX_KEPT}, "
                "and all of them when it is stopped; send it again"
            )
        return found
