"""The page of a run: who and what is under each picture, what the run was, and one unit."""

import json

import numpy as np
import pytest
from PIL import Image

from luperson_jax.measure import html_report
from luperson_jax.retrieval import ranking
from luperson_jax.structs import EmbeddingSet
from luperson_jax.workdir import metrics_file, recipe_file


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("run")
    workdir = folder / "w<>"
    workdir.mkdir()
    recipe = {"data": {"dataset": "market1501", "root": "/data"}, "eval": {"dataset": "duke"}}
    recipe["table"] = {"images": 12, "fingerprint": "abc123"}
    (workdir / recipe_file.RECIPE_FILE).write_text(json.dumps(recipe))
    (workdir / metrics_file.METRICS_FILE).write_text(
        '{"step": 1, "market1501/mAP": 0.5, "train/loss": 2.0}\n'
    )
    generator = np.random.default_rng(0)

    def embedded(letter, num, camera):
        keys = []
        for row in range(num):
            keys.append(str(folder / f"{letter}{row}'\x1b<.png"))
            Image.new("RGB", (16, 32), (20 * row, 0, 0)).save(keys[-1])
        features = generator.standard_normal((num, 4)).astype(np.float32)
        return EmbeddingSet(features, np.arange(num) % 3 + 40, np.full(num, camera), tuple(keys))

    query, gallery = embedded("q", 3, 5), embedded("g", 6, 7)
    found = ranking.rank(query, gallery)
    return html_report.make(
        workdir, query, gallery, found, metric="cosine", figures={"step 1": found}
    )


def test_a_page_is_for_phones_and_readers_aloud(page):
    assert "<html lang='en'>" in page
    assert "name='viewport' content='width=device-width" in page
    assert page.count("<svg") == page.count("<svg role='img' aria-label='")
    assert page.count("<img") == page.count(" alt='") == 3 + 3 * 6


def test_file_identity_camera_and_distance_stand_under_each_picture(page):
    assert page.count("<figcaption>") == 21
    assert "identity 40<br>camera 5<br>" in page
    assert "identity 42<br>camera 7<br>" in page
    assert page.count("\N{CHECK MARK}") == 3 * 2  # two of six are of the query's identity
    assert "<span class='file'>g0&#x27;\\x1b&lt;.png</span>" in page
    assert "\x1b" not in page


def test_the_run_and_its_data_are_named(page):
    for words in (
        "market1501, /data",
        "12, fingerprint abc123",
        "duke, ",
        "luperson_jax 0.",
        "jax",
    ):
        assert words in page
    assert "&quot;dataset&quot;: &quot;market1501&quot;" in page
    assert "w&lt;&gt;" in page


def test_shares_are_in_percent_everywhere(page):
    assert "<th>mAP, %</th>" in page
    assert "market1501/mAP, %" in page
