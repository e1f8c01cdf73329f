"""Conversion of an MGN: older names, its backbone, its classifiers."""

import dataclasses

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax.weights import translate
from tests.luperson_jax.test_convert_families import BACKBONE, MGN, torch_of


def test_older_names_of_mgn():
    tensors = torch_of("mgn", MGN)
    names = {"_head.bottleneck.1": "_head.bnneck", "_head.classifier": "_head"}
    older = tensors
    for old, new in names.items():
        older = {name.replace(old, new): array for name, array in older.items()}
    assert len(older.keys() - tensors.keys()) == 8 * 6
    model = translate.from_torch(older)
    assert model.account.complete
    again = translate.to_torch(model)[1]
    for name, array in tensors.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_the_backbone_of_an_mgn_is_its_first_branch():
    tensors = torch_of("mgn", MGN)
    model = translate.from_torch(tensors, only_backbone=True)
    assert model.account.complete
    assert model.spec == dataclasses.replace(BACKBONE, last_stride=1)
    whole = translate.from_torch(tensors)
    for path, array in whole.backbone().tensors.items():
        np.testing.assert_array_equal(model.tensors[path], array, err_msg=path)
    flat = translate.to_torch(whole, "luperson")[1]
    for key, name in {
        "conv1.weight": "backbone.0.weight",
        "layer3.0.bn1.weight": "backbone.6.bn1.weight",
        "layer3.1.conv2.weight": "b1.0.0.conv2.weight",
        "layer4.1.bn2.running_var": "b1.1.1.bn2.running_var",
    }.items():
        np.testing.assert_array_equal(flat[key], tensors[name])
    back = translate.named(model, translate.family_named("mgn"))
    assert translate.num_identical(back, tensors) == (len(model.tensors), len(model.tensors))
    assert all(not key.startswith(("b2", "b3")) and "head" not in key for key in back)


def test_an_mgn_without_its_classifiers():
    tensors = torch_of("mgn", MGN)
    model = translate.from_torch(tensors, skip_classifier=True)
    assert model.account.complete
    assert model.spec == dataclasses.replace(MGN, num_classes=0)
    assert sum(reason == "not asked for" for _, reason in model.account.left_out) == 8
    missing = {key: a for key, a in tensors.items() if key != "b31_head.classifier.weight"}
    with pytest.raises(InputError, match=r"missing +params/classifier/b31/kernel"):
        translate.from_torch(missing)
    more = tensors | {"b4_head.bottleneck.1.bias": np.ones(6, np.float32)}
    with pytest.raises(InputError, match=r"unknown +params/b4_head/bn/bias"):
        translate.from_torch(more)
