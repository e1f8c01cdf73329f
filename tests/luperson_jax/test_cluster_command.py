"""`luperson cluster`, its page, and the clusters in the report of a run."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from luperson_jax import cli
from luperson_jax.commands import network
from luperson_jax.measure import cluster_page, embeddings, html_report, plots
from luperson_jax.structs import EmbeddingSet

PEOPLE, IMAGES = 6, 5


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of six people under two cameras, and one that resembles none."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((PEOPLE, 16))
    features, pid, camera, keys = [], [], [], []
    for person in range(PEOPLE):
        for number in range(IMAGES):
            features.append(centers[person] + 0.1 * rng.standard_normal(16))
            pid.append(person + 40)
            camera.append(number % 2)
            keys.append(str(folder / f"{person}_{number}<.png"))
            Image.new("RGB", (16, 32), (40 * person, 0, 0)).save(keys[-1])
    features.append(-centers.sum(axis=0))
    pid, camera = [*pid, -1], [*camera, -1]
    keys.append(str(folder / "other.png"))
    Image.new("RGB", (16, 32), (0, 0, 255)).save(keys[-1])
    columns = (np.array(column, np.int64) for column in (pid, camera))
    return EmbeddingSet(np.array(features, np.float32), *columns, tuple(keys))


SETTINGS = ["--k1", "5", "--k2", "1"]


def test_saved_embeddings_are_grouped(pictures, tmp_path, capsys):
    embeddings.write(tmp_path / "all.npz", pictures)
    out, values = tmp_path / "page.html", tmp_path / "out.json"
    given = ["--embeddings", str(tmp_path / "all.npz"), "--json", str(values), "--out", str(out)]
    assert cli.main(["cluster", *given, *SETTINGS]) == 0
    told = capsys.readouterr().out
    assert re.search(r"count +6\b", told)
    assert re.search(r"purity +1\b", told)
    found = json.loads(values.read_text())
    assert [one["pictures"] for one in found["clusters"]] == [IMAGES] * PEOPLE
    assert found["outliers"] == [pictures.key[-1]]
    assert {one["share of it"] for one in found["clusters"]} == {1.0}
    assert found["clusters"][0]["keys"] == list(pictures.key[:IMAGES])
    assert found["how"]["method"] == "communities"
    page = out.read_text()
    assert page.count("<img") == PEOPLE * IMAGES + 1
    assert page.count("<svg") == 3  # by cluster, camera and identity
    for words in ("Cluster 5: 5 pictures", "In no cluster: 1 pictures", "identity 45<br>camera 1"):
        assert words in page
    assert "<.png" not in page


def test_pictures_of_a_folder_have_no_identities(pictures, tmp_path, monkeypatch):
    class Opened:
        origin = "step 3 of runs/a"

        def embed(self, table):
            rows = [pictures.key.index(key) for key in table.media]
            features = pictures.features[rows]
            return EmbeddingSet(features, table.pid, table.camera, tuple(table.media))

    monkeypatch.setattr(network, "open_chosen", lambda options: Opened())
    folder = pictures.key[0].rpartition("/")[0]
    out = tmp_path / "page.html"
    given = ["cluster", "--root", folder, "--workdir", "runs/a", "--out", str(out), *SETTINGS]
    assert cli.main(given) == 0
    page = out.read_text()
    assert page.count("<svg") == 1
    assert "by step 3 of runs/a" in page
    assert "purity" not in page


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "--root DIR with pictures"),
        (["--root", "a", "--embeddings", "b.npz"], "one of the two"),
        (["--embeddings", "b.npz", "--workdir", "w"], "leave one of them out"),
        (["--root", "a"], "a network is needed"),
        (["--root", "no/such", "--workdir", "w"], "no/such"),
        (["--embeddings", "b.npz", "--out", "page.txt"], "ends in .html"),
        (["--embeddings", "ALL", "--eps", "1.5"], "max_distance is 1.5"),
        (["--embeddings", "ALL", "--method", "kmeans", "--num-clusters", "99"], "num_clusters"),
        (["--embeddings", "ALL", "--resolution", "0"], "resolution is 0"),
    ],
)
def test_mistakes_end_with_one_message(pictures, tmp_path, capsys, given, message):
    embeddings.write(tmp_path / "all.npz", pictures)
    given = [one.replace("ALL", str(tmp_path / "all.npz")) for one in given]
    assert cli.main(["cluster", *given]) == 2
    assert message in capsys.readouterr().err


def test_a_page_without_clusters_or_pictures(pictures):
    alone = np.full(len(pictures.pid), -1)
    assert cluster_page.rows(pictures, alone) == []
    page = cluster_page.make("a", pictures, alone, {"count": 0.0}, {})
    assert "In no cluster: 31 pictures" in page
    nowhere = EmbeddingSet(pictures.features, pictures.pid, pictures.camera, ("",) * 31)
    page = cluster_page.make("a", nowhere, alone, {}, {})
    assert "do not say where the pictures lie" in page


def test_groups_without_a_number_are_gray():
    figure = plots.colored(np.zeros((4, 2)), np.array([-1, 3, 3, 5]), "camera")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["3", "5"]
    assert len(axes.collections[0].get_offsets()) == 1


def test_the_report_of_a_run_has_a_row_for_each_epoch(tmp_path):
    lines = [
        {"step": 0, "clusters/count": 10, "clusters/silhouette": 0.25},
        {"step": 1, "train/loss": 3.0},
        {"step": 4, "clusters/count": 12, "clusters/silhouette": 0.5, "clusters/stability": 0.75},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    section = "".join(html_report._clusters(path))
    assert "<tr><th>epoch</th><th>step</th><th>clusters</th><th>silhouette</th>" in section
    assert "<tr><th>1</th><td>0</td><td>10</td><td>0.25</td><td></td></tr>" in section
    assert "<tr><th>2</th><td>4</td><td>12</td><td>0.5</td><td>0.75</td></tr>" in section
    path.write_text(json.dumps(lines[1]) + "\n")
    assert html_report._clusters(path) == []
