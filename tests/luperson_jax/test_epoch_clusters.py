"""What the report of a run shows of the clusters of its epochs."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from luperson_jax.measure import epoch_clusters
from luperson_jax.structs import EmbeddingSet

SIZES = (30, 9, 8, 7, 6, 5, 4)
"""Pictures of each cluster; five more are in none."""


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """Pictures and their clusters, in no order."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([*range(len(SIZES)), -1], [*SIZES, 5]))
    centers = rng.standard_normal((len(SIZES) + 1, 12))
    features = (centers[labels] + rng.standard_normal((len(labels), 12))).astype(np.float32)
    keys = tuple(str(folder / f"{row}.png") for row in range(len(labels)))
    for key in keys:
        Image.new("RGB", (8, 16)).save(key)
    return EmbeddingSet(features, labels.astype(np.int64), np.arange(len(labels)) % 3, keys), labels


def test_largest_clusters_are_shown_from_their_mean_outwards(grouped, tmp_path):
    embedded, labels = grouped
    epoch_clusters.keep(tmp_path, 0, embedded, labels)
    page = "".join(epoch_clusters.section(tmp_path))
    assert "<h3>Epoch 1</h3>" in page
    heads = [f"Cluster {number}: {size} pictures" for number, size in enumerate(SIZES)]
    assert [head in page for head in heads] == [True] * 6 + [False]
    assert "In no cluster: 5 pictures" in page
    assert page.count("<svg") == 3  # by cluster, camera and identity
    assert page.count("<img") == 12 + sum(SIZES[1:6]) + 5

    rows = np.flatnonzero(labels == 1)
    unit = embedded.features / np.linalg.norm(embedded.features, axis=1, keepdims=True)
    mean = unit[rows].mean(axis=0)
    cosine = unit[rows] @ (mean / np.linalg.norm(mean))
    part = page[page.index(heads[1]) : page.index(heads[2])]
    captions = re.findall(r"<figcaption>([\d.]+)", part)
    assert captions == [f"{one:.3f}" for one in sorted(cosine, reverse=True)]


def test_a_few_epochs_stand_for_all(grouped, tmp_path):
    for epoch in range(9):
        epoch_clusters.keep(tmp_path, epoch, *grouped)
    page = "".join(epoch_clusters.section(tmp_path))
    named = [number for number in range(1, 10) if f"<h3>Epoch {number}</h3>" in page]
    assert named == [1, 4, 6, 9]


def test_a_second_keep_of_an_epoch_takes_the_place_of_the_first(grouped, tmp_path):
    embedded, labels = grouped
    epoch_clusters.keep(tmp_path, 0, embedded, np.where(labels < 3, labels, -1))
    epoch_clusters.keep(tmp_path, 0, embedded, labels)
    assert "In no cluster: 5 pictures" in "".join(epoch_clusters.section(tmp_path))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "delete it"),
        (lambda path: np.savez(path, label=np.zeros(3)), "holds no clusters"),
        (lambda path: _replace(path, size=np.zeros(2)), "do not belong together"),
    ],
)
def test_a_damaged_file_is_a_sentence_on_the_page(grouped, tmp_path, damage, words):
    epoch_clusters.keep(tmp_path, 0, *grouped)
    damage(epoch_clusters.keep(tmp_path, 1, *grouped))
    page = "".join(epoch_clusters.section(tmp_path))
    assert words in page
    assert page.count("<svg") == 3


def _replace(path: pathlib.Path, **columns: np.ndarray) -> None:
    with np.load(path) as found:
        np.savez(path, **{**found, **columns})


def test_pictures_that_are_gone_are_a_sentence_on_the_page(grouped, tmp_path):
    embedded, labels = grouped
    keys = tuple(f"{tmp_path}/gone/{row}.png" for row in range(len(labels)))
    gone = EmbeddingSet(embedded.features, embedded.pid, embedded.camera, keys)
    epoch_clusters.keep(tmp_path, 0, gone, labels)
    assert "gone" in "".join(epoch_clusters.section(tmp_path))


def test_a_run_without_clusters_has_no_section(tmp_path):
    assert epoch_clusters.section(tmp_path) == []
