"""PyTorch's weight files: what is read, and what is said of what is not."""

import collections
import pathlib
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from luperson_jax.weights import files
from tests.parity.torch_files import ZIPPED, save, state
from tests.weight_files import refused

torch = pytest.importorskip("torch", reason="needs the [torch] extra")


def assert_same_bits(found, tensors):
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        expected = tensor.numpy()
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape), name
        assert found[name].tobytes() == expected.tobytes(), name


@ZIPPED
@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".pt", ".bin", ".ckpt", ".safetensors", ""])
def test_tensors_keep_every_bit(tmp_path, zipped, suffix):
    path = save(state(), tmp_path / f"model{suffix}", zipped=zipped)
    source = files.read(path)
    assert_same_bits(source.tensors, state())
    assert source.beside == {}


@ZIPPED
def test_half_precision_becomes_float32(tmp_path, zipped):
    values = torch.tensor([1.5, -3.25, 1e-3])
    halves = {"half": values.half(), "brain": values.bfloat16(), "nested": values}
    found = files.read(save(halves, tmp_path / "m.pth", zipped=zipped)).tensors
    assert_same_bits(found, {name: tensor.float() for name, tensor in halves.items()})


@ZIPPED
def test_a_moco_file_is_unwrapped_and_the_rest_kept(tmp_path, zipped):
    momentum = {0: {"step": torch.tensor(3.0), "momentum_buffer": torch.ones(2).bfloat16()}}
    content = {
        "epoch": 3,
        "arch": "resnet50",
        "state_dict": collections.OrderedDict((f"module.{k}", v) for k, v in state().items()),
        "optimizer": {"state": momentum, "param_groups": [{"lr": 0.03, "params": [0, 1]}]},
        "best": (torch.tensor(0.5, dtype=torch.float64), None, True),
        "size": torch.Size([2, 3]),
    }
    source = files.read(save(content, tmp_path / "ckpt_0003.pth", zipped=zipped))
    assert_same_bits(source.tensors, state())
    assert set(source.beside) == content.keys() - {"state_dict"}
    assert (source.beside["epoch"], source.beside["arch"]) == (3, "resnet50")
    assert source.beside["optimizer"]["param_groups"] == [{"lr": 0.03, "params": [0, 1]}]
    buffer = source.beside["optimizer"]["state"][0]["momentum_buffer"]
    np.testing.assert_array_equal(buffer, np.ones(2, np.float32), strict=True)
    best, *rest = source.beside["best"]
    assert (best.dtype, float(best), rest) == (np.float64, 0.5, [None, True])
    assert source.beside["size"] == (2, 3)
    # No object of torch is left anywhere.
    assert b"torch" not in pickle.dumps(source.beside)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "net"])
def test_known_wrappers_are_taken_off(tmp_path, wrapper):
    flat = files.read(save({wrapper: state(), "epoch": 1}, tmp_path / "one.pth"))
    assert_same_bits(flat.tensors, state())
    nested = {"model": {wrapper: state(), "iteration": 7, "epoch": 5}, "epoch": 1}
    found = files.read(save(nested, tmp_path / "two.pth"))
    assert_same_bits(found.tensors, state())
    assert found.beside == {"iteration": 7, "epoch": 1}


def test_what_is_mixed_among_the_tensors_lies_beside(tmp_path):
    content = {**state(), "epoch": 3, "model": {"width": 64}, "note": "hello", "sizes": [1, 2]}
    source = files.read(save(content, tmp_path / "m.pth"))
    assert_same_bits(source.tensors, state())
    assert source.beside == {name: content[name] for name in ("epoch", "model", "note", "sizes")}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3, "arch": "resnet50"}, ["'epoch', 'arch'", "state_dict"]),
        ({}, ["keys are none"]),
        ({"student": {"w": torch.ones(1)}}, ["torch.load(f)['student']", "keys are 'student'"]),
        ({"state_dict": {}, "epoch": 1}, ["'state_dict', 'epoch'"]),
        ([torch.ones(1)], ["holds a list", "state_dict()"]),
        (torch.ones(1), ["holds a ndarray"]),
        ({3: torch.ones(1)}, ["named 3"]),
        ({"module.w": torch.ones(1), "w": torch.ones(1)}, ["'module.w'", "'w'"]),
        ({"w": torch.ones(2).double()}, ["'w'", "float64", "tensor.float()"]),
        ({"w": torch.tensor([1, float("nan")])}, ["1 of 2", "'w'"]),
        ({"w": torch.tensor(float("inf")).half()}, ["infinite", "'w'"]),
        ({"w": torch.ones(2, dtype=torch.complex64)}, ["complex64"]),
        ({"model": {"w": torch.ones(2).to_sparse()}}, ["model.w", "sparse"]),
        ({"w": torch.ones(2).to(torch.float8_e4m3fn)}, ["tensor w", "float8", ".float()"]),
        ({"w": torch.ones(2, device="meta")}, ["tensor w", "meta"]),
    ],
)
def test_a_dict_that_is_no_network_is_told_what_is_wrong(tmp_path, content, words):
    refused(save(content, tmp_path / "m.pth"), *words)


def test_tensors_beside_a_wrapper_are_no_weights(tmp_path):
    content = {"loss": torch.ones(2).double(), "net": {**state(), "s": torch.tensor(0.1).double()}}
    source = files.read(save(content, tmp_path / "m.pth"))
    assert_same_bits(source.tensors, content["net"])
    np.testing.assert_array_equal(source.beside["loss"], np.ones(2), strict=True)


@ZIPPED
def test_tied_and_turned_tensors(tmp_path, zipped):
    base = torch.arange(12.0)
    content = {
        "a": base,
        "tied": base,
        "turned": base.view(3, 4).t(),
        "part": base[5:7],
        "every_other": base[::2],
        "wide": torch.ones(1).expand(3),
        "parameter": torch.nn.Parameter(base[:2]),
    }
    found = files.read(save(content, tmp_path / "m.pth", zipped=zipped)).tensors
    assert_same_bits(found, {name: tensor.detach() for name, tensor in content.items()})


def test_tensors_of_a_gpu_load_without_one(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
    paths = [save(state(), tmp_path / f"{zipped}.pth", zipped=zipped) for zipped in (True, False)]
    monkeypatch.undo()
    for path in paths:
        assert b"cuda:0" in path.read_bytes()
        assert_same_bits(files.read(path).tensors, state())


class Swapped:
    def __reduce__(self):  # what numpy does on a machine of the other byte order
        return np.float64(1).__reduce__()[0], (np.dtype(">f8"), struct.pack(">d", 2.5))


@ZIPPED
def test_numpy_scalars_become_numbers(tmp_path, zipped):
    scalars = {
        "best_mAP": np.float64(0.1),
        "rank1": np.float32(0.1),
        "epoch": np.int64(-3),
        "done": np.bool_(True),
    }
    content = {"state_dict": state(), **scalars, "swapped": Swapped()}
    path = save(content, tmp_path / "m.pth", zipped=zipped)
    if not zipped:  # as numpy 1 named its module; no length elsewhere in the pickle depends on it
        assert b"numpy._core" in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(b"numpy._core", b"numpy.core"))
    source = files.read(path)
    assert_same_bits(source.tensors, state())
    expected = {name: scalar.item() for name, scalar in scalars.items()} | {"swapped": 2.5}
    assert source.beside == expected
    assert [type(one) for one in source.beside.values()] == [type(v) for v in expected.values()]


@ZIPPED
@pytest.mark.parametrize("value", [np.ones(2), np.str_("a"), np.complex64(1)])
def test_other_things_of_numpy_are_refused(tmp_path, zipped, value):
    path = save({"w": torch.ones(1), "x": value}, tmp_path / "m.pth", zipped=zipped)
    refused(path, "numpy", "nothing in it was run")


@ZIPPED
def test_another_pickle_protocol_is_told_apart_from_damage(tmp_path, zipped):
    path = save(state(), tmp_path / "m.pth", zipped=zipped, pickle_protocol=4)
    message = refused(path, "save it again")
    assert "damaged" not in message
    assert "asks for" not in message


def test_an_old_torch_is_refused(tmp_path, monkeypatch):
    path = save(state(), tmp_path / "m.pth")
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.5.1+cu121"))
    refused(path, "2.5.1", "pip install 'luperson_jax[torch]'")


@ZIPPED
def test_a_file_cut_anywhere_is_refused(tmp_path, zipped):
    content = {"model": {"w": torch.arange(40.0), "best": np.float64(1)}}
    path = save(content, tmp_path / "m.pth", zipped=zipped)
    data = path.read_bytes()
    for length in range(1, len(data), 1 if not zipped else 7):
        path.write_bytes(data[:length])
        message = refused(path)
        assert "asks for" not in message, f"cut at {length}: {message}"
    path.write_bytes(data[:-20])
    refused(path, "incomplete", "download")


def test_a_changed_byte_of_a_tensor_is_noticed(tmp_path):
    content = {"w": torch.arange(40.0)}
    path = save(content, tmp_path / "m.pth")
    data = bytearray(path.read_bytes())
    place = data.index(content["w"].numpy().tobytes())
    data[place + 50] ^= 1
    path.write_bytes(data)
    refused(path, "CRC")


def test_a_zip_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = save(state(), tmp_path / "m.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same_bits(files.read(path).tensors, state())


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_was_packed_again_is_read(tmp_path, method):
    path, again = save(state(), tmp_path / "m.pth"), tmp_path / "again.pth"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(again, "w", method) as packed:
        for name in archive.namelist():
            if "/.format_version" not in name and "/.storage_alignment" not in name:
                packed.writestr(name.replace("m/", "oddly_long_name/"), archive.read(name))
    assert_same_bits(files.read(again).tensors, state())


def test_mapped_arrays_are_private_and_outlive_the_file(tmp_path):
    path = save(state(), tmp_path / "m.pth")
    before = path.read_bytes()
    tensors = files.read(path).tensors
    tensors["conv1.weight"][:] = 7
    assert path.read_bytes() == before
    again = files.read(path).tensors
    path.unlink()
    assert_same_bits(again, state())


def test_a_zip_is_mapped_and_not_read_into_memory(tmp_path):
    path = save({"w": torch.ones(1000)}, tmp_path / "m.pth")
    array = files.read(path).tensors["w"]
    maps = pathlib.Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs Linux's list of mapped memory")
    address = array.ctypes.data
    found = [line for line in maps.read_text().splitlines() if line.endswith(str(path))]
    bounds = [[int(end, 16) for end in line.split()[0].split("-")] for line in found]
    assert any(start <= address < end for start, end in bounds)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_what_is_written_reads_back(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    arrays = {name: tensor.numpy() for name, tensor in state().items()}
    arrays["turned"] = arrays["conv1.weight"].T
    arrays["constant"] = np.ones(2, np.float32)
    arrays["constant"].flags.writeable = False
    files.write(path, arrays)
    found = files.read(path)
    for name, array in arrays.items():
        assert found.tensors[name].dtype == array.dtype
        assert found.tensors[name].tobytes() == array.tobytes()
    assert found.beside == {}
    assert list(tmp_path.iterdir()) == [path]


def test_torch_reads_what_is_written(tmp_path):
    layer = torch.nn.Linear(3, 2)
    arrays = {"weight": np.arange(6, dtype=np.float32).reshape(3, 2).T, "bias": np.ones(2, ">f4")}
    beside = {
        "epoch": 3,
        "best": np.float64(0.5),
        "optimizer": {"state": {0: {"buffer": np.ones(2, np.float32)}}, "groups": [(1, None)]},
    }
    path = tmp_path / "m.pth"
    files.write(path, arrays, wrapper="state_dict", prefix="module.", beside=beside)
    content = torch.load(path, weights_only=True)
    assert list(content) == ["epoch", "best", "optimizer", "state_dict"]
    assert (content["epoch"], content["best"]) == (3, 0.5)
    assert isinstance(content["optimizer"]["state"][0]["buffer"], torch.Tensor)
    assert content["optimizer"]["groups"] == [(1, None)]
    assert all(tensor.is_contiguous() for tensor in content["state_dict"].values())
    torch.nn.DataParallel(layer).load_state_dict(content["state_dict"])
    expected = np.ones((1, 3)) @ arrays["weight"].T + 1
    np.testing.assert_allclose(layer(torch.ones(1, 3)).detach().numpy(), expected)
    assert files.read(path).beside["epoch"] == 3


FULL_DISK = """
import pathlib, resource, sys
import numpy as np
from data_pipeline.errors import InputError
from luperson_jax.weights import files
from tests.parity.torch_files import ZIPPED, save, state
from tests.weight_files import refused
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
folder = pathlib.Path(sys.argv[1])
for suffix in (".pth", ".safetensors"):
    try:
        files.write(folder / f"m{suffix}", {"w": np.ones(100_000, np.float32)})
    except InputError as error:
        assert "cannot write" in str(error), error
    else:
        sys.exit(f"{suffix} was written")
"""


def test_a_full_disk_leaves_nothing(tmp_path):
    command = [sys.executable, "-W", "error", "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
