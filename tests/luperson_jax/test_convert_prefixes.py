"""Names of common baselines: wrappers before a network that is here, and networks that are not."""

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import weights
from luperson_jax.weights import files, translate
from tests.luperson_jax.test_convert_families import BACKBONE, MOCO, torch_of

TRUNK = torch_of("luperson", BACKBONE)
HEAD = {"neck.weight": np.ones(3, np.float32), "projection.0.weight": np.ones((2, 2), np.float32)}

WRAPPED = [
    "_orig_mod.",
    "module.",
    "base.",
    "model.",
    "encoder_q.0.",
    "network.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model.base.",
    "_orig_mod.model.base.",
]


@pytest.mark.parametrize("prefix", WRAPPED)
def test_a_wrapper_is_taken_off(prefix, tmp_path):
    wrapped = {f"{prefix}{name}": array for name, array in TRUNK.items()}
    model = translate.from_torch(wrapped)
    assert model.account.complete
    assert model.spec == BACKBONE
    np.testing.assert_array_equal(model.tensors["params/backbone/bn1/scale"], TRUNK["bn1.weight"])
    files.write(tmp_path / "a.safetensors", wrapped)
    again = weights.load(tmp_path / "a.safetensors")
    assert again.spec == BACKBONE
    assert again.source.keys() == TRUNK.keys()


@pytest.mark.parametrize("prefix", ["base.", "model.", "backbone."])
def test_heads_beside_a_wrapped_trunk_point_to_the_backbone(prefix):
    names = TRUNK if prefix != "backbone." else torch_of("numbered", BACKBONE)
    wrapped = {f"{prefix}{name}": array for name, array in names.items()} | HEAD
    with pytest.raises(InputError, match=r"(?s)unknown +neck\.weight.*; --only-backbone takes"):
        translate.from_torch(wrapped)
    model = translate.from_torch(wrapped, only_backbone=True)
    assert model.account.complete
    assert model.spec == BACKBONE


def test_a_whole_network_in_a_wrapper_is_read_whole():
    tensors = {f"model.{name}": array for name, array in torch_of("moco", MOCO).items()}
    model = translate.from_torch(tensors)
    assert model.account.complete
    assert model.spec == MOCO


def test_a_compiled_part_is_read():
    tensors = {f"backbone._orig_mod.{name}": array for name, array in TRUNK.items()}
    with pytest.raises(InputError, match=r"prefix 'backbone\._orig_mod\.'"):
        translate.detect(tensors)
    assert translate.from_torch(tensors).account.complete


def test_names_that_fall_together_are_an_error():
    tensors = {f"model.{name}": array for name, array in TRUNK.items()}
    with pytest.raises(InputError, match=r"holds both 'bn1\.weight' and 'model\.bn1\.weight'"):
        translate.from_torch(tensors | {"bn1.weight": TRUNK["bn1.weight"]})


def test_a_strange_prefix_comes_with_the_way_to_take_it_off():
    tensors = {f"student.{name}": array for name, array in TRUNK.items()}
    with pytest.raises(
        InputError, match=r"no family.*torch\.save\({k\.removeprefix\('student\.'\)"
    ):
        translate.from_torch(tensors)


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["base.patch_embed.proj.weight", "base.blocks.0.attn.qkv.weight"], "TransReID"),
        (["model.conv1.conv.weight", "model.conv2.0.conv2a.conv1.weight"], "OSNet"),
        (["conv1.conv.weight", "conv2.0.conv1.conv.weight"], "MobileNet"),
        (["_conv_stem.weight", "_blocks.0._depthwise_conv.weight"], "EfficientNet"),
        (["backbone.features.0.0.weight", "backbone.features.1.0.block.0.0.weight"], "Efficient"),
        (["conv_stem.weight", "blocks.0.0.conv_dw.weight"], "EfficientNet"),
        (["model.visual.transformer.resblocks.0.attn.in_proj_weight"], "CLIP"),
    ],
)
def test_networks_of_common_baselines_are_named(names, title):
    with pytest.raises(InputError, match=f"the file is .*{title}.*no such network"):
        translate.from_torch({name: np.ones(2, np.float32) for name in names})


@pytest.mark.parametrize("shape", [(), (1,), (2,)])
def test_batch_counters_of_any_shape_are_left_out(shape):
    tensors = {
        name: np.full(shape, 7) if name.endswith("tracked") else array
        for name, array in TRUNK.items()
    }
    model = translate.from_torch(tensors)
    assert model.account.complete
    assert dict(model.facts) == ({"num_batches_tracked": 7} if shape != (2,) else {})
