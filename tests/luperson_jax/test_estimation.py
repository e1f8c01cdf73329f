"""mAP and Rank-1 without labels: traces against loops, the fit on toys, the command."""

import json

import numpy as np
import pytest
import scipy.special

from data_pipeline.errors import InputError
from luperson_jax import cli
from luperson_jax.lengths import unit_rows
from luperson_jax.measure import estimation, picture_traces
from luperson_jax.retrieval import label_free


def people(seed=0, num=20, cameras=3, frames=3, noise=0.5, shaking=0.2):
    """Features, identities, cameras and tracklets; one person is not seen by the first camera."""
    generator = np.random.default_rng(seed)
    centers = generator.standard_normal((num, 12))
    rows = [
        (person, camera) for person in range(num) for camera in range(cameras) if person or camera
    ]
    passes = np.repeat(np.arange(len(rows)), frames)
    pid, camera = np.array(rows)[passes].T
    walk = noise * generator.standard_normal((len(rows), 12))[passes]
    features = centers[pid] + walk + shaking * generator.standard_normal((len(pid), 12))
    return features.astype(np.float32), pid, camera, passes


def truth(features, pid, camera):
    unit = unit_rows(features)
    return picture_traces.figures(unit @ unit.T, pid, camera)


def traces(features, camera, tracklet):
    return label_free.statistics(label_free.gather(features, tracklet, camera))


def test_traces_are_those_of_loops():
    features, _, camera, tracklet = people(noise=1.0, shaking=1.0)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    num = tracklet.max() + 1
    center = np.array([unit[tracklet == one].sum(axis=0) for one in range(num)])
    center /= np.linalg.norm(center, axis=1, keepdims=True)
    seen_by = np.array([camera[tracklet == one][0] for one in range(num)])
    mutual, agree, first, own = [], [], [], []
    for one in range(num):
        for other in set(seen_by.tolist()) - {seen_by[one]}:
            there, here = np.flatnonzero(seen_by == other), np.flatnonzero(seen_by == seen_by[one])
            near = there[np.argmax(center[there] @ center[one])]
            mutual.append(here[np.argmax(center[here] @ center[near])] == one)
            agree += [
                there[np.argmax(center[there] @ frame)] == near for frame in unit[tracklet == one]
            ]
        for frame in np.flatnonzero(tracklet == one):
            rest = unit[(tracklet == one) & (np.arange(len(unit)) != frame)].sum(axis=0)
            mine = rest @ unit[frame] / np.linalg.norm(rest)
            others = np.flatnonzero((seen_by == seen_by[one]) & (np.arange(num) != one))
            apart = center[others] @ unit[frame]
            first.append(mine > apart.max())
            own.append((mine - apart.mean()) / apart.std())
    found = traces(features, camera, tracklet)
    for name, each in (("mutual", mutual), ("agree", agree), ("own_first", first)):
        assert 0.2 < np.mean(each) < 1
        share = (np.sum(each) + 0.5) / (len(each) + 1)
        assert found[name] == pytest.approx(scipy.special.logit(share), abs=1e-6), name
    assert found["own_distance"] == pytest.approx(np.mean(own), rel=1e-4)
    assert found["cameras"] == pytest.approx(np.log(3))
    assert found["tracklets"] == pytest.approx(np.log(59 / 3))
    assert found["frames"] == pytest.approx(np.log(3))


def test_traces_do_not_depend_on_order_names_or_lengths():
    features, _, camera, tracklet = people()
    order = np.random.default_rng(1).permutation(len(camera))
    names = np.random.default_rng(2).permutation(1000)
    scale = np.random.default_rng(3).uniform(0.1, 9, (len(camera), 1)).astype(np.float32)
    first = traces(features, camera, tracklet)
    again = traces((features * scale)[order], camera[order] + 5, names[tracklet][order])
    assert again == pytest.approx(first, rel=1e-4)


def test_identities_are_not_looked_at_and_quality_is_seen():
    values, right = [], []
    for noise in (0.3, 1.0, 2.5):
        features, pid, camera, tracklet = people(noise=noise, num=30)
        found = estimation.vector(traces(features, camera, tracklet))
        values.append(estimation.shipped("tracklets").estimate(found)["mAP"].value)
        right.append(truth(features, pid, camera).mAP)
    assert right[0] > 0.9 > right[1] > right[2]
    assert values[0] > values[1] > values[2]


def test_long_tracklets_are_thinned_evenly():
    tracklet = np.array([5, 5, 2, 5, 5, 5, 2, 7])
    assert label_free.thin(tracklet).tolist() == [0, 2, 3, 5, 6, 7]


def test_too_little_is_told():
    features, _, camera, tracklet = people()
    for kept, words in (
        (camera == 1, "before 1 cameras; an estimate needs"),
        (tracklet < 8, "an estimate needs two cameras with 4 tracklets"),
        (np.arange(len(camera)) % 3 == 0, "every tracklet has one frame"),
    ):
        with pytest.raises(InputError, match=words):
            label_free.gather(features[kept], tracklet[kept], camera[kept])


def toy(seed, num):
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((num, len(label_free.NAMES)))
    angle = 0.8 + 0.2 * values[:, 0] - 0.1 * values[:, 1] * values[:, 2]
    spread = 0.05 * np.exp(0.8 * values[:, 4:5])  # where trace 4 is large, figures are unsure
    angle = angle[:, None] + spread * generator.standard_normal((num, 2))
    return values, np.sin(np.clip(angle, 0, np.pi / 2)) ** 2


def test_intervals_hold_as_often_as_they_say():
    values, shares = toy(0, 800)
    fit = estimation.fit(label_free.NAMES, values, shares, np.arange(800) // 2)
    again = estimation.Fit.of_values(json.loads(json.dumps(fit.values())))
    values, shares = toy(1, 400)
    for confidence in estimation.CONFIDENCES:
        for place, name in enumerate(estimation.MEASURES):
            found = [again.estimate(one, confidence)[name] for one in values]
            low, high = np.array([one.interval for one in found]).T
            held = np.mean((low <= shares[:, place]) & (shares[:, place] <= high))
            assert confidence - 0.05 <= held <= confidence + 0.1
            assert all(one.interval[0] <= one.value <= one.interval[1] for one in found)
    assert np.mean(high - low) < 0.5
    inside = (low > 0) & (high < 1)
    unsure = values[inside, 4] > 0
    assert np.mean((high - low)[inside][unsure]) > 1.5 * np.mean((high - low)[inside][~unsure])
    with pytest.raises(InputError, match=r"to be 0\.7; expected one of 0\.5, 0\.8"):
        fit.estimate(values[0], 0.7)
    strange = values[0].copy()
    strange[3] = 50.0
    assert fit.strange(strange) == [label_free.NAMES[3]]


def test_the_command_says_the_estimate_and_the_truth(tmp_path, capsys):
    features, pid, camera, tracklet = people(num=30)
    key = np.array([f"cam{a}/{b}/x.jpg" for a, b in zip(camera, tracklet, strict=True)])
    np.savez(tmp_path / "known.npz", features=features, pid=pid, camera=camera, key=key)
    np.savez(tmp_path / "unknown.npz", features=features, key=key)
    out = tmp_path / "out.json"
    given = ["estimate", "--json", str(out), "--embeddings"]
    assert cli.main([*given, str(tmp_path / "known.npz"), "--truth"]) == 0
    known = json.loads(out.read_text())
    said = capsys.readouterr().out
    assert f"{len(pid)} pictures in {tracklet.max() + 1} tracklets before 3 cameras" in said
    right = truth(features, pid, camera)
    assert [known["truth"][name] for name in estimation.MEASURES] == pytest.approx(right, abs=1e-6)
    assert f"measured {100 * right[0]:.1f} %" in said
    assert cli.main([*given, str(tmp_path / "unknown.npz"), "--camera", r"cam(\d)"]) == 0
    unknown = json.loads(out.read_text())
    assert unknown["truth"] is None
    assert unknown["mAP"]["value"] == pytest.approx(known["mAP"]["value"], abs=1e-5)
    expected = estimation.shipped("tracklets").estimate(
        estimation.vector(traces(features, camera, tracklet))
    )
    assert unknown["rank1"]["value"] == pytest.approx(expected["rank1"].value)
    assert unknown["rank1"]["interval"] == pytest.approx(expected["rank1"].interval)
    assert cli.main([*given, str(tmp_path / "unknown.npz")]) == 2
    assert "before 1 cameras" in capsys.readouterr().err
