"""The canvas that a run chooses, keeps and warns of."""

import pytest
from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.table.records import make_table
from luperson_jax import tasks
from luperson_jax.run import canvas, setup
from luperson_jax.workdir import recipe_file
from tests.helpers import tiny

SIZES = [(height, height // 2) for height in range(100, 600, 10)]


def table_of(tmp_path, sizes=SIZES):
    for number, (height, width) in enumerate(sizes):
        Image.new("L", (width, height)).save(tmp_path / f"{number:03d}.png")
    return make_table(
        [(str(tmp_path / f"{number:03d}.png"), 0, 0, -1) for number in range(len(sizes))]
    )


def resolve(tmp_path, table, **changes):
    recipe = tiny("moco", tmp_path, **changes)
    resolved, line = canvas.resolve(recipe, table, tmp_path)
    return resolved.data.canvas, line


def test_a_canvas_holds_nine_tenths_of_the_pictures(tmp_path):
    chosen, line = resolve(tmp_path, table_of(tmp_path), data__canvas=(0, 0))
    # The 45th of 50 heights is 540, of the widths 270.
    assert chosen == (576, 288)
    assert "576x288" in line
    assert "90 % of the training pictures are at most 550x275 pixels" in line


def test_a_canvas_is_no_smaller_than_the_views_and_no_larger_than_it_may(tmp_path):
    small = table_of(tmp_path, [(20, 10)] * 5)
    assert resolve(tmp_path, small, data__canvas=(0, 0), data__size=(64, 40))[0] == (64, 40)
    large = table_of(tmp_path, [(2000, 300)] * 5)
    chosen, line = resolve(tmp_path, large, data__canvas=(0, 0))
    assert chosen == (canvas.LARGEST[0], 320)
    assert "larger than 768x384 lose detail" in line


def test_a_canvas_too_small_is_noted_with_the_one_that_would_do(tmp_path):
    table = table_of(tmp_path)
    chosen, line = resolve(tmp_path, table, data__canvas=(384, 192))
    assert chosen == (384, 192)
    assert "data.canvas=(576, 288) keeps it, at 2.2 times the memory" in line
    assert resolve(tmp_path, table, data__canvas=(576, 288)) == ((576, 288), "")
    # Higher than need be and too narrow: no smaller than it is.
    assert "data.canvas=(700, 288)" in resolve(tmp_path, table, data__canvas=(700, 64))[1]


def test_what_crops_nothing_has_the_canvas_of_its_views(tmp_path):
    table = table_of(tmp_path, [(2000, 300)] * 2)
    for given, chosen in (((0, 0), (32, 16)), ((48, 24), (48, 24))):
        found = resolve(tmp_path, table, data__canvas=given, augment__recipe="finetune")
        assert found == (chosen, "")


def test_half_a_canvas_is_named(tmp_path):
    with pytest.raises(InputError, match=r"data.canvas=\(0, 64\) must have a height and a width"):
        tiny("moco", tmp_path, data__canvas=(0, 64))


def test_a_run_keeps_the_canvas_it_chose(tmp_path, unlabelled_world):
    workdir = tmp_path / "run"
    recipe = tiny("moco", unlabelled_world, data__canvas=(0, 0))
    current = setup.build(recipe, str(workdir), tasks.TASKS["moco"])
    assert current.recipe.data.canvas == (32, 32)
    assert current.written["data"]["canvas"] == [32, 32]
    assert "canvas 32x32" in current.about_canvas
    # Were the sizes others meanwhile, the run would still go on with its own.
    written = {**current.written, "data": {**current.written["data"], "canvas": [96, 64]}}
    workdir.mkdir()
    recipe_file.write(written, workdir)
    assert canvas.resolve(recipe, current.table, workdir)[0].data.canvas == (32, 32)
    (workdir / "checkpoints" / "2").mkdir(parents=True)
    resolved, line = canvas.resolve(recipe, current.table, workdir)
    assert (resolved.data.canvas, line) == ((96, 64), "")
