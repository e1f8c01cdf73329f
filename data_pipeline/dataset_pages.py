"""A page for every data set, out of what its reader says of it: docs/datasets."""

import dataclasses
import textwrap
import types

from data_pipeline import datasets
from data_pipeline.datasets.about import Count, DataSet

COLUMNS = [field.name for field in dataclasses.fields(Count)]
KINDS = {
    "image": "pictures",
    "video": "tracklets; a row of the table is a frame",
    "unlabelled": "training pictures without identities",
}


def pages() -> dict[str, str]:
    """The text of every page by its file name."""
    named = [module for module in datasets.MODULES if _is_published(module)]
    found = {f"{_stem(module)}.md": _page(module) for module in named}
    return {"README.md": _index(named), **found}


def _is_published(module: types.ModuleType) -> bool:
    return any(one.citation for one in module.DATASETS)


def _stem(module: types.ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _index(modules: list[types.ModuleType]) -> str:
    lines = [
        "# Data sets",
        "",
        "A configuration names a data set by one word: `data.dataset` and `eval.dataset`, with its",
        "folder in `data.root` and `eval.root`. `luperson data check auto DIR` tells which word a",
        "folder deserves, and compares it with the numbers below.",
        "",
        "| words | set | what it holds | terms |",
        "|---|---|---|---|",
    ]
    for module in modules:
        first = module.DATASETS[0]
        words = ", ".join(f"`{one.name}`" for one in module.DATASETS)
        title = f"[{first.title}]({_stem(module)}.md)"
        withdrawn = "**withdrawn by its owners**; " if first.withdrawn else ""
        lines.append(f"| {words} | {title} | {KINDS[first.kind]} | {withdrawn}{first.license} |")
    return "\n".join([*lines, ""])


def _page(module: types.ModuleType) -> str:
    first = module.DATASETS[0]
    lines = [f"# {first.title}", ""]
    if first.withdrawn:
        lines += [
            "> **Withdrawn.** The owners of this set have taken it back. This program only reads a",
            "> copy that you have; do not pass it on, and know your institution's rules before you",
            "> use it.",
            "",
        ]
    lines += [f"Source: {first.citation.rstrip('.')}. <{first.url}>", ""]
    lines += [f"Access: {first.access}. Terms: {first.license}.", ""]
    for one in module.DATASETS:
        lines += _word(one, first)
    return "\n".join(lines)


def _word(one: DataSet, first: DataSet) -> list[str]:
    lines = [f"## `{one.name}`", ""]
    about = [one.title] if one.title != first.title else []
    about += [KINDS[one.kind]]
    about += [f"{one.num_splits} published divisions (`data.split` 0 to {one.num_splits - 1})"] * (
        one.num_splits > 1
    )
    lines += ["; ".join(about) + ".", ""]
    if one.note:
        lines += [one.note, ""]
    lines += ["```", textwrap.dedent(one.tree).strip("\n"), "```", ""]
    if one.counts:
        used = [c for c in COLUMNS if any(getattr(count, c) for count in one.counts.values())]
        lines += [f"| | {' | '.join(used)} |", "|---" * (len(used) + 1) + "|"]
        for part, count in one.counts.items():
            cells = [
                f"{value:,}" if (value := getattr(count, name)) is not None else "" for name in used
            ]
            lines.append(f"| {part} | {' | '.join(cells)} |")
        lines.append("")
    if one.citation != first.citation:
        lines += [f"Source: {one.citation.rstrip('.')}. <{one.url}>", ""]
    return lines
