"""What a run trains on: rows with identities where the method learns from them."""

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import tasks
from luperson_jax.run import loop, setup
from tests.helpers import tiny


def of_both(labelled_world, unlabelled_world):
    root = f"market1501={labelled_world},image_folder={unlabelled_world}"
    return tiny("identify", root, data__dataset="several")


def test_pictures_without_an_identity_are_no_class_of_their_own(
    tmp_path, capsys, labelled_world, unlabelled_world
):
    recipe = of_both(labelled_world, unlabelled_world)
    current = setup.build(recipe, str(tmp_path), tasks.TASKS["identify"])
    alone = tiny("identify", labelled_world)
    expected = setup.build(alone, str(tmp_path), tasks.TASKS["identify"])
    np.testing.assert_array_equal(current.table.pid, expected.table.pid)
    assert current.steps_per_epoch == expected.steps_per_epoch
    reporter = loop.Reporter(tmp_path, 1, 1)
    loop._describe(current, reporter, [])
    reporter.close()
    assert "64 pictures without an identity are left out" in capsys.readouterr().out


def test_a_method_without_labels_keeps_them(tmp_path, labelled_world, unlabelled_world):
    root = of_both(labelled_world, unlabelled_world).data.root
    recipe = tiny("moco", root, data__dataset="several")
    table = setup.build(recipe, str(tmp_path), tasks.TASKS["moco"]).table
    assert (table.pid == -1).sum() == 64
    assert (table.pid >= 0).any()


def test_a_folder_without_identities_cannot_teach_them(tmp_path, unlabelled_world):
    recipe = tiny("identify", unlabelled_world, data__dataset="image_folder")
    with pytest.raises(InputError, match=r"none of the 64 training images .* has an identity"):
        setup.build(recipe, str(tmp_path), tasks.TASKS["identify"])


def test_a_run_may_see_one_camera_alone(tmp_path, labelled_world):
    whole = setup.build(
        tiny("moco", labelled_world, data__dataset="market1501"), str(tmp_path), tasks.TASKS["moco"]
    )
    recipe = tiny("moco", labelled_world, data__dataset="market1501", data__camera=1)
    current = setup.build(recipe, str(tmp_path), tasks.TASKS["moco"])
    rows = whole.table.camera == 1
    assert list(current.table.media) == list(whole.table.take(np.flatnonzero(rows)).media)
    assert current.fingerprint.startswith(f"{whole.fingerprint}/")
    recipe = tiny("moco", labelled_world, data__dataset="market1501", data__camera=9)
    with pytest.raises(InputError, match=r"data.camera=9 has no training image .* are 0, 1"):
        setup.build(recipe, str(tmp_path), tasks.TASKS["moco"])
