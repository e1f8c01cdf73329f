"""The association learner: by loops, by the written step, and by what DAL's graph gave."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.losses import association

MARGIN, RATE = 0.5, 0.5


def unit(x):
    return x / np.sqrt(np.maximum(np.sum(np.square(x), axis=-1, keepdims=True), 1e-10))


def loss_by_loops(features, intra, cross, row, row_camera, empty_rows):
    """One part: frames one by one."""
    intra, cross = unit(intra), unit(cross)
    seen = np.any(intra != 0, axis=1) | (empty_rows == "compete")
    frames = [b for b in range(len(row)) if row[b] >= 0 and seen[row[b]]]
    nearest = {}
    for b in frames:
        rivals = [t for t in range(len(intra)) if row_camera[t] == row_camera[row[b]] and seen[t]]
        values = [np.sum((features[b] - intra[t]) ** 2) for t in rivals]
        nearest[b] = (min(values), rivals[int(np.argmin(values))])
    losses = {"intra": [], "cross": []}
    for b in frames:
        negative, winner = nearest[b]
        if winner == row[b]:
            mates = [c for c in frames if row_camera[row[c]] == row_camera[row[b]]]
            negative = np.mean([nearest[c][0] for c in mates])
        for name, bank in (("intra", intra), ("cross", cross)):
            own = np.sum((features[b] - bank[row[b]]) ** 2)
            losses[name].append(max(own - negative + MARGIN, 0))
    return {name: np.mean(values) if values else 0.0 for name, values in losses.items()}


def banks_by_loops(features, intra, cross, row, row_camera, started, update, empty_rows):
    """One part: rows one by one."""
    new, crossed, old = intra.copy(), cross.copy(), unit(intra)
    present = sorted({t for t in row if t >= 0})
    for t in present:
        mine = [features[b] for b in range(len(row)) if row[b] == t]
        if update == "reference":
            new[t] = intra[t] - RATE * sum(old[t] - f for f in mine)
        else:
            mean = np.mean(mine, axis=0)
            new[t] = unit((1 - RATE) * old[t] + RATE * mean if old[t].any() else mean)
    anchors = unit(new)
    seen = np.any(anchors != 0, axis=1) | (empty_rows == "compete")
    for t in present:
        crossed[t] = anchors[t]
        others = [s for s in range(len(new)) if row_camera[s] != row_camera[t] and seen[s]]
        if not (others and started):
            continue
        match = min(others, key=lambda s: (np.sum((anchors[t] - anchors[s]) ** 2), s))
        mine = [s for s in range(len(new)) if row_camera[s] == row_camera[t] and seen[s]]
        back = min(mine, key=lambda s: (np.sum((anchors[match] - anchors[s]) ** 2), s))
        if back == t:
            crossed[t] = (anchors[t] + anchors[match]) / 2
    return new, crossed


def draw(seed, num_parts=2, num_frames=14, width=6):
    """Banks of three cameras in which a quarter of the rows is empty."""
    rng = np.random.default_rng(seed)
    row_camera = np.repeat([0, 1, 2], [4, 5, 3])
    banks = rng.standard_normal((2, num_parts, len(row_camera), width))
    banks[:, :, rng.random(len(row_camera)) < 0.25] = 0
    features = unit(rng.standard_normal((num_frames, num_parts, width)))
    row = rng.integers(-1, len(row_camera), num_frames)
    return features, *banks, row, row_camera


def on_device(features, intra, cross, row, row_camera):
    arrays = [jnp.asarray(one, jnp.float32) for one in (features, intra, cross)]
    return [*arrays, jnp.asarray(row, jnp.int32), jnp.asarray(row_camera, jnp.int32)]


@pytest.mark.parametrize("empty_rows", ["masked", "compete"])
@pytest.mark.parametrize("seed", range(3))
def test_losses_are_those_of_loops(seed, empty_rows):
    drawn = draw(seed)
    loss, found = association.association_loss(*on_device(*drawn), empty_rows=empty_rows)
    features, intra, cross, row, row_camera = drawn
    parts = [
        loss_by_loops(features[:, p], intra[p], cross[p], row, row_camera, empty_rows)
        for p in range(2)
    ]
    for name in ("intra", "cross"):
        np.testing.assert_allclose(found[name], np.mean([one[name] for one in parts]), atol=2e-6)
    np.testing.assert_allclose(loss, found["intra"] + found["cross"], rtol=1e-6)


@pytest.mark.parametrize("update", ["reference", "ema"])
@pytest.mark.parametrize(("seed", "started"), [(0, True), (1, True), (2, False)])
def test_banks_are_those_of_loops(seed, started, update):
    drawn = draw(seed)
    features, intra, cross, row, row_camera = on_device(*drawn)
    found = association.move_banks(
        intra, cross, features, row, row_camera, jnp.asarray(started), update=update
    )
    features, intra, cross, row, row_camera = drawn
    for part in range(2):
        banks = (features[:, part], intra[part], cross[part])
        expected = banks_by_loops(*banks, row, row_camera, started, update, "masked")
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours[part], theirs, atol=2e-6)
    unseen = np.setdiff1d(np.arange(len(row_camera)), row)
    for ours, before in zip(found, (intra, cross), strict=True):
        np.testing.assert_array_equal(ours[:, unseen], np.float32(before[:, unseen]))


@pytest.mark.parametrize("row_camera", [[0, 0, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0]])
def test_lone_tracklets_and_absent_cameras_by_loops(row_camera):
    """A camera of one tracklet, one without a frame in the batch; or nothing but one camera."""
    rng = np.random.default_rng(8)
    intra, cross = rng.standard_normal((2, 1, 6, 5))
    features = unit(rng.standard_normal((4, 1, 5)))
    drawn = (features, intra, cross, np.array([0, 3, 1, 3]), np.array(row_camera))
    arrays = on_device(*drawn)

    def loss_of(features):
        return association.association_loss(features, *arrays[1:])[0]

    value, gradient = jax.value_and_grad(loss_of)(arrays[0])
    assert np.isfinite(gradient).all()
    one = (features[:, 0], intra[0], cross[0], *drawn[3:])
    np.testing.assert_allclose(value, sum(loss_by_loops(*one, "masked").values()), atol=2e-6)
    for update in ("reference", "ema"):
        found = association.move_banks(
            *(arrays[1], arrays[2], arrays[0], *arrays[3:], jnp.asarray(True)), update=update
        )
        for ours, theirs in zip(found, banks_by_loops(*one, True, update, "masked"), strict=True):
            np.testing.assert_allclose(ours[0], theirs, atol=2e-6)


def test_other_numbers_of_the_tracklets_of_a_camera_change_nothing():
    features, intra, cross, row, row_camera = draw(5)
    order = np.arange(len(row_camera))
    order[4:9] = [6, 8, 4, 7, 5]  # of the second camera
    place = np.argsort(order)
    renamed = np.where(row < 0, -1, place[row])
    one = on_device(features, intra, cross, row, row_camera)
    two = on_device(features, intra[:, order], cross[:, order], renamed, row_camera)
    assert not np.array_equal(one[3], two[3])
    values = [float(association.association_loss(*arrays)[0]) for arrays in (one, two)]
    assert values[0] == pytest.approx(values[1], abs=1e-6)


def test_padding_and_unknown_tracklets_change_nothing():
    features, intra, cross, row, row_camera = on_device(*draw(6))
    mask = jnp.arange(14) < 9
    few = (features[:9], intra, cross, row[:9], row_camera)
    whole = (features, intra, cross, row, row_camera)
    loss = association.association_loss(*whole, mask=mask)[0]
    np.testing.assert_allclose(loss, association.association_loss(*few)[0], rtol=1e-6)
    started = jnp.asarray(True)
    moved = association.move_banks(intra, cross, features, row, row_camera, started, mask=mask)
    alone = association.move_banks(intra, cross, *(few[0], few[3]), row_camera, started)
    for one, two in zip(moved, alone, strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_anchor_of_the_reference_is_the_last_frame():
    rng = np.random.default_rng(0)
    frames = jnp.asarray(unit(rng.standard_normal((3, 1, 1, 5))), jnp.float32)
    intra = cross = jnp.zeros((1, 2, 5))
    for frame in frames:
        intra, cross = association.move_banks(
            *(intra, cross, frame, jnp.array([1])), jnp.array([0, 0]), jnp.asarray(False)
        )
        np.testing.assert_allclose(jnp.linalg.norm(intra[0, 1]), RATE, rtol=1e-6)
        np.testing.assert_allclose(cross[0, 1], frame[0, 0], atol=1e-6)
    assert not intra[0, 0].any()


def test_equal_distances_come_to_rest_at_the_margin():
    """Each frame at its anchor: all hinges are active, and nothing has a gradient on average."""
    anchors = jnp.asarray(np.eye(4)[None, :3] + 0.3 * np.eye(4)[3], jnp.float32)
    features = jnp.swapaxes(association.normalized(jnp.asarray(np.eye(4)[None, :3])), 0, 1)
    arguments = (features.astype(jnp.float32), anchors, anchors, jnp.arange(3), jnp.zeros(3, int))
    loss, found = association.association_loss(*arguments)
    assert float(loss) == pytest.approx(2 * MARGIN, abs=1e-6)
    assert float(found["own_first"]) == 1


def test_the_written_step(golden):
    stored = np.load(golden / "methods" / "dal_step_10_5a.npz")
    offset = np.array([0, 2])
    row = offset[stored["cam"]] + stored["trk"]
    check_step(
        stored["frames"][:, None],
        *(stored[name][None] for name in ("X", "C")),
        row,
        stored["row_cam"],
        bool(stored["start"]),
        {name: stored[name][:, None] for name in ("d_intra", "d_cross", "d_neg")},
        stored["loss"],
        stored["grad_frames"][:, None],
        [stored[name][None] for name in ("X_new", "C_new")],
    )


@pytest.mark.parametrize("name", ["dal_steps_p1", "dal_steps_p4", "dal_steps_2cam"])
def test_steps_of_the_authors(golden, name):
    stored = np.load(golden / "methods" / f"{name}.npz")
    offset = np.cumsum([0, *stored["tracks"][:-1]])
    for step, frames in enumerate(stored["frames"]):
        distances = {key: stored[key][step] for key in ("d_intra", "d_cross", "d_neg")}
        check_step(
            frames,
            stored["X"][step],
            stored["C"][step],
            offset[stored["cam"][step]] + stored["trk"][step],
            stored["row_cam"],
            bool(stored["start"][step]),
            distances,
            stored["loss"][step],
            stored["grad_frames_of_mean_loss"][step],
            [stored["X"][step + 1], stored["C"][step + 1]],
        )


def check_step(frames, intra, cross, row, row_camera, started, distances, loss, gradient, banks):
    _, intra, cross, row, row_camera = on_device(frames, intra, cross, row, row_camera)
    frames = jnp.asarray(frames, jnp.float32)
    of_banks = functools.partial(association.association_loss, empty_rows="compete")

    def of_frames(frames):
        return of_banks(association.normalized(frames), intra, cross, row, row_camera)

    (value, found), by_frames = jax.value_and_grad(of_frames, has_aux=True)(frames)
    for ours, theirs in (("d_intra", "d_intra"), ("d_cross", "d_cross"), ("d_negative", "d_neg")):
        np.testing.assert_allclose(found[ours], distances[theirs], rtol=0, atol=5e-6)
    np.testing.assert_allclose(value, loss, rtol=0, atol=3e-6)
    np.testing.assert_allclose(by_frames, gradient, rtol=0, atol=5e-6)
    features = association.normalized(frames)
    moved = association.move_banks(
        *(intra, cross, features, row, row_camera, jnp.asarray(started)), empty_rows="compete"
    )
    for ours, theirs in zip(moved, banks, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)
