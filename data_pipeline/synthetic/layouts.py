"""Write parts of the drawn world to disk in the layouts of the published data sets."""

import dataclasses
import pathlib
from collections.abc import Callable

from data_pipeline.errors import InputError, suggest
from data_pipeline.read import listing
from data_pipeline.synthetic import image_layouts, luperson_layouts, video_layouts
from data_pipeline.synthetic.extent import Extent

Writer = Callable[[pathlib.Path, Extent], dict[str, int]]


def make(layout: str, root: str | pathlib.Path, **numbers) -> dict[str, int]:
    """Write a part of the world in a published layout.

    Args:
        layout: a key of `LAYOUTS`.
        root: folder to fill; it must be absent or empty.
        numbers: fields of `Extent`.

    Returns:
        Number of images in each part, by the part's name.

    Raises:
        InputError: an unknown layout or setting, a folder that is not empty, impossible numbers.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}{suggest(layout, LAYOUTS)}")
    fields = [field.name for field in dataclasses.fields(Extent)]
    for name in numbers:
        if name not in fields:
            raise InputError(f"unknown setting {name!r}{suggest(name, fields)}")
    extent = Extent(**numbers)
    root = pathlib.Path(root)
    if listing.exists(root) and (not listing.is_folder(root) or listing.names(root)):
        raise InputError(f"{root} exists and is not an empty folder; give a new one or empty it")
    root.mkdir(parents=True, exist_ok=True)
    return LAYOUTS[layout](root, extent)


LAYOUTS: dict[str, Writer] = {
    **image_layouts.LAYOUTS,
    **luperson_layouts.LAYOUTS,
    **video_layouts.LAYOUTS,
}
