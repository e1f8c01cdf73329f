"""The page in a real browser: `scripts/check_page.py` on drawn people."""

import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image

pytest.importorskip("playwright", reason="the extra `browser` is not installed")
pytest.importorskip("axe_playwright_python", reason="the extra `browser` is not installed")
if not shutil.which("chromium"):
    pytest.skip("chromium is not installed", allow_module_level=True)

import check_page

from luperson_jax import cli
from tests import page_worlds, weight_files


@pytest.fixture(scope="module", params=[[], ["--tracklets"]], ids=["pictures", "tracklets"])
def address(request, tmp_path_factory):
    """Of a page that is being served."""
    folder = tmp_path_factory.mktemp("browser")
    page_worlds.make(folder / "drawn")
    weights = str(weight_files.write_bot(folder / "bot.npz"))
    given = [str(folder / "drawn"), "--weights", weights, "--out", str(folder / "people")]
    assert cli.main(["index", *given, "--camera", r"/c(\d)/"]) == 0
    run = [sys.executable, "-m", "luperson_jax.cli", "serve", "--index", str(folder / "people")]
    run += ["--weights", weights, "--port", "0", "--threshold", "0.1", *request.param]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        for line in served.stdout:
            if found := re.search(r"http://127.0.0.1:\d+", line):
                break
        yield found[0]
        served.terminate()


def test_the_page_has_no_fault(address, tmp_path):
    assert check_page.check(address, tmp_path) == []
    shots = sorted(tmp_path.glob("*.png"))
    assert len(shots) == len(check_page.PAGES) * len(check_page.LOOKS)
    for shot in shots:
        with Image.open(shot) as picture:
            assert len(picture.getcolors(1 << 24) or ()) > 20  # something is drawn
