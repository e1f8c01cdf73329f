"""What the doctor found, its verdict, and both in words."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import shorten
from data_pipeline.terminal import visible, visible_name


@dataclasses.dataclass(frozen=True)
class PartCounts:
    """One part as it was found and as it was published."""

    found: Count
    published: Count | None

    @property
    def differs(self) -> bool:
        """Whether a published number is another one than was found."""
        return self.published is not None and self.published.differs(self.found)


@dataclasses.dataclass(frozen=True)
class Findings:
    """What the doctor saw.

    Attributes:
        dataset: what the folder is.
        root: the folder that was read; perhaps one level from the one given.
        own: whether the pictures are the user's own, which no published number is for.
        parts: by name, those that are not empty or should not be.
        fingerprint: of the training table (of the gallery where there is none), as every training
            log repeats it.
        damaged: (picture, reason) that cannot be decoded.
        unused: pictures on disk that are in no part and should not be there.
        aside: what the others in no part are, and how many.
        distractors: gallery pictures of identity 0.
        decoded: pictures that were decoded.
        queries: query pictures; query tracklets of a video set.
        matched: those of them that have a picture of theirs from another camera in the gallery.
        notes: further remarks.
        unreadable: why the folder could not be read at all; the counts are then empty.
    """

    dataset: DataSet
    root: str
    own: bool = False
    parts: Mapping[str, PartCounts] = dataclasses.field(default_factory=dict)
    fingerprint: str = ""
    damaged: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()
    aside: Mapping[str, int] = dataclasses.field(default_factory=dict)
    distractors: int = 0
    decoded: int = 0
    queries: int = 0
    matched: int = 0
    notes: tuple[str, ...] = ()
    unreadable: str = ""

    @property
    def published(self) -> bool:
        """Whether every published number was found."""
        return not any(part.differs for part in self.parts.values())

    @property
    def healthy(self) -> bool:
        """Whether nothing is damaged, unused or unreadable."""
        return not (self.damaged or self.unused or self.unreadable)

    @property
    def evaluable(self) -> bool:
        """Whether some query can be ranked, where there are queries or a gallery at all."""
        tested = any(
            self.parts[name].found.images for name in ("query", "gallery") if name in self.parts
        )
        return self.matched > 0 or not tested

    @property
    def passed(self) -> bool:
        """Whether the folder is what it should be, and can be used."""
        return self.healthy and self.published and self.evaluable


def describe(findings: Findings) -> list[str]:
    """The findings for a reader, and a verdict as the last line. What is no UTF-8 is escaped."""
    dataset = findings.dataset
    lines = [f"{visible_name(findings.root)}: {dataset.title} ({dataset.name})"]
    if findings.unreadable:
        lines += [f"note         {note}" for note in findings.notes]
        lines.append(f"cannot be read: {findings.unreadable}")
        return [visible(line) for line in [*lines, f"verdict: {_verdict(findings)}"]]
    lines += _table(findings.parts)
    lines += [f"left aside   {count} {what}" for what, count in findings.aside.items()]
    if findings.distractors:
        lines.append(f"distractors  {findings.distractors} gallery pictures of identity 0")
    if findings.queries and (findings.own or findings.matched < findings.queries):
        lines.append(
            f"matches      {findings.matched} of {findings.queries} queries have a picture of "
            "theirs from another camera in the gallery"
        )
    if findings.decoded or findings.damaged:
        total = findings.decoded + len(findings.damaged)
        lines.append(f"decoded      {findings.decoded} of {total} pictures")
    lines += [f"damaged      {reason}" for reason in shorten([r for _, r in findings.damaged])]
    lines += [f"in no part   {visible_name(path)}" for path in shorten(list(findings.unused))]
    lines += [f"note         {note}" for note in findings.notes]
    lines.append(f"fingerprint  {findings.fingerprint}")
    return [visible(line) for line in [*lines, f"verdict: {_verdict(findings)}"]]


def to_dict(findings: Findings) -> dict[str, Any]:
    """The findings as JSON holds them."""
    values = dataclasses.asdict(dataclasses.replace(findings, dataset=None))  # type: ignore[arg-type]
    return {**values, "dataset": findings.dataset.name, "verdict": _verdict(findings)}


def _verdict(findings: Findings) -> str:
    if findings.unreadable:
        return "broken"
    problems = []
    if findings.damaged:
        problems.append(f"{len(findings.damaged)} damaged pictures")
    if findings.unused:
        problems.append(f"{len(findings.unused)} pictures of unexpected names or places")
    if not findings.published:
        differing = [name for name, part in findings.parts.items() if part.differs]
        problems.append(
            f"other numbers than published in {', '.join(differing)}: incomplete, another version, "
            "or pictures of your own in this layout"
        )
    if not findings.evaluable:
        problems.append(
            "cannot be evaluated: no query has a match, which is a gallery picture of its identity "
            "from another camera"
        )
    if problems:
        return "; ".join(problems)
    if findings.queries and findings.own:
        return f"whole; {findings.matched} of {findings.queries} queries can be evaluated"
    numbers = any(part.published for part in findings.parts.values())
    return "whole, with the published numbers" if numbers else "whole; no numbers are published"


def _table(parts: Mapping[str, PartCounts]) -> list[str]:
    """Found and (published) numbers, in columns."""
    titles = [field.name for field in dataclasses.fields(Count)]
    shown = [
        title
        for title in titles
        if any(getattr(part.found, title) or _number(part, title) for part in parts.values())
    ]
    rows = [["", *shown, ""]]
    for name, part in parts.items():
        cells = [f"{getattr(part.found, title)}{_number(part, title)}" for title in shown]
        rows.append([name, *cells, "differs" if part.differs else ""])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [_line(row, widths) for row in rows]


def _number(part: PartCounts, title: str) -> str:
    value = part.published and getattr(part.published, title)
    return "" if value is None else f" ({value})"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
