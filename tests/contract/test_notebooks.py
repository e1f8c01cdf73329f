"""The notebooks run from the first cell to the last, and keep no outputs."""

import json
import os
import pathlib

import pytest

HOME = pathlib.Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(HOME.glob("*.ipynb"))
MISSING = "is not installed, with which notebooks are run"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_offline(path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason=f"nbformat {MISSING}")
    nbclient = pytest.importorskip("nbclient", reason=f"nbclient {MISSING}")
    pytest.importorskip("ipykernel", reason=f"ipykernel {MISSING}")
    monkeypatch.setenv("PYTHONPATH", str(HOME.parents[1]), prepend=os.pathsep)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there
    book = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=600, resources=resources).execute()
    outputs = [one for cell in book.cells if cell.cell_type == "code" for one in cell.outputs]
    assert outputs
    assert not [one for one in outputs if one.output_type == "error"]


def test_there_are_two_notebooks_without_outputs():
    assert [path.stem for path in NOTEBOOKS] == ["own_folder", "thresholds"]
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        for cell in cells:
            kept = cell.get("outputs", []), cell.get("execution_count")
            assert kept == ([], None), f"{path.name}: clear the outputs"
        assert all(cell["id"] for cell in cells)
