"""Draw the picture of the synthetic world that the README shows.

    python scripts/contact_sheet.py docs/synthetic_world.png

One row a person; the columns are cameras, each with a few pictures of that person.
"""

import argparse
import io
import pathlib

import numpy as np
from PIL import Image

from data_pipeline.read import atomic
from data_pipeline.synthetic.world import World

GAP = 6
PAPER = 255
COLORS = 256


def contact_sheet(world: World, people: int, cameras: int, instances: int) -> np.ndarray:
    """[H, W, 3] uint8: a grid of pictures with a white gap between cameras and between people."""
    blank = np.full((world.height, GAP, 3), PAPER, dtype=np.uint8)
    rows = []
    for person in range(people):
        cells = []
        for camera in range(cameras):
            cells += [world.render(person, camera, i) for i in range(instances)]
            cells.append(blank)
        rows.append(np.concatenate(cells[:-1], axis=1))
        rows.append(np.full((GAP, rows[0].shape[1], 3), PAPER, dtype=np.uint8))
    return np.concatenate(rows[:-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=pathlib.Path, help="file to write, .png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--instances", type=int, default=2)
    args = parser.parse_args()
    sheet = contact_sheet(World(args.seed), args.people, args.cameras, args.instances)
    # Sensor noise does not compress; a palette keeps the file small enough for a repository.
    picture = Image.fromarray(sheet).quantize(COLORS, dither=Image.Dither.NONE)
    data = io.BytesIO()
    picture.save(data, format="png", optimize=True)
    with atomic.replacing(args.out) as part:
        part.write_bytes(data.getvalue())


if __name__ == "__main__":
    main()
