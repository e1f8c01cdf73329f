"""Association of tracklets within and across cameras: the learner of DAL and of uPMnet.

Chen, Zhu, Gong, "Deep Association Learning for Unsupervised Video Person Re-identification", BMVC
2018, arXiv 1808.07301; Zang, Li, Gao, Shu, "Exploiting Robust Unsupervised Video Person
Re-identification", 2022, arXiv 2111.05170, with a learner of its own for each part of a person.

A tracklet is a row of two banks [p, t, d]: its anchor in its camera, and the anchor that its match
in another camera has moved. Rows of all cameras stand in one bank; which camera a row belongs to is
in `row_camera`. Nobody compares the numbers of tracklets of two cameras. A row is zero until a
frame of its tracklet was seen.

Anchors are rows of unit length. The banks are large beside a batch, so no bank of unit rows is ever
made: distances are scaled by the lengths, and single rows are normalized when they are taken out.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from luperson_jax.losses.masked import counted, masked_mean

EmptyRows = Literal["masked", "compete"]
"""Whether rows without a frame so far are left out of the rankings, or stand there as zero vectors,
nearer than every anchor of a cosine below a half, as in the authors' program."""

Update = Literal["reference", "ema"]

EPSILON = 1e-10
"""Least squared norm that is divided by."""


def association_loss(
    features: Float[Array, "b p d"],
    intra: Float[Array, "p t d"],
    cross: Float[Array, "p t d"],
    row: Int[Array, " b"],
    row_camera: Int[Array, " t"],
    *,
    margin: float = 0.5,
    empty_rows: EmptyRows = "masked",
    mask: Bool[Array, " b"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Frames are to be nearer to their own anchors than to the nearest anchor of their camera.

    Both losses of a part are mean hinges of d(own anchor) - d(negative) + margin, with squared
    distances. The negative is the nearest anchor of the camera; where that is the own one, the mean
    of such distances over the frames of the camera in the batch.

    Args:
        features: [b, p, d] unit vectors of every part of every frame.
        intra, cross: the banks as they were before the batch; they have no gradient.
        row: [b] tracklet of each frame; a negative one is none and does not count.
        row_camera: [t] camera of each row.
        margin: of the hinges.
        empty_rows: see `EmptyRows`; where they are masked, frames of a tracklet that no frame was
            seen of so far cost nothing.
        mask: [b] False where the frame is padding.

    Returns:
        The mean over the parts of the sum of both losses; a healthy run comes to rest near 2
        margin, and not at 0. And {"intra", "cross"}: the means of each, {"own_first"}: share of
        frames that are nearest to their own anchor, and {"d_intra", "d_cross", "d_negative"}:
        [b, p] distances.
    """
    frames = jnp.swapaxes(features, 0, 1)
    intra, cross = (jax.lax.stop_gradient(bank) for bank in (intra, cross))
    place = jnp.clip(row, 0)
    squares = _squared_lengths(intra)
    distance = _distances(jax.lax.stop_gradient(frames), intra, squares)
    d_intra, d_cross = (
        _squared_lengths(frames - normalized(bank[:, place])) for bank in (intra, cross)
    )
    camera = row_camera[place]
    counts = jnp.broadcast_to(counted(row, mask), d_intra.shape)
    near = jnp.broadcast_to(camera[:, None] == row_camera[None, :], distance.shape)
    if empty_rows == "masked":
        seen = squares > 0
        near &= seen[:, None, :]
        counts &= seen[:, place]
    first = jnp.argmin(jnp.where(near, distance, jnp.inf), axis=2)
    own_first = first == place[None, :]
    nearest = normalized(jnp.take_along_axis(intra, first[..., None], axis=1))
    least = jnp.where(counts, _squared_lengths(frames - nearest), 0.0)
    negative = jnp.where(own_first, _means_of_cameras(least, camera, counts), least)
    losses = {
        name: masked_mean(jnp.maximum(own - negative + margin, 0).reshape(-1), counts.reshape(-1))
        for name, own in (("intra", d_intra), ("cross", d_cross))
    }
    share = masked_mean(own_first.astype(jnp.float32).reshape(-1), counts.reshape(-1))
    distances = {"d_intra": d_intra.T, "d_cross": d_cross.T, "d_negative": negative.T}
    return losses["intra"] + losses["cross"], {**losses, "own_first": share, **distances}


def move_banks(
    intra: Float[Array, "p t d"],
    cross: Float[Array, "p t d"],
    features: Float[Array, "b p d"],
    row: Int[Array, " b"],
    row_camera: Int[Array, " t"],
    started: Bool[Array, ""],
    *,
    rate: float = 0.5,
    update: Update = "reference",
    empty_rows: EmptyRows = "masked",
    mask: Bool[Array, " b"] | None = None,
) -> tuple[Float[Array, "p t d"], Float[Array, "p t d"]]:
    """The banks after a batch.

    Anchors in the camera follow the frames. Then each tracklet of the batch looks for the nearest
    anchor of all other cameras; where the way back leads to the tracklet itself, its anchor across
    cameras is the mean of the two, else its anchor in the camera.

    Args:
        intra, cross, features, row, row_camera, mask: as of `association_loss`; no gradient runs
            through the result.
        started: [] whether matches across cameras count yet.
        rate: of the anchors.
        update: "reference" adds rate (frame - anchor of unit length) for every frame. Its rows come
            to have the length `rate`, and an anchor is then the last frame. "ema" is a moving
            average, of unit length, with the mean of the tracklet's frames of the batch.
        empty_rows: see `EmptyRows`.

    Returns:
        intra and cross.
    """
    frames = jax.lax.stop_gradient(jnp.swapaxes(features, 0, 1))
    place = jnp.where(counted(row, mask), row, len(row_camera))  # past the end: dropped
    old = intra[:, jnp.clip(row, 0)]
    same = (place[:, None] == place[None, :]).astype(jnp.float32)
    total = jnp.einsum("bc,pcd->pbd", same, frames, precision=jax.lax.Precision.HIGHEST)
    number, before = jnp.sum(same, axis=1)[None, :, None], normalized(old)
    if update == "reference":
        moved = old + rate * (total - number * before)
    else:
        first = ~jnp.any(old != 0, axis=2, keepdims=True)
        mean = total / number
        moved = normalized(jnp.where(first, mean, (1 - rate) * before + rate * mean))
    squares = _squared_lengths(intra).at[:, place].set(_squared_lengths(moved), mode="drop")
    intra, own = _replaced(intra, moved, place), normalized(moved)
    match, consistent = _matches(intra, squares, own, place, row_camera, empty_rows)
    across = jnp.where((consistent & started)[..., None], (own + match) / 2, own)
    return intra, _replaced(cross, across, place)


def _replaced(bank: Array, vectors: Array, place: Array) -> Array:
    """The bank [p, t, d] with vectors [p, b, d] in the rows `place` [b]: those of a row are alike,
    and what lies outside is dropped. In one pass; a scatter would copy the bank before it."""
    last = jnp.full(bank.shape[1], -1).at[place].max(jnp.arange(len(place)), mode="drop")
    return jnp.where((last >= 0)[None, :, None], vectors[:, last], bank)


def _matches(
    intra: Array,
    squares: Array,
    own: Array,
    place: Array,
    row_camera: Array,
    empty_rows: EmptyRows,
) -> tuple[Array, Array]:
    """The nearest row of another camera [p, b, d], and whether the way back is the way there."""
    camera = row_camera.at[place].get(mode="clip")
    mine = jnp.broadcast_to(
        camera[:, None] == row_camera[None, :], (len(intra), len(camera), len(row_camera))
    )
    seen = jnp.ones_like(mine)
    if empty_rows == "masked":
        seen = jnp.broadcast_to((squares > 0)[:, None, :], mine.shape)
    there = jnp.where(~mine & seen, _distances(own, intra, squares), jnp.inf)
    nearest = jnp.argmin(there, axis=2)
    match = normalized(jnp.take_along_axis(intra, nearest[..., None], axis=1))
    back = jnp.where(mine & seen, _distances(match, intra, squares), jnp.inf)
    returned = jnp.argmin(back, axis=2) == place[None, :]
    return match, returned & jnp.isfinite(jnp.min(there, axis=2))


def normalized(x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
    """x / sqrt(max(|x|^2, 1e-10)): a zero row stays zero."""
    return x * jax.lax.rsqrt(jnp.maximum(_squared_lengths(x)[..., None], EPSILON))


def _squared_lengths(x: Array) -> Array:
    return jnp.sum(x**2, axis=-1)


def _distances(vectors: Array, bank: Array, squares: Array) -> Array:
    """[p, b, t] squared Euclidean distances of vectors [p, b, d] to the rows of a bank [p, t, d] as
    they are at unit length, by the squared lengths that they have."""
    scale = jax.lax.rsqrt(jnp.maximum(squares, EPSILON))
    product = jnp.einsum("pbd,ptd->pbt", vectors, bank, precision=jax.lax.Precision.HIGHEST)
    lengths = _squared_lengths(vectors)[:, :, None] + (squares * scale**2)[:, None, :]
    return lengths - 2 * product * scale[:, None, :]


def _means_of_cameras(values: Array, camera: Array, counts: Array) -> Array:
    """[p, b] mean of the values [p, b] that count over the frames of each one's camera."""
    same = (camera[:, None] == camera[None, :])[None] & counts[:, None, :]
    number = jnp.maximum(jnp.sum(same, axis=2, dtype=jnp.float32), 1)
    return jnp.einsum("pbc,pc->pb", same.astype(jnp.float32), values) / number
