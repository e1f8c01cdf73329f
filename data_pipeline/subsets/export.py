"""Subsets as list files that can be looked at, shared and named in a configuration."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from data_pipeline import subsets
from data_pipeline.errors import InputError, suggest
from data_pipeline.subsets import cmpe, draw, lists
from data_pipeline.table.records import Table

MODES = ("ids", "images", "cmpe")


@dataclasses.dataclass(frozen=True)
class Written:
    """A list that was written, and what it selects."""

    path: pathlib.Path
    num_ids: int
    num_images: int


def write(
    table: Table, mode: str, ratios: Sequence[float], out: str, root: str = "", seed: int = 0
) -> list[Written]:
    """Draws subsets and writes their lists, all or none, where `subsets.select` looks for them.

    Args:
        table: the whole training set.
        mode: "ids", "images", or "cmpe" for the three lists of CMPE597's protocol.
        ratios: shares in whole percent; "cmpe" has its own.
        out: folder of `few_ids`, `few_ims` or `cmpe597`; that of the data set to have them found.
        root: folder of the data set; "cmpe" follows LUPerson's list of identities if it has one.
        seed: of the draw.

    Raises:
        InputError: unknown mode, wrong ratio, unfit table, a list that exists already.
    """
    if mode not in MODES:
        raise InputError(f"the mode is {mode!r}{suggest(mode, MODES)}")
    folder = pathlib.Path(out).expanduser()
    plans = _cmpe(table, root, seed) if mode == "cmpe" else _ratios(table, mode, ratios, seed)
    lists.refuse_existing([folder / plan.file for plan in plans])
    return [_write(table, folder, plan) for plan in plans]


@dataclasses.dataclass(frozen=True)
class _Plan:
    file: str
    rows: np.ndarray
    of_images: bool
    comment: str = ""


def _ratios(table: Table, mode: str, ratios: Sequence[float], seed: int) -> list[_Plan]:
    percents = [draw.percent(ratio) for ratio in ratios]
    if not percents or len({*percents}) < len(percents):
        raise InputError(f"the ratios are {[*ratios]}; expected one or more, each once")
    name = lists.images_file if mode == "images" else lists.ids_file
    return [
        _Plan(name(one), subsets.select(table, "", mode, one, seed=seed).rows, mode == "images")
        for one in ratios
    ]


def _cmpe(table: Table, root: str, seed: int) -> list[_Plan]:
    parts = {
        name: subsets.select(table, root, f"cmpe_{name}", seed=seed)
        for name in ("finetune", "pretrain", "pretrain_published")
    }
    finetune = np.unique(table.pid[parts["finetune"].rows])
    shared = np.intersect1d(table.pid[parts["pretrain_published"].rows], finetune)
    return [
        _Plan(
            cmpe.FINETUNE_FILE,
            parts["finetune"].rows,
            False,
            f"CMPE597, fine-tuning part: {len(finetune)} of {table.num_ids} identities",
        ),
        _Plan(
            cmpe.PRETRAIN_FILE,
            parts["pretrain"].rows,
            False,
            "CMPE597, pre-training part, corrected: the identities that fine-tuning lacks",
        ),
        _Plan(
            cmpe.PRETRAIN_PUBLISHED_FILE,
            parts["pretrain_published"].rows,
            True,
            "CMPE597, pre-training part as published, by inference: the first images by name\n"
            f"shares {len(shared)} of the {len(finetune)} identities of the fine-tuning part",
        ),
    ]


def _write(table: Table, folder: pathlib.Path, plan: _Plan) -> Written:
    path, ids = folder / plan.file, np.unique(table.pid[plan.rows])
    if plan.of_images:
        lists.write_images(path, lists.images_of(table, plan.rows), plan.comment)
    else:
        lists.write_ids(path, ids.tolist(), plan.comment)
    return Written(path, table.take(plan.rows).num_ids, len(plan.rows))
