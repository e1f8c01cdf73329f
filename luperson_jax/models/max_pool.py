"""3x3 max-pooling at stride 2, with a gradient that is a few selections."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from luperson_jax import platforms
from luperson_jax.models.convolution import Around, interleaved


def max_pool(x: Float[Array, "b h w c"], around: Around) -> Float[Array, "b h2 w2 c"]:
    """The largest of every 3x3 pixels, at every second row and column.

    The gradient of a pixel of the result goes to the first of its nine that is largest, as in
    PyTorch. XLA's own gradient of a window, a select-and-scatter, takes several times as long on a
    CPU.

    Args:
        x: [B, H, W, C].
        around: what surrounds the map, of the lowest value.
    """
    return _pooled(x, around, x.shape[1:3])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _pooled(x: Array, around: Around, size: tuple[int, int]) -> Array:
    sides = ((0, 0), *around, (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), sides)


def _forward(x: Array, around: Around, size: tuple[int, int]) -> tuple[Array, Array]:
    largest, place = _largest(x, around)
    return largest, platforms.computed_once(place)


def _backward(around: Around, size: tuple[int, int], place: Array, gradient: Array) -> tuple[Array]:
    """Row 2a of the padded map is the first row of window a and the last of window a - 1, row
    2a + 1 the middle one of window a; columns alike."""
    # Every pixel looks at it up to four times; it would be computed anew each time.
    gradient = platforms.computed_once(gradient)

    def reaching(number: int, after_row: bool, after_column: bool) -> Array:
        """What pixel `number` of its window gets, by where it lies, a row or column later."""
        part = jnp.where(place == number, gradient, 0)
        rows, columns = ((1, 0) if after else (0, 1) for after in (after_row, after_column))
        return jnp.pad(part, ((0, 0), rows, columns, (0, 0)))

    first, middle, last = (0, False), (1, False), (2, True)
    phases: Any = [
        [
            sum(
                reaching(3 * row + column, after_row, after_column)
                for row, after_row in rows
                for column, after_column in columns
            )
            for columns in ((first, last), (middle,))
        ]
        for rows in ((first, last), (middle,))
    ]
    (top, _), (left, _) = around
    return (interleaved(phases)[:, top : top + size[0], left : left + size[1]],)


_pooled.defvjp(_forward, _backward)


def _largest(x: Array, around: Around) -> tuple[Array, UInt8[Array, "b h2 w2 c"]]:
    """The result, and which of its nine pixels, row by row, was the first that is largest."""
    padded = jnp.pad(x, ((0, 0), *around, (0, 0)), constant_values=-jnp.inf)
    last = [length - 2 for length in padded.shape[1:3]]
    shifted = [
        padded[:, row : row + last[0] : 2, column : column + last[1] : 2]
        for row in range(3)
        for column in range(3)
    ]
    largest, place = shifted[0], jnp.zeros(shifted[0].shape, jnp.uint8)
    for number, value in enumerate(shifted[1:], start=1):
        place = jnp.where(value > largest, jnp.uint8(number), place)
        largest = jnp.maximum(value, largest)
    return largest, place
