"""What a canvas keeps of larger pictures, and what it costs.

    python scripts/benchmark_canvas.py
    python scripts/benchmark_canvas.py --originals 192x96 768x384 --canvases 384x192 --rounds 3

Detail: energy of the Laplacian of crops that are cut from the canvas, as a share of that of the
same crops cut from the original, in the view of the pre-training. The pictures are drawn, with a
spectrum that falls with the frequency, as that of photographs does. Time: of the host to put one
picture of the largest size on the canvas, and of the device to draw one view, the least of several
rounds that take turns.
"""

import argparse
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table

from data_pipeline.read.decode import to_canvas
from luperson_jax.augment import geometry, recipes

VIEW = (256, 128)
PICTURES = 32
BATCH = 2560


def size(text: str) -> tuple[int, int]:
    """Height and width of "384x192"."""
    height, _, width = text.partition("x")
    return int(height), int(width)


def draw(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """[h, w, 3] uint8: noise whose amplitude falls as one over the frequency."""
    rows, columns = (np.fft.fftfreq(length)[:, None] for length in shape)
    frequency = np.hypot(rows, columns.T) + 1 / max(shape)
    noise = generator.standard_normal((3, *shape))
    plain = np.fft.ifft2(np.fft.fft2(noise) / frequency).real.transpose(1, 2, 0)
    return np.clip(128 + 40 * plain / plain.std(), 0, 255).astype(np.uint8)


def laplacian(image: jax.Array) -> jax.Array:
    """Mean square of what differs from the mean of the four neighbors."""
    middle = image[1:-1, 1:-1]
    sides = image[:-2, 1:-1] + image[2:, 1:-1] + image[1:-1, :-2] + image[1:-1, 2:]
    return jnp.mean(jnp.square(4.0 * middle - sides))


@jax.jit
def energy(key: jax.Array, image: jax.Array, original: jax.Array) -> jax.Array:
    """Laplacian energy of a random crop of the pre-training; one key means one crop."""
    return laplacian(geometry.random_resized_crop(key, image, original, VIEW, geometry.Crop()))


def detail(original: tuple[int, int], canvas: tuple[int, int]) -> float:
    """Share of the energy that is left."""
    generator, kept, whole = np.random.default_rng(0), 0.0, 0.0
    for key in jax.random.split(jax.random.key(0), PICTURES):
        picture = draw(original, generator)
        kept += float(energy(key, to_canvas(picture, canvas, "bilinear"), jnp.array(original)))
        whole += float(energy(key, picture, jnp.array(original)))
    return kept / whole


def times(original: tuple[int, int], canvases: list[tuple[int, int]], rounds: int) -> np.ndarray:
    """[canvases, 2] seconds a picture: host, device."""
    picture = draw(original, np.random.default_rng(1))
    law, pixels = recipes.recipe("ori-cj+sre"), recipes.statistics("lup")
    view = jax.jit(
        lambda keys, batch, sizes: recipes.apply(
            law, keys, batch, sizes, VIEW, pixels.mean, pixels.std
        )
    )
    keys = jax.random.split(jax.random.key(1), PICTURES)
    sizes = jnp.tile(jnp.array([original]), (PICTURES, 1))
    batches = [jnp.tile(to_canvas(picture, one)[None], (PICTURES, 1, 1, 1)) for one in canvases]
    for batch in batches:
        view(keys, batch, sizes).block_until_ready()
    found = np.empty((rounds, len(canvases), 2))
    for turn in range(rounds):
        for place, (canvas, batch) in enumerate(zip(canvases, batches, strict=True)):
            start = time.perf_counter()
            for _ in range(PICTURES):
                to_canvas(picture, canvas, "bilinear")
            middle = time.perf_counter()
            view(keys, batch, sizes).block_until_ready()
            found[turn, place] = middle - start, time.perf_counter() - middle
    return found.min(axis=0) / PICTURES


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (
        ("originals", "192x96 256x128 384x192 512x256 768x384"),
        ("canvases", "256x128 384x192 512x256 768x384"),
    ):
        parser.add_argument(
            f"--{name}", type=size, nargs="+", default=[*map(size, default.split())]
        )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    table = rich.table.Table(title=f"detail of crops, and cost; a batch is {BATCH} pictures")
    heads = [f"{height}x{width}" for height, width in options.originals]
    for head in ("canvas", *heads, "MB a batch", "host ms", "view ms"):
        table.add_column(head, justify="right")
    costs = times(max(options.originals), options.canvases, options.rounds)
    for canvas, (host, device) in zip(options.canvases, costs, strict=True):
        kept = [f"{detail(original, canvas):.2f}" for original in options.originals]
        megabytes = BATCH * canvas[0] * canvas[1] * 3 / 1e6
        cells = (f"{megabytes:.0f}", f"{1e3 * host:.2f}", f"{1e3 * device:.2f}")
        table.add_row(f"{canvas[0]}x{canvas[1]}", *kept, *cells)
    rich.console.Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
