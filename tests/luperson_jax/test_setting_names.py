"""Messages of the data pipeline in the words of a configuration."""

import dataclasses
import types

import pytest

from data_pipeline.errors import InputError
from data_pipeline.read.decode import DecodeError
from data_pipeline.read.loader import LoaderOptions
from luperson_jax import setting_names, setting_values
from luperson_jax.measure.evaluation import Evaluation
from luperson_jax.run import setup


def test_arguments_are_called_by_their_settings():
    with pytest.raises(InputError) as caught, setting_names.named(batch_size="eval.batch_size"):
        raise InputError("`batch_size` is 0, `list_path` is 'x', `num_workers`; `luperson embed`")
    expected = "eval.batch_size is 0, data.subset_list is 'x', data.num_workers; `luperson embed`"
    assert str(caught.value) == expected


def test_a_picture_that_cannot_be_read_stays_what_it_is():
    with pytest.raises(DecodeError) as caught, setting_names.named():
        raise DecodeError("cut off", "`size`.jpg")
    assert "`size`.jpg" in str(caught.value)


def test_loader_options_of_a_recipe_name_the_setting():
    valid = LoaderOptions(canvas=(8, 4))
    data = types.SimpleNamespace(**dataclasses.asdict(valid) | {"num_workers": -1})
    with pytest.raises(InputError, match=r"^data\.num_workers is -1; expected 0 or more$"):
        setup.loader_options(types.SimpleNamespace(data=data))  # type: ignore[arg-type]


def test_a_setting_is_suggested_once():
    names = {"model": ("arch", "width")}
    assert setting_values.suggest_setting("model", "backbone", names) == "; did you mean 'arch'?"


def test_a_data_set_without_its_folder_tells_how_to_train_without():
    settings = types.SimpleNamespace(dataset="market1501", root=" ")
    with pytest.raises(InputError, match=r"eval\.root is empty.*market1501.*set eval\.dataset=$"):
        Evaluation.build(types.SimpleNamespace(eval=settings), None, None)  # type: ignore[arg-type]
