"""Tracklets and judged pairs of pictures without identities."""

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax.measure import judged_pairs, tracklet_labels
from luperson_jax.structs import EmbeddingSet

KEYS = ("a/c7/1.jpg", "a/c7/2.jpg", "a/c10/1.jpg", "b/c7/1.jpg")


def pictures(pid=(-1, -1, -1, -1), keys=KEYS):
    features = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    return EmbeddingSet(features, np.array(pid), np.array([0, 0, 1, 0]), keys)


def test_tracklets_come_from_folders_identities_or_paths():
    found = tracklet_labels.of_tracklets(pictures())
    assert found.pid.tolist() == [1, 1, 0, 2]
    assert found.camera.tolist() == [0, 0, 1, 0]
    found = tracklet_labels.of_tracklets(pictures((5, 5, 5, 2)))
    assert found.pid.tolist() == [1, 1, 2, 0]
    found = tracklet_labels.of_tracklets(pictures((5, 5, 5, 5)), r"^(\w)/c(\d+)", r"c(\d+)")
    assert found.pid.tolist() == [1, 1, 0, 2]
    assert found.camera.tolist() == [7, 7, 10, 7]
    found = tracklet_labels.of_tracklets(pictures(), camera="^.")
    assert found.camera.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (pictures(keys=("1.jpg",) * 4), {}, "of no tracklet"),
        (pictures((1, 1, -1, 2)), {}, "some pictures have the identity -1"),
        (pictures(), {"tracklet": "("}, "is no regular expression"),
        (pictures(), {"camera": "c7"}, r"the path 'a/c10/1.jpg' of row 2 has nothing"),
    ],
)
def test_pictures_of_no_tracklet_are_told(given, options, words):
    with pytest.raises(InputError, match=words):
        tracklet_labels.of_tracklets(given, **options)


def test_judged_pairs_are_read(tmp_path):
    path, known = tmp_path / "pairs.csv", pictures()
    path.write_text("first,second,same\na/c7/1.jpg,a/c7/2.jpg,yes\nb/c7/1.jpg,a/c10/1.jpg,0\n")
    found = judged_pairs.read(path, known)
    assert [column.tolist() for column in found] == [[0, 3], [1, 2], [True, False]]
    unit = known.features / np.linalg.norm(known.features, axis=1, keepdims=True)
    cosine = [1 - unit[0] @ unit[1], 1 - unit[3] @ unit[2]]
    np.testing.assert_allclose(judged_pairs.distances(known, found, "cosine"), cosine, atol=1e-6)
    euclidean = [np.linalg.norm(known.features[a] - known.features[b]) for a, b in ((0, 1), (3, 2))]
    np.testing.assert_allclose(
        judged_pairs.distances(known, found, "euclidean"), euclidean, atol=1e-6
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("first,second\na,b\n", "has no column same"),
        ("first,second,same\nx,a/c7/1.jpg,1\n", "line 2 of .* names 'x', .*like 'a/c7/1.jpg'"),
        ("first,second,same\na/c7/1.jpg,a/c7/2.jpg,maybe\n", "answers 'maybe'; expected one of 1"),
        ("first,second,same\n", "holds no pair"),
        ('first,second,same\n"a,b', "cannot be read"),
        (None, "does not exist"),
    ],
)
def test_wrong_tables_of_pairs_are_told(text, words, tmp_path):
    path = tmp_path / "pairs.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=words):
        judged_pairs.read(path, pictures())
