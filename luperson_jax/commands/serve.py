"""The work of `luperson serve`: an index in a browser."""

import argparse
import importlib.util
import pathlib

from data_pipeline.errors import InputError
from luperson_jax.commands import network, output
from luperson_jax.serving.gallery_index import Index
from luperson_jax.serving.reid_model import ReidModel

PACKAGES = ("starlette", "uvicorn", "jinja2", "python_multipart")
"""Of the extra `ui`."""


def run(options: argparse.Namespace) -> None:
    """Opens the index and answers until Ctrl-C. Labels that were changed by hand are kept in a
    temporary folder then.

    Raises:
        InputError: a missing package, a wrong index, network or file of labels, or a port that is
            taken.
    """
    missing = [one for one in PACKAGES if importlib.util.find_spec(one) is None]
    if missing:
        raise InputError(f"the page needs {', '.join(missing)}; pip install 'luperson_jax[ui]'")
    from luperson_jax.page import app, label_files, server  # with the extra alone
    from luperson_jax.page.gallery import Gallery

    rule = network.decision_rule(options)
    if rule is not None and not 0 <= rule.band[0] <= 2:
        raise InputError(f"--threshold is {rule.band[0]}; expected a cosine distance, 0 to 2")
    model = None
    if options.workdir or options.weights:
        model = ReidModel(network.open_chosen(options))
    index = Index.open(options.index, model)
    index.check_rule(rule)
    gallery = Gallery.of(index, tracklets=options.tracklets)
    start = label_files.read(options.labels, gallery) if options.labels else None
    title = pathlib.Path(options.index).absolute().name
    page = app.Page(gallery, model, rule=rule, start=start, title=title)
    output.say(f"{options.index}: {len(gallery)} {page.what}")
    try:
        server.serve(page.app(), options.port)
    finally:
        kept = page.keep()
        if kept is not None:
            output.say(f"changes by hand are kept in {kept}")
