"""Pictures of studies, from the lines of `run.studies.summarize`."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from luperson_jax.measure.plots import PLAIN

Line = Mapping[str, Any]

SEED = "#9ab4d0"
"""Color of single runs."""


def rows(lines: Sequence[Line]) -> Figure:
    """mAP of every row: single runs as dots, mean and standard deviation, published figures."""
    lines = [line for line in lines if "mAP" in line["figures"]]
    published = any("mAP" in line["published"] for line in lines)
    figure = Figure(figsize=(8 if published else 6, 1.2 + 0.3 * len(lines)), layout="constrained")
    panels = figure.subplots(1, 2 if published else 1, sharey=True, squeeze=False)[0]
    for place, line in enumerate(lines):
        _row(panels[0], line["figures"]["mAP"], place)
        if "mAP" in line["published"]:
            panels[1].plot(line["published"]["mAP"], place, "D", color=PLAIN, fillstyle="none")
    for panel, title in zip(panels, ("mAP, %", "published mAP, %"), strict=False):
        panel.set(xlabel=title)
        panel.grid(alpha=0.3)
    panels[0].set_yticks(range(len(lines)), [str(line["row"]) for line in lines])
    panels[0].set_ylim(len(lines) - 0.5, -0.5)
    return figure


def _row(axes, figure: Mapping[str, Any], place: int) -> None:
    values = [100 * value for value in figure["values"]]
    axes.plot(values, [place] * len(values), "o", color=SEED, markersize=4)
    spread = 100 * (figure["std"] or 0)
    axes.errorbar(statistics.fmean(values), place, xerr=spread, fmt="k|", capsize=3)


def curves(lines: Sequence[Line], name: str) -> Figure:
    """mAP against the values of `name`, with standard deviations: a curve for all else."""
    figure = Figure(figsize=(5, 3.6), layout="tight")
    axes = figure.subplots()
    groups: dict[str, list[Line]] = {}
    for line in lines:
        if name in line["varied"]:
            label = str(line["row"]).replace(f", {name}={line['varied'][name]}", "")
            groups.setdefault(label, []).append(line)
    for label, group in groups.items():
        points = sorted((float(one["varied"][name]), one["figures"]["mAP"]) for one in group)
        axes.errorbar(
            [place for place, _ in points],
            [100 * statistics.fmean(figure["values"]) for _, figure in points],
            [100 * (figure["std"] or 0) for _, figure in points],
            marker="o",
            capsize=3,
            label=label,
        )
    axes.set(xlabel=name, ylabel="mAP, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
