"""What the pages of this program are made of: frame, tables, drawings, pictures in rows."""

import base64
import html
import importlib.metadata
import io
import pathlib
import platform
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure

from data_pipeline.terminal import visible_name
from luperson_jax import __version__
from luperson_jax.measure import plots
from luperson_jax.measure.plots import Shown

MARKS = {"right": " \N{CHECK MARK}", "wrong": " \N{BALLOT X}"}
"""Beside the colors, which not everybody can tell apart."""
PICTURE_HEIGHT = 96

STYLE = """
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; padding: 0 .8rem; color: #222;
  max-width: 64rem; overflow-wrap: anywhere; }
h1, h2 { line-height: 1.2; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1rem 0; max-width: 100%; }
td, th { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd;
  overflow-wrap: normal; }
.facts td, .facts th { text-align: left; vertical-align: top; overflow-wrap: anywhere; }
.facts th { white-space: nowrap; }
pre { white-space: pre-wrap; font-size: 12px; background: #f5f5f5; padding: .6rem; }
.list { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 10px 6px; margin: 0 0 18px;
  padding-bottom: 8px; border-bottom: 1px solid #eee; }
.list figure { margin: 0; width: 6.4rem; text-align: center; font-size: 12px; line-height: 1.3;
  color: #444; }
.absent { height: 96px; width: 48px; margin: 0 auto; border: 3px solid #999; }
.list img { height: 96px; border: 3px solid #999; display: block; margin: 0 auto 2px;
  max-width: 100%; }
.list .right img { border-color: #1a8f3c; }
.list .wrong img { border-color: #c62828; border-style: dashed; }
.file { color: #666; font-size: 11px; }
@media (max-width: 600px) {
  body { font-size: 14px; }
  td, th { padding: .25rem .2rem; font-size: 12px; }
  .facts th { white-space: normal; }
  .list figure { width: calc(33% - 4px); }
}
"""


def page(title: str, body: str) -> str:
    """A whole page of a title and HTML."""
    title = text(title)
    head = (
        "<meta charset='utf-8'><meta name='viewport' content='width=device-width, "
        f"initial-scale=1'><title>{title}</title><style>{STYLE}</style>"
    )
    return (
        f"<!doctype html><html lang='en'><head>{head}</head><body><h1>{title}</h1>{body}</body>"
        "</html>\n"
    )


def text(words: object) -> str:
    """Words as one line of HTML: nothing in them is markup, nor turns the direction of writing."""
    return html.escape(visible_name(words))


def drawn(figure: Figure, words: str) -> str:
    """A drawing, and in words what it shows."""
    svg = plots.as_svg(figure)
    return svg.replace("<svg", f"<svg role='img' aria-label='{text(words)}'", 1)


def facts(values: Mapping[str, object]) -> str:
    """Names and values as a table."""
    rows = "".join(
        f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in values.items()
    )
    return f"<table class='facts'>{rows}</table>"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, whose first column names the rows."""
    head = "".join(f"<th>{text(column)}</th>" for column in columns)
    lines = [
        f"<tr><th>{text(first)}</th>{''.join(f'<td>{text(cell)}</td>' for cell in cells)}</tr>"
        for first, *cells in rows
    ]
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def versions() -> str:
    """This program and what it stands on."""
    packages = ("jax", "flax", "optax", "numpy")
    named = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    own = f"luperson_jax {__version__}"
    return ", ".join([own, f"Python {platform.python_version()}", *named])


def picture_list(shown: Sequence[Shown], *, of_query: bool = True) -> str:
    """Pictures in a row, with what is below each; the first is a query unless it is told.

    Raises:
        InputError: a picture cannot be read.
    """
    kinds = [{None: "", True: "right", False: "wrong"}[one.right] for one in shown]
    kinds = ["query", *kinds[1:]] if of_query else kinds
    figures = [_figure(one, kind) for one, kind in zip(shown, kinds, strict=True)]
    return f"<div class='list'>{''.join(figures)}</div>"


def _figure(shown: Shown, kind: str) -> str:
    name = pathlib.PurePath(next(iter(shown.keys), "")).name or "no file"
    lines = [*shown.caption.split("\n"), *filter(None, shown.about.split("\n"))]
    words = text(", ".join([*filter(None, [kind]), *lines, name]))
    image = f"<div class='absent'>{text('no file')}</div>"
    if shown.keys:
        buffer = io.BytesIO()
        plots.read_strip(shown.keys, PICTURE_HEIGHT).save(buffer, "JPEG", quality=85)
        data = base64.b64encode(buffer.getvalue()).decode()
        image = f"<img src='data:image/jpeg;base64,{data}' title='{text(name)}' alt='{words}'>"
    lines[0] += MARKS.get(kind, "")
    caption = "<br>".join(map(text, lines))
    return (
        f"<figure class='{kind}'>{image}<figcaption>{caption}<br><span class='file'>"
        f"{text(name)}</span></figcaption></figure>"
    )
