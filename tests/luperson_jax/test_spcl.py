"""SpCL: memory, criteria and runs."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import InputError
from luperson_jax.clustering import self_paced
from luperson_jax.losses import cluster_memory, hybrid_memory
from luperson_jax.run import setup
from luperson_jax.structs import EmbeddingSet
from luperson_jax.tasks.spcl import Spcl
from luperson_jax.workdir.metrics_file import METRICS_FILE
from tests import stand_in
from tests.helpers import assert_trees_equal, final, run, tiny
from tests.interruptions import cut_short


def contrast_by_hand(x, memory, classes, labels, temperature):
    logits = np.float64(x) @ memory.T / temperature
    used = np.unique(classes)
    mean = np.stack([logits[:, classes == c].mean(axis=1) for c in used], axis=1)
    exp = np.exp(mean)
    p = exp / (exp.sum(axis=1, keepdims=True) + 1e-6)
    place = np.searchsorted(used, labels)
    return -np.log(p[np.arange(len(x)), place] + 1e-6).mean()


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_loss_is_that_of_class_means(shift):
    """Also where nothing is near, and the small number in the sum is most of it."""
    rng = np.random.default_rng(0)
    memory, x = (np.float32(rng.standard_normal((n, 5))) / 3 for n in (20, 6))
    memory, x = memory + np.float32(shift), x - np.float32(shift)
    classes = rng.choice([0, 2, 3, 9, 17], 20)
    labels = rng.choice(classes, 6)
    mask = np.arange(6) < 4
    arrays = (jnp.asarray(one) for one in (x, memory, np.int32(classes), np.int32(labels)))
    loss, _ = hybrid_memory.hybrid_contrast(*arrays, temperature=0.1, mask=jnp.asarray(mask))
    expected = contrast_by_hand(x[:4], memory, classes, labels[:4], 0.1)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_steps_of_the_authors(golden):
    stored = np.load(golden / "methods" / "hybrid_memory.npz")
    classes = jnp.asarray(stored["labels"].astype(np.int32))

    def loss(x, memory, rows):
        return hybrid_memory.hybrid_contrast(
            x, memory, classes, classes[rows], temperature=float(stored["tau"])
        )[0]

    def step(x, memory, rows):
        value, gradient = jax.value_and_grad(loss)(x, memory, rows)
        momentum = float(stored["mu"])
        moved = cluster_memory.move_memory(memory, x, rows, momentum=momentum)
        return value, gradient, moved

    first = memory = jnp.asarray(stored["memory0"])
    for number in range(3):
        x, rows = (jnp.asarray(stored[name][number]) for name in ("x", "idx"))
        value, gradient, memory = step(x, memory, rows.astype(jnp.int32))
        np.testing.assert_allclose(value, stored["loss"][number], rtol=0, atol=5e-5)
        np.testing.assert_allclose(gradient, stored["grad_x"][number], rtol=0, atol=2e-5)
        np.testing.assert_allclose(memory, stored["memory"][number], rtol=0, atol=1e-6)
    x = jnp.asarray(stored["x"][0] * np.float32(stored["unnorm_scale"]))
    rows = jnp.asarray(stored["idx"][0].astype(np.int32))
    value, gradient, memory = step(x, first, rows)
    np.testing.assert_allclose(value, stored["unnorm_loss"], rtol=0, atol=5e-5)
    np.testing.assert_allclose(gradient, stored["unnorm_grad_x"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(memory, stored["unnorm_memory"], rtol=0, atol=1e-6)


def by_sets(labels, tight, loose, threshold=None):
    """The criteria told with sets of images."""

    def classes(one):
        number, result = one.max() + 1, []
        for label in one:
            result.append(label if label >= 0 else number)
            number += label < 0
        return np.array(result)

    given, tight, loose = map(classes, (labels, tight, loose))

    def apart(one, other, i):
        a, b = (set(np.flatnonzero(x == x[i])) for x in (one, other))
        return np.float32(1) - np.float32(len(a & b)) / np.float32(len(a | b))

    images = range(len(labels))
    comp = np.array([apart(given, tight, i) for i in images])
    indep = np.array([apart(given, loose, i) for i in images])
    numbers = sorted(set(given))
    least = {c: (min(comp[given == c]), min(indep[given == c])) for c in numbers}
    if threshold is None:
        several = sorted(least[c][1] for c in numbers if np.sum(given == c) > 1)
        place = min(len(several) - 1, int(np.round(len(several) * 0.9)))
        threshold = several[place]
    found, following = [], len(numbers)
    for i in images:
        if least[given[i]][1] <= threshold and comp[i] <= least[given[i]][0]:
            found.append(given[i])
        else:
            found.append(following)
            following += 1
    return np.array(found), comp, indep, threshold


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), num=st.integers(4, 90), again=st.booleans())
def test_criteria_equal_those_of_sets(seed, num, again):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, max(num // 4, 1), num)
    labels[:2] = 0

    def changed(share):
        other = np.where(rng.random(num) < share, rng.integers(-1, num // 4, num), labels)
        other[:2] = 0
        numbers = np.unique(other[other >= 0])
        return np.where(other >= 0, np.searchsorted(numbers, other), -1)

    labels, tight, loose = (changed(share) for share in (0.1, 0.3, 0.3))
    threshold = np.float32(0.4) if again else None
    found = self_paced.self_paced(labels, tight, loose, threshold)
    expected = by_sets(labels, tight, loose, threshold)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["spcl_self_paced", "spcl_self_paced_drawn"])
def test_classes_of_the_authors(golden, name):
    stored = np.load(golden / "methods" / f"{name}.npz")
    names = ("labels_dbscan", "labels_tight", "labels_loose")
    if name == "spcl_self_paced":
        names = ("dbscan_cluster", "dbscan_cluster_tight", "dbscan_cluster_loose")
    threshold = None
    for epoch in ("e0", "e1"):
        found = self_paced.self_paced(*(stored[f"{epoch}/{one}"] for one in names), threshold)
        threshold = found.threshold
        np.testing.assert_array_equal(found.labels, stored[f"{epoch}/labels"])
        for value, own in (("compactness", "R_comp"), ("independence", "R_indep")):
            expected = stored[f"{epoch}/{own}"]
            np.testing.assert_allclose(getattr(found, value), expected, rtol=0, atol=1e-6)
        assert float(threshold) == pytest.approx(float(stored[f"{epoch}/indep_thres"]), abs=1e-6)


def test_outliers_alone_have_no_threshold():
    alone = np.full(5, -1)
    with pytest.raises(InputError, match="no two of 5 images"):
        self_paced.self_paced(alone, alone, alone)
    later = self_paced.self_paced(alone, alone, alone, np.float32(0.5))
    np.testing.assert_array_equal(later.labels, np.arange(5))


@pytest.fixture
def recipe_of(monkeypatch, labelled_world):
    stand_in.use(monkeypatch)

    def make(**changes):
        changes = {"task__eps": 0.6, "task__k1": 8, "train__steps_per_epoch": 2, **changes}
        return tiny("spcl", labelled_world, train__epochs=3, **changes)

    return make


def test_cut_anywhere_a_run_ends_as_one_that_went_through(recipe_of, tmp_path):
    recipe = recipe_of(train__checkpoint_every_steps=1)
    run(recipe, tmp_path / "whole")
    with cut_short(3):
        run(recipe, tmp_path / "pieces")
    run(recipe, tmp_path / "pieces")
    whole, pieces = final(tmp_path / "whole"), final(tmp_path / "pieces")
    assert whole[0] == pieces[0] == 6
    assert_trees_equal(whole[1], pieces[1])
    text = (tmp_path / "whole" / METRICS_FILE).read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    clusters = [line for line in lines if "clusters/count" in line]
    assert [line["step"] for line in clusters] == [0, 2, 4]
    assert all(line["clusters/outliers"] >= line["clusters/taken_out"] for line in clusters)


def test_the_first_epoch_fills_the_memory_and_the_others_cluster_it(recipe_of, tmp_path):
    current = setup.build(recipe_of(), str(tmp_path), Spcl)
    state, table = setup.initial_state(current), current.table
    rng = np.random.default_rng(0)
    unit = np.eye(24, dtype=np.float32)[table.pid % 24] + 0.02 * rng.standard_normal((36, 24))
    features = np.float32(unit / np.linalg.norm(unit, axis=1, keepdims=True))
    embedded = EmbeddingSet(features, table.pid, table.camera, ("",) * len(table))
    extra, figures = current.task.start_epoch(state, table, 0, lambda *_: embedded)
    np.testing.assert_array_equal(extra["memory"], features)
    assert figures["clusters/purity"] == 1
    again = dataclasses.replace(state, extra={**extra, "memory": jnp.asarray(features)})
    later, figures = current.task.start_epoch(again, table, 1, lambda *_: pytest.fail("embeds"))
    np.testing.assert_array_equal(later["labels"], extra["labels"])
    assert later["threshold"] == extra["threshold"]
    assert figures["clusters/stability"] == 1
    planned, sampler = current.task.plan(extra, table)
    assert planned.pid.min() == 0
    assert sampler(planned, 0, 3).shape == (3, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task__eps_gap": 0.4}, "task.eps_gap=0.4 with task.eps=0.6"),
        ({"task__min_samples": 36}, "no cluster among 36 images"),
        ({"optim__freeze_epochs": 1}, "freeze_epochs"),
    ],
)
def test_mistakes_are_told(recipe_of, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(recipe_of(**changes), tmp_path)
