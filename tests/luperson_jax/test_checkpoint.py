"""Saving, keeping, falling back, and moving a backbone."""

import logging

import jax
import jax.numpy as jnp
import pytest

from data_pipeline.errors import InputError
from luperson_jax.workdir import checkpoint
from tests.helpers import assert_trees_equal


def state(value: float) -> dict:
    return {"params": {"kernel": jnp.full((300, 40), value)}, "extra": {}, "step": jnp.int32(value)}


def figures(share: float) -> dict[str, float]:
    return {"mAP": share, "mINP": 0.1, "rank1": 0.5, "rank5": 0.5, "rank10": 0.75}


def save(folder, values, metrics=None, **options) -> checkpoint.Checkpoints:
    options = {"best": "mAP", **options}
    checkpoints = checkpoint.Checkpoints(folder, **options)
    for value in values:
        checkpoints.save(value, state(value))
        if metrics and value in metrics:
            checkpoints.add_figures(value, figures(metrics[value]))
    checkpoints.close()
    return checkpoint.Checkpoints(folder, **options)


def files_of(folder, step):
    """The data files of a checkpoint, largest last."""
    found = [path for path in (folder / "checkpoints" / str(step) / "default").rglob("d/*")]
    return sorted((path for path in found if path.is_file()), key=lambda path: path.stat().st_size)


def test_the_newest_comes_back_bit_for_bit(tmp_path):
    step, tree = save(tmp_path, [1, 2]).restore(state(0))
    assert step == 2
    assert_trees_equal(tree, state(2))


def test_nothing_saved_restores_nothing(tmp_path):
    assert checkpoint.Checkpoints(tmp_path).restore(state(0)) is None


def test_newest_and_best_are_kept(tmp_path):
    kept = save(tmp_path, [1, 2, 3, 4, 5], {2: 0.9, 3: 0.1, 4: 0.5}, keep=1)
    assert kept.steps() == [2, 5]
    assert kept.best_step() == 2
    assert kept.best() == (2, figures(0.9))


def test_nothing_evaluated_has_no_best(tmp_path):
    assert save(tmp_path, [1, 2]).best() is None


def test_a_save_under_way_counts_for_the_best(tmp_path):
    checkpoints = save(tmp_path, [1], {1: 0.5})
    checkpoints.save(2, state(2))
    checkpoints.add_figures(2, figures(0.75))
    assert checkpoints.best() == (2, figures(0.75))


def test_figures_of_one_step_come_together_and_any_of_them_may_choose(tmp_path):
    checkpoints = save(tmp_path, [1, 2], {1: 0.5, 2: 0.75}, best="clusters/silhouette")
    assert checkpoints.best() is None
    for step, value in ((1, 0.25), (2, -0.5)):
        checkpoints.add_figures(step, {"clusters/silhouette": value})
    assert checkpoints.best() == (1, figures(0.5) | {"clusters/silhouette": 0.25})


def test_of_equally_good_ones_the_last_is_the_best(tmp_path):
    assert save(tmp_path, [1, 2, 3], {1: 0.5, 2: 0.5}, keep=1).best_step() == 2


DAMAGES = {
    "emptied": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "not UTF-8": lambda data: b"\xff\xfe" + data,
    "a list": lambda data: b"[]",
    "a number": lambda data: b"7",
    "other keys": lambda data: b'{"a": null}',
}


@pytest.mark.parametrize("name", ["figures.json", "digests.json", "_CHECKPOINT_METADATA"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_small_file_of_one_save_leaves_the_others(tmp_path, name, damage):
    save(tmp_path, [1, 2], {1: 0.5, 2: 0.75}).close()
    path = tmp_path / "checkpoints" / "2" / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    said = []
    checkpoints = checkpoint.Checkpoints(tmp_path, best="mAP", say=said.append)
    step, tree = checkpoints.restore(state(0))
    # Orbax's own note is beside the point; without figures the tensors are as good as ever.
    assert step == (1 if name == "digests.json" else 2)
    assert_trees_equal(tree, state(step))
    assert checkpoints.best_step() == (2 if name == "_CHECKPOINT_METADATA" else 1)
    assert len(said) == (0 if name == "_CHECKPOINT_METADATA" else 1)
    checkpoints.save(3, state(3))
    checkpoints.close()
    assert checkpoint.Checkpoints(tmp_path, read_only=True).read()[0] == 3


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
def test_a_damaged_save_is_passed_over_and_named(tmp_path, damage):
    save(tmp_path, [1, 2]).close()
    target = files_of(tmp_path, 2)[-1]
    data = bytearray(target.read_bytes())
    if damage == "truncate":
        target.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        target.write_bytes(data)
    else:
        target.unlink()
    said = []
    step, tree = checkpoint.Checkpoints(tmp_path, say=said.append).restore(state(0))
    assert step == 1
    assert_trees_equal(tree, state(1))
    assert "checkpoint 2" in said[0]
    assert target.name in said[0]


def test_a_damaged_step_can_be_saved_again(tmp_path):
    save(tmp_path, [1, 2]).close()
    files_of(tmp_path, 2)[-1].unlink()
    checkpoints = checkpoint.Checkpoints(tmp_path)
    assert checkpoints.restore(state(0))[0] == 1
    checkpoints.save(2, state(7))
    checkpoints.close()
    step, tree = checkpoint.Checkpoints(tmp_path).restore(state(0))
    assert step == 2
    assert_trees_equal(tree["params"], state(7)["params"])
    assert len(list((tmp_path / "checkpoints").glob("damaged-2-*"))) == 1


def test_only_damaged_saves_are_an_error(tmp_path):
    save(tmp_path, [1]).close()
    files_of(tmp_path, 1)[-1].unlink()
    with pytest.raises(InputError, match="all are damaged"):
        checkpoint.Checkpoints(tmp_path).restore(state(0))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({**state(0), "more": jnp.zeros(3)}, ["missing more (3,)"]),
        ({"params": state(0)["params"], "extra": {}}, ["unknown step ()"]),
        ({**state(0), "params": {"kernel": jnp.zeros((2, 2))}}, ["(300, 40)", "(2, 2)"]),
    ],
)
def test_other_tensors_are_named(tmp_path, target, words):
    with pytest.raises(InputError) as caught:
        save(tmp_path, [1]).restore(target)
    for word in words:
        assert word in str(caught.value)


LENGTHY = "RESOURCE_EXHAUSTED: Error writing local file: Failed to write [os_error_code='28']"


@pytest.mark.parametrize("error", [OSError(28, "No space left"), ValueError(LENGTHY)])
def test_a_full_disk_is_a_message_that_names_what_is_left(tmp_path, monkeypatch, error):
    checkpoints = save(tmp_path, [1, 2])

    def fail():
        raise error

    monkeypatch.setattr(checkpoints._manager, "wait_until_finished", fail)
    words = r"cannot write a checkpoint to \S+: [^:]*No space left[^:]*; step 2 is the last whole"
    with pytest.raises(InputError, match=words):
        checkpoints.close()


def test_a_checkpoint_of_what_is_not_finite_is_passed_over(tmp_path):
    said = []
    save(tmp_path, [1, 2]).close()
    checkpoints = checkpoint.Checkpoints(tmp_path, say=said.append)
    problem_of = lambda tree: "NaN" if int(tree["step"]) == 2 else None  # noqa: E731
    assert checkpoints.restore(state(0), problem_of=problem_of)[0] == 1
    assert "checkpoint 2" in said[0]
    assert checkpoints.steps() == [1]


def test_reading_needs_no_structure(tmp_path):
    save(tmp_path, [3]).close()
    step, tree = checkpoint.Checkpoints(tmp_path, read_only=True).read()
    assert step == 3
    assert_trees_equal(tree, state(3))


def test_reading_only_is_no_reason_to_warn(tmp_path, caplog):
    save(tmp_path, [3]).close()
    library = logging.getLogger("absl")
    library.addHandler(caplog.handler)
    try:
        caplog.clear()
        checkpoint.Checkpoints(tmp_path, read_only=True).close()
    finally:
        library.removeHandler(caplog.handler)
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_reading_a_folder_without_checkpoints_is_an_error(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoints"):
        checkpoint.Checkpoints(tmp_path, read_only=True)


def test_restored_arrays_go_where_the_target_lies(tmp_path):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    checkpoints = save(tmp_path, [1])
    _, tree = checkpoints.restore(jax.device_put(state(0), whole))
    assert tree["params"]["kernel"].sharding == whole
