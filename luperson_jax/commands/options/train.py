"""`luperson train`: trains into a workdir, or goes on with the run that it holds.

NAME is one of the shipped configurations, such as finetune_bot, or a file of your own.
Settings are changed by GROUP.SETTING=VALUE. A run that was interrupted goes on with --workdir
alone; settings that its parameters do not depend on may then differ.

Example:
    luperson train --config finetune_bot:init=scratch --workdir runs/bot \\
        data.root=Market-1501-v15.09.15 eval.root=Market-1501-v15.09.15
    luperson train --workdir runs/bot
    luperson train --workdir runs/bot --mode eval eval.flip=true
"""

import argparse

from luperson_jax.commands.options import settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--workdir", required=True, help="folder of the run; made if missing")
    parser.add_argument(
        "--config",
        metavar="NAME[:ARGUMENT]",
        help="a shipped configuration or a file; left out, the recipe that the workdir holds",
    )
    settings.add_changes(parser)
    parser.add_argument(
        "--mode", choices=("train", "eval"), default="train", help="train, or evaluate a checkpoint"
    )
    parser.add_argument("--distributed", action="store_true", help="one of several processes")
    parser.add_argument(
        "--coordinator", metavar="HOST:PORT", help="of process 0, where no cluster says it"
    )
    parser.add_argument(
        "--num-processes",
        "--num_processes",
        type=int,
        metavar="N",
        help="processes of the job (default: as the cluster says)",
    )
    parser.add_argument(
        "--process-id",
        "--process_id",
        type=int,
        metavar="N",
        help="number of this process, from 0 (default: as the cluster says)",
    )
