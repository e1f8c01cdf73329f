"""The work of `luperson index-export`."""

import argparse

from luperson_jax.commands import output
from luperson_jax.serving import index_exchange
from luperson_jax.serving.gallery_index import Index


def run(options: argparse.Namespace) -> None:
    """Writes, compares and says both.

    Raises:
        InputError: see `index_exchange.hand_over`.
    """
    index = Index.open(options.index)
    how = {"approximate": options.approximate}
    found = index_exchange.hand_over(index, options.target, options.to, **how)
    output.say(
        f"{options.target}: {found.pictures} pictures for {options.to}, vectors and numbers read "
        "back and identical",
        f"of our nearest pictures it finds {100 * found.recall:.1f} %; distances differ by up to "
        f"{found.difference:.1e}",
    )
