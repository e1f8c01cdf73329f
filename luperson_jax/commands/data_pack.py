"""`luperson data pack NAME DIR OUT`: puts the pictures of a data set into a few large files.

OUT is then named in a configuration by data.dataset=packed, data.root=OUT, and opened by
`tfds.builder_from_directory`. A pack that was interrupted goes on when the same command is given
again. With --format lmdb it is written for programs that read LUPerson's form.

Example:
    luperson data pack market1501 Market-1501-v15.09.15 packed
"""

import argparse
import contextlib
import os
import pathlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from data_pipeline import datasets, terminal
from data_pipeline.errors import InputError
from data_pipeline.packing import lmdb_form, pack
from luperson_jax.commands.options import shared

FORMATS = (pack.FORM, lmdb_form.FORM)
NOT_FOR_LMDB = ("shard_images", "workers", "beam", "beam_options")
MOST_WORKERS = 16


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("name", metavar="NAME", help=f"data set: {', '.join(datasets.DATASETS)}")
    parser.add_argument("root", metavar="DIR", help="its folder; several separated by commas")
    parser.add_argument("out", metavar="OUT", help="folder to fill; absent or empty")
    parser.add_argument("--format", default=pack.FORM, help=f"of the files: {' or '.join(FORMATS)}")
    shared.add_split_option(parser)
    parser.add_argument(
        "--shard-images",
        type=int,
        default=argparse.SUPPRESS,
        help=f"pictures in one file (default: {pack.SHARD_IMAGES})",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=argparse.SUPPRESS,
        help=f"processes (default: one for each core, at most {MOST_WORKERS})",
    )
    parser.add_argument(
        "--beam", action="store_true", help="an Apache Beam pipeline in place of --workers"
    )
    parser.add_argument(
        "--beam-options",
        metavar="TEXT",
        default=argparse.SUPPRESS,
        help="options of the pipeline in quotes, such as --beam-options='--runner=FlinkRunner'",
    )


def run(options: argparse.Namespace) -> None:
    """Packs, and says what was packed.

    Raises:
        InputError: wrong options, or whatever `pack` and `lmdb_form.export` raise.
    """
    given = vars(options)
    _check(given)
    with _progress() as progress:
        if options.format == lmdb_form.FORM:
            counts = lmdb_form.export(
                options.name, options.root, options.out, split=options.split, progress=progress
            )
            lines = [f"{part:12} {images} pictures" for part, images in counts.items()]
        else:
            workers = min(os.cpu_count() or 1, MOST_WORKERS)
            description = pack.pack(
                options.name,
                options.root,
                options.out,
                split=options.split,
                shard_images=given.get("shard_images", pack.SHARD_IMAGES),
                workers=given.get("workers", workers),
                beam=shlex.split(given.get("beam_options", "")) if options.beam else None,
                progress=progress,
            )
            lines = _lines(description, pathlib.Path(options.out))
    root, out = terminal.visible_name(options.root), terminal.visible_name(options.out)
    terminal.say(f"{root} -> {out}", *lines)


def _check(given: Mapping[str, Any]) -> None:
    if given["format"] not in FORMATS:
        raise InputError(f"--format is {given['format']!r}; expected one of {', '.join(FORMATS)}")
    if given["format"] == lmdb_form.FORM:
        for name in NOT_FOR_LMDB:
            if given.get(name, False) is not False:
                raise InputError(
                    f"--{name.replace('_', '-')} does not go with --format lmdb, which is written "
                    "by one process into one file; leave it out"
                )
    if "beam_options" in given and not given["beam"]:
        raise InputError("--beam-options is given without --beam; give both or none")
    if given["beam"] and "workers" in given:
        raise InputError(
            "--workers does not go with --beam; --beam-options tell the pipeline how many it has"
        )


def _lines(description: Mapping[str, Any], out: pathlib.Path) -> list[str]:
    lines = [
        f"{part:12} {facts['images']} pictures in {len(facts['shards'])} files, {facts['ids']} "
        f"identities, {facts['cameras']} cameras, fingerprint {facts['fingerprint']}"
        for part, facts in description["parts"].items()
    ]
    size = sum(description["bytes"].values()) / 1e6
    return [*lines, f"{size:.1f} MB; open it with data.dataset=packed data.root={out}"]


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar with the time that is left, where somebody watches."""
    import rich.progress  # late, as the console

    console = terminal.console(stderr=True, soft_wrap=False)
    with rich.progress.Progress(
        *rich.progress.Progress.get_default_columns(),
        rich.progress.MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("packing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
