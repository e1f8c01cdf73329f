"""Parts of a training set: the small-scale and few-shot protocols of LUPerson, and CMPE597's.

A list that lies beside the data (`few_ids/used_ids_0.10.txt`, `few_ims/used_ims_0.10.txt`,
`cmpe597/...`) or that the user names is followed, or refused where it does not fit. Where there is
none, a subset is drawn by the rules of the published lists.
"""

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from data_pipeline.datasets import folders
from data_pipeline.errors import InputError, suggest
from data_pipeline.read import listing
from data_pipeline.subsets import cmpe, draw, lists
from data_pipeline.table.records import UNLABELLED, Table

SUBSETS = ("ids", "images", "cmpe_finetune", "cmpe_pretrain", "cmpe_pretrain_published")


@dataclasses.dataclass(frozen=True)
class Selection:
    """Rows of a training set, and where their choice comes from.

    Attributes:
        rows: [n] int64, ascending.
        source: the path of a list, or how they were drawn.
    """

    rows: np.ndarray
    source: str


def apply(
    table: Table,
    root: str = "",
    subset: str = "",
    ratio: float = 1.0,
    repeat: int = 1,
    list_path: str = "",
    seed: int = 0,
) -> Table:
    """The part of a training set that a configuration asks for.

    Args:
        table: the whole training set.
        root, subset, ratio, list_path, seed: as in `select`.
        repeat: how often the images stand in the result; LUPerson repeats the few images of a
            few-shot run two or three times, which makes its epochs longer.

    Returns:
        Its rows in the order of the table, with the identities that the data set gives them.

    Raises:
        InputError: as `select`, or `repeat` below 1 or for a table of tracklets.
    """
    rows = select(table, root, subset, ratio, list_path, seed).rows
    if repeat < 1:
        raise InputError(f"`repeat` is {repeat}; expected 1 (every image once) or more")
    if repeat > 1:
        _refuse_tracklets(table, f"`repeat`={repeat}")
    return table if repeat == 1 and len(rows) == len(table) else table.take(np.tile(rows, repeat))


def ids(table: Table, ratio: float, root: str = "", list_path: str = "", seed: int = 0) -> Table:
    """All images of int(N ratio) of the N identities: LUPerson's small-scale protocol."""
    return apply(table, root, "ids", ratio, list_path=list_path, seed=seed)


def images(table: Table, ratio: float, root: str = "", list_path: str = "", seed: int = 0) -> Table:
    """int(M ratio) of the M images, of all identities: LUPerson's few-shot protocol."""
    return apply(table, root, "images", ratio, list_path=list_path, seed=seed)


def select(
    table: Table,
    root: str = "",
    subset: str = "",
    ratio: float = 1.0,
    list_path: str = "",
    seed: int = 0,
) -> Selection:
    """The rows of the part of a training set that a configuration asks for.

    Args:
        table: the whole training set.
        root: its folder, or several separated by commas, where a list is looked for; empty to look
            nowhere, for a table made of several sets.
        subset: empty for all, or one of `SUBSETS`.
        ratio: share of identities or images, in whole percent. CMPE597's parts have their own.
        list_path: the list to follow, instead of the one beside the data.
        seed: of the draw where there is no list.

    Raises:
        InputError: unknown subset, wrong ratio, a list that does not fit, a table without the
            identities that the subset is made by.
    """
    if not subset:
        if ratio != 1 or list_path:
            raise InputError(
                f"`ratio`={ratio} and `list_path`={list_path!r} say nothing without "
                f"`subset`; give it as one of {', '.join(SUBSETS)}"
            )
        return Selection(np.arange(len(table)), "all images")
    if subset not in SUBSETS:
        raise InputError(f"`subset` is {subset!r}{suggest(subset, SUBSETS)}")
    if subset.startswith("cmpe") and ratio != 1:
        raise InputError(
            f"`ratio`={ratio} with `subset`={subset}, which has its own; leave `ratio` "
            "at 1.0, or use the subset ids"
        )
    part = _part(subset, ratio)
    _check_table(table, subset, part.of_images)
    beside = "" if list_path else _beside(table, root, part.file)
    if not (list_path or beside):
        return part.draw(table, root, seed)
    rows = part.read(table, list_path or beside, part.number(table))
    if beside and subset == "cmpe_pretrain":
        _refuse_overlap(table, rows, beside, _finetune(table, root, seed))
    return Selection(rows, list_path or beside)


@dataclasses.dataclass(frozen=True)
class _Part:
    file: str
    of_images: bool
    number: Callable[[Table], int]
    draw: Callable[[Table, str, int], Selection]

    def read(self, table: Table, path: str, expected: int) -> np.ndarray:
        rows_of = lists.rows_of_images if self.of_images else lists.rows_of_ids
        return rows_of(table, path, expected)


def _part(subset: str, ratio: float) -> _Part:
    if subset == "ids":
        return _Part(
            lists.ids_file(ratio),
            False,
            lambda table: draw.num_ids(table, ratio),
            lambda table, _, seed: Selection(
                np.flatnonzero(np.isin(table.pid, draw.draw_ids(table, ratio, seed))),
                f"identities drawn with seed {seed}",
            ),
        )
    if subset == "images":
        return _Part(
            lists.images_file(ratio),
            True,
            lambda table: draw.num_images(table, ratio),
            lambda table, _, seed: Selection(
                draw.draw_images(table, ratio, seed), f"images drawn with seed {seed}"
            ),
        )
    if subset == "cmpe_finetune":
        return _Part(
            cmpe.FINETUNE_FILE,
            False,
            lambda table: draw.num_ids(table, cmpe.FINETUNE_RATIO),
            lambda table, root, seed: select(table, root, "ids", cmpe.FINETUNE_RATIO, seed=seed),
        )
    if subset == "cmpe_pretrain":
        return _Part(cmpe.PRETRAIN_FILE, False, cmpe.num_pretrain_ids, _all_but_finetune)
    return _Part(
        cmpe.PRETRAIN_PUBLISHED_FILE,
        True,
        cmpe.num_published_images,
        lambda table, *_: Selection(
            cmpe.published_rows(table),
            f"the first {cmpe.num_published_images(table)} of {len(table)} images by name",
        ),
    )


def _finetune(table: Table, root: str, seed: int) -> Selection:
    return select(table, root, "cmpe_finetune", seed=seed)


def _all_but_finetune(table: Table, root: str, seed: int) -> Selection:
    finetune = _finetune(table, root, seed)
    rest = np.flatnonzero(~np.isin(table.pid, table.pid[finetune.rows]))
    return Selection(rest, f"all identities but those of: {finetune.source}")


def _refuse_overlap(table: Table, rows: np.ndarray, path: str, finetune: Selection) -> None:
    shared = np.intersect1d(table.pid[rows], table.pid[finetune.rows])
    if len(shared):
        raise InputError(
            f"{path} shares {len(shared)} identities with the fine-tuning part "
            f"({finetune.source}); expected none. Write both lists anew into an empty folder with "
            "`luperson data split --mode cmpe`"
        )


def _check_table(table: Table, subset: str, of_images: bool) -> None:
    known = table.pid != UNLABELLED
    if not len(table):
        raise InputError(f"`subset`={subset} of a training set without images")
    if not known.all() and (known.any() or not of_images):
        raise InputError(
            f"`subset`={subset} goes by identities, and {np.sum(~known)} of the {len(table)} "
            "images have none; use it on a labelled set, or the subset images on an unlabelled one"
        )
    if of_images:
        _refuse_tracklets(table, f"`subset`={subset}")


def _refuse_tracklets(table: Table, setting: str) -> None:
    if (table.track >= 0).any():
        raise InputError(
            f"{setting} is for single images, and the rows of this set are frames of tracklets; "
            "use `subset`=ids, which keeps tracklets whole"
        )


def _beside(table: Table, root: str, file: str) -> str:
    """The list that lies in the folder of the data set, or between it and the images; or ""."""
    roots = folders.roots(root)
    found = [
        path
        for one in roots
        for folder in _homes(table, os.path.expanduser(one))
        if listing.is_file(path := os.path.join(folder, file))
    ]
    if found and len(roots) > 1:
        raise InputError(
            f"{found[0]} lies in one of several folders of `root`, whose identities were "
            "renumbered when they were joined; name one folder, or move the list away"
        )
    return found[0] if found else ""


def _homes(table: Table, root: str) -> list[str]:
    """The root, and the folders that lead from it to the first image, outermost first."""
    way = os.path.relpath(os.path.dirname(table.media[0]), root).split(os.sep)
    if way[0] in (os.curdir, os.pardir):
        return [root]
    return [os.path.join(root, *way[:depth]) for depth in range(len(way) + 1)]
