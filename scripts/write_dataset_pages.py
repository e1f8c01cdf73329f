"""Writes docs/datasets, and removes pages of sets that are gone.

python scripts/write_dataset_pages.py
"""

import pathlib

from data_pipeline import dataset_pages

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "docs" / "datasets"

if __name__ == "__main__":
    pages = dataset_pages.pages()
    for path in FOLDER.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (FOLDER / name).write_text(text)
