"""What a folder is that was given in the place of another: a run, an index, a model, embeddings."""

import os
import pathlib

from data_pipeline.read import listing

KINDS = (
    (("recipe.json",), "the workdir of a run, which --workdir takes"),
    (("manifest.json",), "an index, which --index takes"),
    (("model.safetensors", "config.json"), "a packed model, which --weights takes"),
    (("features.npy", "index.parquet"), "saved embeddings, as `luperson embed` writes them"),
)
"""The files that tell a folder's kind, and what it is."""


def told(folder: str | os.PathLike, otherwise: str) -> str:
    """Ends the message about a folder that is not what was asked for.

    Args:
        folder: what was given.
        otherwise: the end where nothing is known of it.
    """
    for names, what in KINDS:
        if all(listing.is_file(pathlib.Path(folder, name)) for name in names):
            return f"it is {what}"
    return otherwise
