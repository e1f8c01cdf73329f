"""The pages of the data sets say what the readers know."""

import importlib
import pathlib

import pytest

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


def test_pages_are_up_to_date(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    writer = importlib.import_module("write_dataset_pages")
    wanted = writer.pages()
    found = {path.name: path.read_text() for path in writer.FOLDER.glob("*.md")}
    assert found == wanted, "run python scripts/write_dataset_pages.py"
