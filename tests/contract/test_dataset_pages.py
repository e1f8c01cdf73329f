"""The pages of the data sets say what the readers know."""

import pathlib

from data_pipeline import dataset_pages

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "datasets"


def test_pages_are_up_to_date():
    found = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    assert found == dataset_pages.pages(), "run python scripts/write_dataset_pages.py"
