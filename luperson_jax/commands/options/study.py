"""`luperson study`: a table of runs, with mean and standard deviation over seeds.

A row is `NAME: CONFIG[:ARGUMENT] GROUP.SETTING=VALUE ...`; rows stand in --file, one a line, or
after --row. Each row and seed is a run below --root, and a row may start from an earlier one. Runs
that are done are passed over: the same command goes on, also with more rows or seeds. In rows,
{seed}, {root} and the names of --vary stand for their values. Changes at the end hold for all rows;
those of a row go before. Words such as published.mAP=31.4 in a row are figures to stand beside its
own, in percent: mAP, rank1, mINP. data.split={seed} eval.split={seed} and as many --seeds average
over the divisions of a data set. ROOT/table.md and ROOT/table.json hold the table, ROOT/rows.png
shows it.

Example:
    luperson study --root runs/stages --row "pretrain: small:pretrain data.root=crops" \\
        --row "scratch: small:bot" \\
        --row "moco: small:bot train.init_from={root}/pretrain/seed{seed}" \\
        data.root=people eval.root=people
    luperson study --root runs/few --seeds 3 --vary ratio=0.1,0.3,1.0 --curve ratio --rerank \\
        --row "mgn: finetune_mgn:data=duke,split=id,ratio={ratio}" data.root=duke eval.root=duke
    luperson study --root runs/folds --seeds 5 --row "bot: finetune_bot:init=scratch" \\
        data.root=folds/fold{seed} eval.root=folds/fold{seed}
    luperson study --root runs/ilids --seeds 10 --protocol ilids_vid \\
        --row "uPMnet: upmnet:data=ilids_vid published.rank1=63.1" \\
        data.split={seed} eval.split={seed} data.root=/data/iLIDS eval.root=/data/iLIDS
"""

import argparse
import pathlib

from luperson_jax.commands.options import settings, shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--root", type=pathlib.Path, required=True, help="folder of all runs; made if missing"
    )
    parser.add_argument(
        "--file", metavar="FILE", help="rows, one a line; empty lines and those with # are passed"
    )
    parser.add_argument(
        "--row",
        action="append",
        default=[],
        metavar="ROW",
        help="NAME: CONFIG[:ARGUMENT] [GROUP.SETTING=VALUE ...]; may be repeated",
    )
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="NAME=VALUE,VALUE",
        help="rows with {NAME} in them are run once for each value; may be repeated",
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each row, with seeds from 0")
    parser.add_argument(
        "--rerank", action="store_true", help="measure with k-reciprocal re-ranking too"
    )
    shared.add_protocol_option(parser)
    parser.add_argument(
        "--curve",
        metavar="NAME",
        help="draw ROOT/curve.png: mAP against the numbers of this --vary",
    )
    settings.add_changes(parser)
