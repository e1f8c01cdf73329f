"""Refinement of clusters by cameras: equal to the written rules, and to what the authors' code
gives."""

import numpy as np
import pytest

from luperson_jax.clustering import refinement

RULES = ("best", "per_camera", "released")


def draw(seed, num_images=200, num_clusters=9, num_cameras=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, num_clusters, num_images)
    labels[:num_clusters] = np.arange(num_clusters)
    camera = rng.integers(0, num_cameras, num_images)
    local = rng.integers(-1, 5, num_images)
    score = rng.integers(0, 40, num_images) / 8  # with equal ones
    return labels, camera, local, score


def pivots_by_loops(labels, score, camera, rule):
    found = []
    for cluster in range(labels.max() + 1):
        member = [row for row in range(len(labels)) if labels[row] == cluster]
        if rule == "released":
            above = [row for row in member if score[row] > score.mean()]
            found += above[-1:]
            continue
        groups = [member]
        if rule == "per_camera":
            by_camera = [[row for row in member if camera[row] == one] for one in set(camera)]
            groups = [one for one in by_camera if len(one) > 4]
        found += [max(group, key=lambda row: (score[row], -row)) for group in groups]
    return sorted(found)


def refined_by_loops(labels, camera, local, pivots):
    result = labels.copy()
    for pivot in pivots:
        for row in range(len(labels)):
            same = labels[row] == labels[pivot] and camera[row] == camera[pivot]
            known = local[row] >= 0 and local[pivot] >= 0
            if same and known and local[row] != local[pivot]:
                result[row] = -1
    return result


def reassigned_by_loops(labels, refined, camera, local):
    result = refined.copy()
    for row in range(len(labels)):
        if labels[row] < 0 or refined[row] >= 0:
            continue
        votes = {}
        for other in range(len(labels)):
            group = (camera[other], local[other]) == (camera[row], local[row])
            if group and refined[other] >= 0 and refined[other] != labels[row]:
                votes[refined[other]] = votes.get(refined[other], 0) + 1
        if votes:
            result[row] = min(votes, key=lambda cluster: (-votes[cluster], cluster))
    return result


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_the_rules_are_those_of_loops(seed, rule):
    labels, camera, local, score = draw(seed)
    pivots = refinement.pivots(labels, score, camera, rule)
    np.testing.assert_array_equal(pivots, pivots_by_loops(labels, score, camera, rule))
    refined = refinement.refine(labels, camera, local, pivots)
    np.testing.assert_array_equal(refined, refined_by_loops(labels, camera, local, pivots))
    again = refinement.reassign(labels, refined, camera, local)
    np.testing.assert_array_equal(again, reassigned_by_loops(labels, refined, camera, local))
    assert (refined[pivots] == labels[pivots]).all()
    assert np.count_nonzero(refined != labels) > 0
    assert np.count_nonzero(again != refined) > 0


def test_nothing_to_refine():
    labels, camera, local, score = draw(0)
    none = np.full(len(labels), -1)
    assert len(refinement.pivots(none, score, camera)) == 0
    pivots = refinement.pivots(labels, score, camera)
    np.testing.assert_array_equal(refinement.refine(labels, camera, none, pivots), labels)
    np.testing.assert_array_equal(refinement.refine(none, camera, local, pivots[:0]), none)
    np.testing.assert_array_equal(refinement.reassign(labels, labels, camera, local), labels)
    assert len(refinement.camera_weights(none, camera)) == 0


def test_weights_grow_with_the_cameras_and_have_a_floor():
    labels = np.array([0] * 4 + [1] * 4 + [2] * 6 + [-1])
    camera = np.array([7, 7, 7, 7, 0, 7, 0, 7, 0, 1, 2, 3, 4, 5, 0])
    expected = np.log1p(np.log([1, 2, 6]))
    weights = refinement.camera_weights(labels, camera)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    np.testing.assert_allclose(weights, [0, 0.527, 1.027], atol=5e-4)
    floored = refinement.camera_weights(labels, camera, floor=0.1)
    np.testing.assert_allclose(floored, np.maximum(expected, 0.1), rtol=1e-6)


def test_an_image_without_neighbors_has_no_centrality():
    rows = np.array([[0, 1], [1, 0], [2, 0]])
    distance = np.array([[0.0, 0.2], [0.0, 0.2], [0.0, 0.9]])
    mean = distance.mean()
    expected = [1 / (0.2 + mean), 1 / (0.2 + mean), 0]
    np.testing.assert_allclose(refinement.centrality(distance, rows), expected)
    equal = refinement.centrality(np.zeros((3, 2)), rows)  # one picture three times
    np.testing.assert_array_equal(equal, [1, 1, 1])


@pytest.mark.parametrize("name", ["calr_inter_a", "calr_inter_b"])
def test_reference(golden, name):
    """From features to weights, with the clusters that the authors' program found."""
    stored = np.load(golden / "methods" / f"{name}.npz")
    score = refinement.centrality(stored["dists"], stored["nbrs"])
    np.testing.assert_allclose(score, stored["score"], atol=1e-4)
    labels, camera, local = stored["infomap_labels"], stored["cam"], stored["local_label"]
    for rule, key in (("released", "pivot"), ("best", "pivot_best")):
        found = refinement.pivots(labels, score, camera, rule)
        pivots = stored[key]
        np.testing.assert_array_equal(found, np.sort(pivots[pivots >= 0]))
    released = refinement.pivots(labels, score, camera, "released")
    refined = refinement.refine(labels, camera, local, released)
    np.testing.assert_array_equal(refined, stored["labels"])
    weights = refinement.camera_weights(refined, camera)
    np.testing.assert_allclose(weights, stored["weights"], atol=1e-6)
