"""PyTorch's weight files that were made to do harm, or damaged: nothing in them ever runs."""

import argparse
import os
import pathlib

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax.weights import files
from tests import fuzzing
from tests.parity.torch_files import ZIPPED, save, state
from tests.weight_files import refused

torch = pytest.importorskip("torch", reason="needs the [torch] extra")


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


class BuiltinAttack(Attack):
    def __reduce__(self):
        return eval, (f"open({str(self.marker)!r}, 'w').close()",)


class ScalarAttack(Attack):
    """Numbers are rebuilt here, so try to slip code in as what describes a number."""

    def __reduce__(self):
        return np.float64(1).__reduce__()[0], (BuiltinAttack(self.marker), b"12345678")


@ZIPPED
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("attack", "name"),
    [(Attack, f"{os.system.__module__}.system"), (BuiltinAttack, "eval"), (ScalarAttack, "eval")],
)
def test_no_code_of_a_file_runs(tmp_path, monkeypatch, zipped, protocol, attack, name):
    # A wish of the environment to switch the protection off is not heard.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "marker"
    content = {"state_dict": state(), "x": attack(marker)}
    path = save(content, tmp_path / "m.pth", zipped=zipped, pickle_protocol=protocol)
    refused(path, name, "nothing in it was run", "weights_only=False)['state_dict'], out)")
    assert not marker.exists()


def test_the_attacks_would_work_elsewhere(tmp_path):
    for i, attack in enumerate((Attack, BuiltinAttack)):
        path = save({"x": attack(tmp_path / f"marker{i}")}, tmp_path / "m.pth")
        torch.load(path, weights_only=False)
        assert (tmp_path / f"marker{i}").exists()


@ZIPPED
@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"path": pathlib.PurePosixPath("x")}, "pathlib.PurePosixPath"),
    ],
    ids=["namespace", "module", "path"],
)
def test_objects_are_refused_by_name(tmp_path, zipped, content, name):
    refused(save(content, tmp_path / "m.pth", zipped=zipped), f"asks for {name}, ", ".state_dict()")


@ZIPPED
def test_a_tensor_that_repeats_its_storage_is_refused_before_it_unfolds(tmp_path, zipped):
    huge = torch.ones(1).expand(1 << 20, 250_000)
    path = save({"conv1.weight": huge}, tmp_path / "m.pth", zipped=zipped)
    with pytest.raises(InputError, match=r"conv1\.weight of shape .* unfolds to 1048576000000 byt"):
        files.read(path)
    small = save({"scale": torch.ones(1).expand(5)}, tmp_path / "s.pth", zipped=zipped)
    np.testing.assert_array_equal(files.read(small).tensors["scale"], np.ones(5))


@ZIPPED
def test_a_damaged_file_ends_in_arrays_or_a_message(tmp_path, zipped):
    path = tmp_path / "damaged.pth"

    def read(data: bytes):
        path.write_bytes(data)
        return files.read(path)

    data = save(state(), tmp_path / "whole.pth", zipped=zipped).read_bytes()
    assert fuzzing.survivors(read, data, 60) < 60
