"""Write parts of the drawn world to disk in the layouts of the published data sets."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from data_pipeline.errors import InputError, suggest
from data_pipeline.synthetic import image_layouts, streams, video_layouts
from data_pipeline.synthetic.plan import KEEP_EVERY, UNLABELLED_PEOPLE, Plan, Shot, save

Writer = Callable[[pathlib.Path, Plan], dict[str, int]]


def make(layout: str, root: str | pathlib.Path, **numbers) -> dict[str, int]:
    """Write a part of the world in a published layout.

    Args:
        layout: a key of `LAYOUTS`.
        root: folder to fill; it must be absent or empty.
        numbers: fields of `Plan`.

    Returns:
        Number of images in each part, by the part's name.

    Raises:
        InputError: an unknown layout or setting, a folder that is not empty, impossible numbers.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}{suggest(layout, LAYOUTS)}")
    fields = [field.name for field in dataclasses.fields(Plan)]
    for name in numbers:
        if name not in fields:
            raise InputError(f"unknown setting {name!r}{suggest(name, fields)}")
    plan = Plan(**numbers)
    root = pathlib.Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root} exists and is not an empty folder; give a new one or empty it")
    root.mkdir(parents=True, exist_ok=True)
    return LAYOUTS[layout](root, plan)


def write_folder(root: pathlib.Path, plan: Plan) -> dict[str, int]:
    """Unlabelled tracklets, laid out as LUPerson-NL is (Fu et al., Large-Scale Pre-training for
    Person Re-identification with Noisy Labels, 2022):
    `<country>/<city>/<video>/{track:06d}_{frame:07d}_{object:02d}.jpg`.

    One camera is one video. Nobody here is in a labelled layout, and a person who passes two
    cameras is two tracklets; nothing on disk tells that they are one.
    """
    rng = streams.stream(plan.seed, streams.LAYOUT, 0)
    passes = np.repeat(np.arange(plan.identities), plan.tracklets)
    tracks = rng.permutation(len(passes))
    starts = rng.integers(0, 90_000, size=len(passes))
    switches = rng.random(len(passes)) < plan.switch_rate
    num_cameras = plan.cameras + plan.extra_cameras
    first = rng.integers(num_cameras, size=plan.identities)
    for i, identity in enumerate(passes):
        camera = int(first[identity] + i % plan.tracklets) % num_cameras
        instance = i % plan.tracklets // num_cameras
        folder = root / f"country{camera // 4}" / f"city{camera // 2}" / f"video{camera:04d}"
        for frame in range(plan.frames):
            stranger = switches[i] and 2 * frame >= plan.frames
            identity_shown = (identity + stranger) % plan.identities
            shot = Shot(0, camera + 1, 1, UNLABELLED_PEOPLE + int(identity_shown), instance)
            moment = KEEP_EVERY * frame
            name = f"{tracks[i]:06d}_{starts[i] + moment:07d}_00.jpg"
            save(plan.world, shot, folder / name, moment)
    return {"images": len(passes) * plan.frames}


LAYOUTS: dict[str, Writer] = {
    **image_layouts.LAYOUTS,
    "folder": write_folder,
    **video_layouts.LAYOUTS,
}
