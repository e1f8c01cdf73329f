"""What the documents say can be done: links lead somewhere, Python compiles, commands parse."""

import ast
import contextlib
import importlib.util
import pathlib
import re
import shlex
import subprocess
import sys
import textwrap

import pytest

from luperson_jax import cli

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
WRITTEN = [name for name in NAMES if "datasets/" not in name]  # by hand, and not by a script
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"(?:^|\n)\n((?:    .*(?:\n|$)|\n(?=    ))+)")
FORM = re.compile(r"--to PROGRAM")
PYTHON = re.compile(r"^(import|from|with|for|model|index|features|found|report|state)\b.*$", re.M)


def anchors(path):
    """Names of the headings of a page, as links have them."""
    titles = re.findall(r"^#+ +(.+)$", path.read_text(), re.M)
    words = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    return {*words, *(f"{word}-{number}" for word in words for number in range(1, 4))}


def blocks(path):
    """Indented and fenced blocks of a page, without their indentation."""
    text = path.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    return [textwrap.dedent(one) for one in (*BLOCK.findall(text), *fenced)]


def commands(path):
    """The lines of `luperson`, whole, in the blocks of a page."""
    for block in blocks(path):
        for line in re.sub(r"\\\n *", "", block).splitlines():
            line = re.split(r" {3,}", line.strip().removeprefix("$ "))[0]  # words may stand beside
            if line.startswith("luperson "):
                yield line


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    path = ROOT / name
    for target in LINK.findall(path.read_text()):
        if re.match(r"https?:|mailto:", target):
            continue
        place, _, anchor = target.partition("#")
        there = (path.parent / place).resolve() if place else path
        assert there.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(there), f"{target}: no such heading"


@pytest.mark.parametrize("name", [*WRITTEN, "CHANGELOG.md"])
def test_lines_of_prose_are_no_longer_than_120(name):
    text = re.sub(r"^```\w*\n.*?^```", "", (ROOT / name).read_text(), flags=re.M | re.S)
    prose = re.sub(r"^ *(?:\||    |!\[).*", "", text, flags=re.M)  # no tables, blocks, pictures
    assert [line for line in prose.splitlines() if len(line) > 120] == []


def test_every_page_is_in_the_table_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"](docs/{page})" not in readme} == set()


def test_python_compiles():
    found = 0
    for path in DOCUMENTS:
        for block in blocks(path):
            lines = block.strip().splitlines()
            if lines and PYTHON.match(lines[0]) and "luperson " not in lines[0]:
                try:
                    ast.parse(block)
                except SyntaxError as error:
                    raise AssertionError(f"{path.name}: {block}") from error
                found += 1
    assert found > 5


@pytest.mark.parametrize("name", NAMES)
def test_commands_parse(name):
    for line in commands(ROOT / name):
        if "..." in line or "[" in line or FORM.search(line):
            continue  # a form and no command
        given = shlex.split(line, comments=True)[1:]
        given = given[: next((i for i, one in enumerate(given) if one[0] in "|>&<;"), None)]
        with contextlib.suppress(SystemExit):  # of --help and --version
            cli.make_parser(given).parse_args(given)


@pytest.mark.skipif(not importlib.util.find_spec("sphinx"), reason="the extra `docs` is missing")
def test_the_site_is_built_without_a_warning(tmp_path):
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n"]
    run = [*build, str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "index.html").read_text()
    assert not re.findall(r"(?:src|href)=\"https?://[^\"]+\.(?:js|css|woff2?)", text)
