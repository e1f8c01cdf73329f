"""Whether what was written gives the features that ours gives."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.read import decode
from data_pipeline.synthetic.world import World
from luperson_jax.exporting.conventions import Convention
from luperson_jax.serving.reid_model import ReidModel

NUM_PICTURES, NUM_CAMERAS = 8, 4
BATCHES = (1, 3)
"""Pictures at once, besides all of them."""
LIMIT = 1e-4
"""Largest difference of any number of two features of unit length, both computed in float32."""
LOOSE = 0.02
"""The same where ours is computed in bfloat16."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How near features of two programs are, over all pictures.

    Attributes:
        pictures: how many.
        difference: the largest of any number.
        cosine: the smallest.
    """

    pictures: int
    difference: float
    cosine: float

    def __str__(self) -> str:
        return (
            f"{self.pictures} pictures, largest difference {self.difference:.1e}, smallest cosine "
            f"{self.cosine:.7f}"
        )


def drawn_pictures(size: tuple[int, int]) -> UInt8[np.ndarray, "b h w 3"]:
    """Drawn people in the size of a network."""
    world = World(seed=0)
    drawn = [world.render(one, one % NUM_CAMERAS, 0) for one in range(NUM_PICTURES)]
    return np.stack([decode.to_canvas(one, size) for one in drawn])


def expected(model: ReidModel, pictures: UInt8[np.ndarray, "b h w 3"]) -> Float[np.ndarray, "b d"]:
    """Features of unit length by our network, with products of full precision."""
    with jax.default_matmul_precision("highest"):
        return model.embed([Image.fromarray(one) for one in pictures])


def compare(ours: Float[np.ndarray, "b d"], theirs: Float[np.ndarray, "b d"]) -> Agreement:
    """Compares features of unit length.

    Raises:
        InputError: they have other shapes, or some of ours have no length.
    """
    if ours.shape != theirs.shape:
        raise InputError(f"features have the shape {theirs.shape}; expected {ours.shape}")
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    if not np.linalg.norm(ours, axis=1).all():
        raise InputError(
            "the network gives features of only zeros, which agree with anything: is it trained?"
        )
    cosine = np.sum(ours * theirs, axis=1) / np.maximum(lengths, 1e-12)
    return Agreement(len(ours), float(np.abs(ours - theirs).max()), float(cosine.min()))


def check(
    run: Callable[[np.ndarray], np.ndarray],
    convention: Convention,
    pictures: UInt8[np.ndarray, "b h w 3"],
    ours: Float[np.ndarray, "b d"],
    limit: float = LIMIT,
) -> Agreement:
    """Runs what was written on pictures, one, a few and all at once.

    Args:
        run: from what the convention hands over to features [b, D].
        convention: of the program.
        pictures: in the size of the network.
        ours: their features by our network.
        limit: see `LIMIT`.

    Returns:
        The worst of all batches.

    Raises:
        InputError: they differ by more than the limit.
    """
    found = []
    for num in (*BATCHES, len(pictures)):
        theirs = np.asarray(run(convention.fed(pictures[:num])))
        found.append(compare(ours[:num], theirs))
    worst = Agreement(
        len(pictures),
        max(one.difference for one in found),
        min(one.cosine for one in found),
    )
    if not (worst.difference <= limit and worst.cosine >= 1 - limit):  # nan is refused, too
        raise InputError(f"what was written does not agree with the network: {worst}")
    return worst
