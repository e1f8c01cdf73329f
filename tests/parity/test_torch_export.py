"""Exported networks in PyTorch, and as a folder of Roboflow's `reid`."""

import json

import numpy as np
import pytest
import safetensors.numpy

import luperson_jax as lp
from luperson_jax.exporting import agreement, reid_folder, targets, torch_file
from luperson_jax.models import NetworkSpec
from luperson_jax.weights import model as model_file
from tests import exported

pytest.importorskip("torch", reason="needs PyTorch")


def opened(spec, folder):
    path = folder / "network.npz"
    model_file.save(exported.drawn(spec), path)
    return lp.load(path, batch_size=8)


def written(kind, model, path):
    target = targets.TARGETS[kind]
    pictures = agreement.drawn_pictures(model.size)
    return targets.write(target, model, target.convention(model), path, pictures)


ALL = exported.SPECS | exported.OTHER_TRUNKS


@pytest.mark.parametrize("name", ALL)
def test_torchscript_gives_our_features(name, tmp_path):
    model = opened(ALL[name], tmp_path)
    assert written("torch", model, tmp_path / "network.pt").difference < 5e-6


def test_a_network_without_a_name_is_a_program_beside_its_weights(tmp_path):
    model = opened(exported.SPECS["bot"], tmp_path)
    assert written("reid", model, tmp_path / "reid").difference < 5e-6
    program = torch_file.load(tmp_path / "reid" / reid_folder.PROGRAM)
    weights = safetensors.numpy.load_file(tmp_path / "reid" / reid_folder.WEIGHTS)
    state = program.state_dict()
    assert state.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(state[name].numpy(), array)
    about = json.loads((tmp_path / "reid" / reid_folder.CONFIG).read_text())
    assert about["preprocessing"]["input_size"] == list(model.size)
    assert about["preprocessing"]["interpolation"] == "bicubic"


def test_a_plain_trunk_has_torchvisions_names(tmp_path):
    model = opened(NetworkSpec("backbone", "resnet18"), tmp_path)
    assert written("reid", model, tmp_path / "reid").difference < 5e-6
    weights = safetensors.numpy.load_file(tmp_path / "reid" / reid_folder.WEIGHTS)
    assert weights["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    about = json.loads((tmp_path / "reid" / reid_folder.CONFIG).read_text())
    assert about["architecture"] == "timm:resnet18"
