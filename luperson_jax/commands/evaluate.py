"""`luperson evaluate`: embeds query and gallery of a data set with a workdir's network and ranks.

The network, its input size and pixel statistics are those of the workdir's recipe; what is left out
here keeps the recipe's setting.
"""

import argparse

from data_pipeline import datasets
from luperson_jax import embeddings
from luperson_jax.commands import embed, output, ranked, runs
from luperson_jax.evaluate import load_splits


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--workdir", required=True, help="of the run to evaluate")
    parser.add_argument("--dataset", required=True, help=", ".join(datasets.DATASETS))
    parser.add_argument("--root", required=True, help="folder of the data set")
    parser.add_argument("--split", type=int, default=0, help="division of sets that have several")
    embed.add_network_options(parser)
    ranked.add_metric_option(parser, default=None)
    ranked.add_rerank_options(parser)
    ranked.add_expand_option(parser)
    ranked.add_protocol_option(parser)
    ranked.add_output_options(parser)
    parser.add_argument(
        "--save-embeddings", metavar="DIR", help="folder to be made, with query and gallery in it"
    )


def run(options: argparse.Namespace) -> None:
    """Embeds, ranks, prints and writes.

    Raises:
        InputError: a wrong workdir, data set or setting, or a DIR that exists.
    """
    ranked.check_outputs(options)
    if options.save_embeddings:
        embeddings.check_target(options.save_embeddings)
    splits = load_splits(options.dataset, options.root, "--root", options.split)
    changes = {"metric": options.metric} if options.metric else {}
    opened = runs.open_workdir(options.workdir, changes | embed.network_changes(options))
    options.metric = opened.recipe.eval.metric
    query, gallery = opened.embed(splits.query), opened.embed(splits.gallery)
    if options.save_embeddings:
        folder = output.make_folder(options.save_embeddings)
        embeddings.write(folder / "query", query)
        embeddings.write(folder / "gallery", gallery)
        output.say(f"embeddings in {folder / 'query'} and {folder / 'gallery'}")
    step = int(opened.state.step)
    title = f"{options.dataset}, step {step}, {options.metric} distance"
    facts = {"step": step, "dataset": options.dataset, "root": options.root}
    facts |= {"split": options.split, "workdir": options.workdir}
    facts |= {name: getattr(opened.recipe.eval, name) for name in ("checkpoint", "weights", "flip")}
    ranked.rank_and_publish(title, query, [gallery], options, facts)
