"""Model files, and their tensors in a run."""

import dataclasses
import json

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import models, trees
from luperson_jax.augment import recipes
from luperson_jax.weights import model as model_file
from luperson_jax.weights import transfer
from luperson_jax.weights.model import Model, shapes_of
from tests.luperson_jax.test_convert_families import AGW, BACKBONE, BOT, MGN, MOCO, model_of


@pytest.fixture
def model() -> Model:
    about = {"pixels": recipes.statistics("lup"), "size": (384, 128), "facts": {"epoch": 7}}
    return dataclasses.replace(model_of(MOCO), **about)


def test_a_model_file_keeps_everything(tmp_path, model):
    partial = dataclasses.replace(model, absent=("params/pool/p",))
    model_file.save(partial, tmp_path / "a.npz")
    assert model_file.is_model_file(tmp_path / "a.npz")
    again = model_file.read(tmp_path / "a.npz")
    assert again.tensors.keys() == model.tensors.keys()
    for path, array in model.tensors.items():
        np.testing.assert_array_equal(again.tensors[path], array)
        assert again.tensors[path].dtype == array.dtype
    assert dataclasses.replace(again, tensors={}) == dataclasses.replace(partial, tensors={})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_model_file_is_not_overwritten(tmp_path, model):
    model_file.save(model, tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"a\.npz exists"):
        model_file.save(model, tmp_path / "a.npz")
    with pytest.raises(InputError, match="cannot write"):
        model_file.save(model, tmp_path / "a.npz" / "b.npz")


def test_damaged_model_files(tmp_path, model):
    path = tmp_path / "a.npz"
    model_file.save(model, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz cannot be read .* it is damaged"):
        model_file.read(path)
    path.write_bytes(content[:-40])
    assert not model_file.is_model_file(path)


def test_a_model_file_of_another_version(tmp_path):
    np.savez(tmp_path / "a.npz", metadata=np.array(json.dumps({"format": "luperson_jax model 9"})))
    with pytest.raises(InputError, match="luperson_jax model 9"):
        model_file.read(tmp_path / "a.npz")


def test_the_backbone_of_a_model(model):
    backbone = dataclasses.replace(model, absent=("params/head/fc_0/bias",)).backbone()
    assert backbone.spec == BACKBONE
    assert backbone.tensors.keys() == shapes_of(BACKBONE).keys()
    assert backbone.absent == ()
    assert backbone.pixels == model.pixels


def target_of(network) -> dict:
    """The state of a run, all zeros."""
    return trees.nest({path: np.zeros(shape) for path, shape in shapes_of(network).items()})


def test_the_backbone_moves_and_everything_else_stays(model):
    filled, lines = transfer.take_backbone(target_of(BOT), model)
    assert lines == ["100 of 100 backbone tensors filled"]
    for path, array in trees.by_name(filled).items():
        wanted = model.tensors[path] if "/backbone/" in path else 0
        np.testing.assert_array_equal(array, wanted, err_msg=path)


def test_a_key_encoder_starts_as_the_network_itself(model):
    filled, lines = transfer.take_backbone(target_of(MOCO), model.backbone())
    assert lines == ["200 of 200 backbone tensors filled"]
    for trunk, copy in (
        (filled["params"], filled["extra"]["key_params"]),
        (filled["extra"]["stats"], filled["extra"]["key_stats"]),
    ):
        pairs = trees.by_name(trunk["backbone"]), trees.by_name(copy["backbone"])
        assert pairs[0].keys() == pairs[1].keys()
        for path, array in pairs[0].items():
            assert array.any()
            np.testing.assert_array_equal(array, pairs[1][path])
    assert not filled["extra"]["key_params"]["head"]["fc_0"]["kernel"].any()


@pytest.mark.parametrize("source", ["a backbone", "the encoders of MoCo", "an MGN"])
def test_every_branch_of_an_mgn_starts_as_the_end_of_the_trunk(source):
    model = model_of(MGN if source == "an MGN" else MOCO)
    model = model.backbone() if source == "a backbone" else model
    filled, lines = transfer.take_backbone(target_of(MGN), model)
    assert lines == [  # 65 as far as layer3_0, and 3 times 35 behind it
        "170 of 170 backbone tensors filled",
        "its end fills each of the branches b1, b2 and b3",
    ]
    wanted = model.backbone().tensors
    for path, array in trees.by_name(filled).items():
        place, _, rest = path.removeprefix("extra/").partition("/")
        part, _, name = rest.partition("/")
        if part in ("backbone", "b1", "b2", "b3"):
            source_path = f"{'extra/' if place == 'stats' else ''}{place}/backbone/{name}"
            np.testing.assert_array_equal(array, wanted[source_path], err_msg=path)
            assert array.any(), path
        else:
            assert not array.any(), path


def test_non_local_blocks_stay_as_they_start(model):
    filled, lines = transfer.take_backbone(target_of(AGW), model)
    assert lines == [
        "100 of 100 backbone tensors filled",
        "non-local blocks start as the identity (24 tensors)",
    ]
    assert not any(
        leaf.any() for leaf in trees.by_name(filled["params"]["backbone"]["NL_2_0"]).values()
    )
    np.testing.assert_array_equal(
        filled["params"]["backbone"]["layer4_1"]["bn2"]["scale"],
        model.tensors["params/backbone/layer4_1/bn2/scale"],
    )


def test_non_local_blocks_are_not_lost(model):
    agw = model_of(AGW)
    filled, lines = transfer.take_backbone(target_of(AGW), agw)
    assert lines == ["124 of 124 backbone tensors filled"]
    path = "params/backbone/NL_3_0/W_0/kernel"
    np.testing.assert_array_equal(trees.by_name(filled)[path], agw.tensors[path])
    with pytest.raises(
        InputError, match=r"non-local blocks, which needs.*model\.non_local to True"
    ):
        transfer.take_backbone(target_of(BOT), agw)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 8}, r"only 0 of 100 .*resnet18 of width 4.*bn1/mean: \(4,\), expected \(8,\)"),
        (
            {"arch": "resnet50"},
            "from a resnet18 of width 4.*layer1_0/bn3.*must describe that network",
        ),
    ],
)
def test_a_backbone_that_does_not_fit_is_an_error(model, change, words):
    target = target_of(dataclasses.replace(BACKBONE, **change))
    with pytest.raises(InputError, match=f"(?s){words}"):
        transfer.take_backbone(target, model)


def test_what_a_partial_model_lacks_stays_random_and_is_listed(model):
    absent = "params/backbone/layer4_1/conv2/kernel"
    tensors = {path: array for path, array in model.tensors.items() if path != absent}
    partial = dataclasses.replace(model, tensors=tensors, absent=(absent,))
    filled, lines = transfer.take_backbone(target_of(BACKBONE), partial)
    assert lines == ["99 of 100 backbone tensors filled", f"stays random: {absent}"]
    assert not trees.by_name(filled)[absent].any()


def test_every_tensor_moves(model):
    filled, lines = transfer.take_all(target_of(MOCO), MOCO, model)
    assert lines == [f"{len(model.tensors)} of {len(model.tensors)} tensors filled"]
    for path, array in trees.by_name(filled).items():
        np.testing.assert_array_equal(array, model.tensors[path], err_msg=path)


def test_centers_of_classes_are_no_part_of_a_model():
    target = target_of(BOT)
    target["extra"]["centers"] = np.zeros((5, 32))
    model = model_of(BOT)
    filled, lines = transfer.take_all(target, BOT, model)
    assert lines == [
        f"{len(model.tensors)} of {len(model.tensors) + 1} tensors filled",
        "stays random: extra/centers",
    ]
    assert not filled["extra"]["centers"].any()


def test_classifiers_of_other_identities_name_the_option():
    other = dataclasses.replace(MGN, num_classes=7)
    target = target_of(other)
    with pytest.raises(InputError, match=r"(?s)b1/kernel: \(6, 5\), expected \(6, 7\).*--skip-cl"):
        transfer.take_all(target, other, model_of(MGN))
    _, lines = transfer.take_all(target, other, model_of(MGN).without_classifier())
    assert [line for line in lines if "random" in line] == [
        f"stays random: params/classifier/{head}/kernel" for head in sorted(models.MGN.heads)
    ]


def test_a_tensor_without_a_place_is_an_error():
    with_more = model_of(BOT)
    without = dataclasses.replace(BOT, extra_bn=False)
    more = dataclasses.replace(BOT, num_classes=6)
    with pytest.raises(InputError, match=r"no place for 4 tensors(?s:.*)extra_bn/scale"):
        transfer.take_all(target_of(without), without, with_more)
    with pytest.raises(InputError, match=r"classifier/kernel: \(32, 5\), expected \(32, 6\)"):
        transfer.take_all(target_of(more), more, with_more)


@pytest.mark.parametrize("text", ["[]", "3", "{", "{}", '{"format": "luperson_jax model 1"}'])
def test_metadata_of_another_form_is_a_message(tmp_path, text):
    np.savez(tmp_path / "a.npz", metadata=np.array(text))
    with pytest.raises(InputError, match=r"a\.npz"):
        model_file.read(tmp_path / "a.npz")
