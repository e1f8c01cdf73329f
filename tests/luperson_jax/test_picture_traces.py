"""mAP and Rank-1 without labels and tracklets: traces against loops, and what they must not do."""

import json

import numpy as np
import pytest
import scipy.special

from data_pipeline.errors import InputError
from luperson_jax import cli
from luperson_jax.clustering import grouping
from luperson_jax.clustering.dbscan import NOISE
from luperson_jax.lengths import unit_rows
from luperson_jax.measure import estimation, picture_traces
from luperson_jax.retrieval import ranking
from luperson_jax.structs import EmbeddingSet


def people(seed=0, num=20, cameras=3, pictures=3, noise=0.5, likeness=1.0):
    """Features, identities and cameras; the last person is seen by one camera."""
    generator = np.random.default_rng(seed)
    rows = [
        (person, camera)
        for person in range(num)
        for camera in range(cameras)
        if person < num - 1 or not camera
    ]
    pid, camera = np.repeat(np.array(rows), pictures, axis=0).T
    features = likeness * generator.standard_normal((num, 16))[pid]
    features = features + noise * generator.standard_normal(features.shape)
    return features.astype(np.float32), pid, camera


def similarity(features):
    unit = unit_rows(features)
    return unit @ unit.T


def test_figures_are_those_of_the_ranking():
    features, pid, camera = people(noise=1.2)
    report = ranking.rank(*[EmbeddingSet(features, pid, camera, ("",) * len(pid))] * 2)
    found = picture_traces.figures(similarity(features), pid, camera)
    np.testing.assert_allclose(found, [report.mAP, report.cmc[0]], atol=1e-6)
    assert 0.1 < report.mAP < 0.9
    nobody = np.full(len(pid), -1)
    assert np.isnan(picture_traces.figures(similarity(features), nobody, camera)).all()


def test_pictures_of_nobody_are_wrong_for_all_and_look_for_nobody():
    near = np.array([[1, 0.9, 0.5, 0.4], [0.9, 1, 0.1, 0], [0.5, 0.1, 1, 0], [0.4, 0, 0, 1]])
    pid, camera = np.array([0, -1, 0, -1]), np.array([0, 1, 1, 1])
    found = picture_traces.figures(near, pid, camera)
    assert found == pytest.approx(((1 / 2 + 1) / 2, 0.5))


def test_traces_are_those_of_loops():
    features, _, camera = people(noise=1.0)
    found = picture_traces.statistics(features, camera)
    near = similarity(features)
    mutual, gap = [], []
    for one in range(3):
        rows = np.flatnonzero(camera == one)
        for other in {0, 1, 2} - {one}:
            block = near[np.ix_(rows, np.flatnonzero(camera == other))]
            free = block - block.mean(1, keepdims=True) - block.mean(0, keepdims=True)
            free = (free + block.mean()) / (free + block.mean()).std()
            first = free.argmax(axis=1)
            mutual += [free[:, place].argmax() == row for row, place in enumerate(first)]
            ordered = np.sort(free, axis=1)
            gap += (ordered[:, -1] - ordered[:, -2]).tolist()
    share = (np.sum(mutual) + 0.5) / (len(mutual) + 1)
    assert 0.2 < np.mean(mutual) < 0.9
    assert found["mutual"] == pytest.approx(scipy.special.logit(share), abs=1e-6)
    assert found["gap"] == pytest.approx(np.mean(gap), rel=1e-4)
    how = grouping.Grouping("communities", k1=15, k2=4, eps=0.8, min_samples=2)
    labels = grouping.group(unit_rows(features), how).labels
    sizes = [np.log(np.sum(labels == one)) for one in labels if one != NOISE]
    spans = [np.log(len(np.unique(camera[labels == one]))) for one in labels if one != NOISE]
    assert found["size"] == pytest.approx(np.mean(sizes))
    assert found["spanning"] == pytest.approx(np.mean(spans))
    assert found["alone"] == pytest.approx(np.mean(labels == NOISE))
    pseudo = picture_traces.figures(near, labels, camera)
    assert np.sin(found["pseudo_map"]) ** 2 == pytest.approx(pseudo.mAP, abs=1e-5)
    assert list(found) == list(picture_traces.NAMES)


def test_traces_do_not_depend_on_order_names_or_lengths():
    features, _, camera = people(noise=0.2)
    order = np.random.default_rng(1).permutation(len(camera))
    scale = np.random.default_rng(3).uniform(0.1, 9, (len(camera), 1)).astype(np.float32)
    first = picture_traces.statistics(features, camera)
    again = picture_traces.statistics((features * scale)[order], camera[order] + 5)
    assert again == pytest.approx(first, rel=1e-3, abs=1e-3)


def estimated(features, camera):
    traces = picture_traces.statistics(features, camera)
    return traces, estimation.shipped("pictures").estimate(estimation.vector(traces))["mAP"]


def test_quality_is_seen():
    found = [estimated(*people(noise=noise, num=30)[::2])[1] for noise in (0.3, 1.0, 3.0)]
    assert found[0].value > 0.8 > found[1].value > found[2].value
    assert found[2].value < 0.3


def test_groups_of_noise_look_good_and_are_not_believed():
    """Features that tell nobody from another: groups of them do, by the same features."""
    features, pid, camera = people(likeness=0.0, num=40)
    traces, found = estimated(features, camera)
    right = picture_traces.figures(similarity(features), pid, camera).mAP
    pseudo = np.sin(traces["pseudo_map"]) ** 2
    halved = np.sin(traces["halved_map"]) ** 2
    assert right < 0.1
    assert pseudo > 3 * right
    assert halved < pseudo / 2
    assert found.interval[0] <= right <= found.interval[1]
    assert found.value < pseudo / 2


def test_too_little_and_too_much_is_told(monkeypatch):
    features, _, camera = people()
    for kept, words in (
        (camera == 1, "before 1 cameras; an estimate needs two cameras with 8 pictures"),
        (np.arange(len(camera)) < 20, "20 pictures before 3 cameras"),
    ):
        with pytest.raises(InputError, match=words):
            picture_traces.statistics(features[kept], camera[kept])
    monkeypatch.setattr(picture_traces, "MOST_PICTURES", 50)
    with pytest.raises(InputError, match="takes 50 pictures at most, not 174"):
        picture_traces.statistics(features, camera)


def test_the_command_takes_pictures_without_tracklets(tmp_path, capsys):
    features, pid, camera = people(num=30)
    key = np.array([f"cam{one}_{row}.jpg" for row, one in enumerate(camera)])
    np.savez(tmp_path / "known.npz", features=features, pid=pid, camera=camera, key=key)
    np.savez(tmp_path / "unknown.npz", features=features, key=key)
    out = tmp_path / "out.json"
    given = ["estimate", "--json", str(out), "--pseudo-labels", "--embeddings"]
    assert cli.main([*given, str(tmp_path / "known.npz"), "--truth"]) == 0
    known, said = json.loads(out.read_text()), capsys.readouterr().out
    assert f"{len(pid)} pictures before 3 cameras; groups of similar ones" in said
    assert "a network that takes two people for one" in said
    assert known["from"] == "pictures"
    right = picture_traces.figures(similarity(features), pid, camera)
    assert [known["truth"][name] for name in estimation.MEASURES] == pytest.approx(right, abs=1e-6)
    unknown = [*given, str(tmp_path / "unknown.npz"), "--camera", r"cam(\d)"]
    assert cli.main(unknown) == 0
    expected = estimated(features, camera)[1]
    assert json.loads(out.read_text())["mAP"]["value"] == pytest.approx(expected.value, abs=1e-5)
    capsys.readouterr()
    assert cli.main([*unknown, "--tracklet", "x"]) == 2
    assert "leave out --tracklet" in capsys.readouterr().err
