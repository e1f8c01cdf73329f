"""What is measured beside the ranking, against loops over pairs."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import sharding
from luperson_jax.measure import probes
from luperson_jax.measure.evaluation import Evaluation
from luperson_jax.retrieval import ranking
from luperson_jax.structs import EmbeddingSet, TrainState
from tests.helpers import tiny
from tests.luperson_jax.test_evaluate import Half


def drawn(seed, num, people=6):
    rng = np.random.default_rng(seed)
    pid = rng.integers(-1, people, num)
    features = rng.normal(size=(num, 8)) + 2 * np.eye(people + 1, 8)[pid]
    camera = rng.integers(0, 3, num)
    return EmbeddingSet(features.astype(np.float32), pid, camera, tuple(map(str, range(num))))


QUERY, GALLERY = drawn(0, 40), drawn(1, 90)
REPORT = ranking.rank(QUERY, GALLERY)


def unit(row):
    return row / np.linalg.norm(row)


def test_neighbors_vote():
    hits = []
    for row, pid, camera in zip(QUERY.features, QUERY.pid, QUERY.camera, strict=True):
        if pid == -1:
            continue
        voters = [
            (float(unit(row) @ unit(GALLERY.features[i])), GALLERY.pid[i])
            for i in range(len(GALLERY.pid))
            if GALLERY.pid[i] != -1 and not (GALLERY.pid[i] == pid and GALLERY.camera[i] == camera)
        ]
        votes = {}
        for cosine, voted in sorted(voters, reverse=True)[: probes.NUM_NEIGHBORS]:
            votes[voted] = votes.get(voted, 0.0) + np.exp(cosine / probes.TEMPERATURE)
        hits.append(max(votes, key=votes.__getitem__) == pid)
    assert 0.2 < np.mean(hits) < 1
    assert probes.knn(QUERY, GALLERY, REPORT) == {"knn": pytest.approx(np.mean(hits))}


def test_without_anybody_known_nobody_is_found():
    nobody = EmbeddingSet(QUERY.features, np.full_like(QUERY.pid, -1), QUERY.camera, QUERY.key)
    assert probes.knn(nobody, GALLERY, REPORT) == {"knn": 0.0}
    assert probes.knn(QUERY, nobody, REPORT) == {"knn": 0.0}


def test_features_that_fill_their_space():
    found = probes.collapse(QUERY, GALLERY, REPORT)
    rows = [unit(row) for row in GALLERY.features.astype(np.float64)]
    pairs = [float(one @ other) for one, other in itertools.combinations(rows, 2)]
    assert found["mean_cosine"] == pytest.approx(np.mean(pairs))
    assert 0.5 < found["feature_std"] <= 1
    assert 4 < found["effective_rank"] <= 8


@pytest.mark.parametrize("directions", [1, 2])
def test_features_that_have_collapsed(directions):
    rng = np.random.default_rng(2)
    base = np.linalg.qr(rng.normal(size=(8, 8)))[0][:directions]
    rows = (5 * base[np.arange(60) % directions]).astype(np.float32)
    gallery = EmbeddingSet(rows, np.arange(60), np.zeros(60, int), ("",) * 60)
    found = probes.collapse(QUERY, gallery, REPORT)
    assert found["effective_rank"] == pytest.approx(directions, rel=1e-3)
    assert found["mean_cosine"] == pytest.approx(1 if directions == 1 else 29 / 59, abs=1e-6)
    assert (found["feature_std"] < 1e-5) == (directions == 1)


def test_the_trapezoid_rule_has_a_name_of_its_own():
    found = probes.trapezoid(QUERY, GALLERY, REPORT)
    assert found == {"mAP_trapezoid": REPORT.mAP_trapezoid}
    assert 0 < found["mAP_trapezoid"] < REPORT.mAP


def test_probes_of_a_run_are_among_its_figures(labelled_world):
    recipe = tiny(
        "identify",
        labelled_world,
        eval__dataset="market1501",
        eval__root=str(labelled_world),
        eval__probes=("knn", "collapse", "trapezoid"),
    )
    evaluation = Evaluation.build(recipe, Half(False), sharding.make_mesh())
    state = TrainState(jnp.int32(5), {"scale": jnp.float32(2.0)}, {}, {}, None)
    figures = evaluation.measure(state).figures
    names = ("knn", "feature_std", "mean_cosine", "effective_rank", "mAP_trapezoid", "mAP")
    assert {f"market1501/{name}" for name in names} <= figures.keys()
    assert all(np.isfinite(value) for value in figures.values())
