"""Foreign weight files without PyTorch: formats, checks, and what is given by mistake."""

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from data_pipeline.errors import InputError
from data_pipeline.read import atomic
from luperson_jax.weights import files, torch_io
from tests.weight_files import refused


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 3, 2)).astype(np.float32)
    kernel[0, 0] = -0.0, 1e-45  # the sign of zero and the smallest number there is
    return {
        "conv.weight": kernel,
        "turned": kernel.T,
        "every_other": kernel[::2, :, 1],
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(0.1, np.float32),
        "num_batches_tracked": np.array(2**40 + 1),
        "label": np.arange(5, dtype=np.int32),
        "mask": np.array([True, False]),
    }


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype.newbyteorder("="), name
        assert found[name].shape == array.shape, name
        native = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="))
        assert found[name].tobytes() == native.tobytes(), name


def test_safetensors_keep_every_bit(tmp_path, weights):
    path = tmp_path / "model.safetensors"
    files.write(path, weights)
    assert_same_bits(files.read(path).tensors, weights)
    # The package by itself reads the same, so the file is right and not only consistent.
    assert_same_bits(safetensors.numpy.load_file(path), weights)
    assert oct(path.stat().st_mode)[-3:] == oct(0o666 & ~_umask())[-3:]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_safetensors_take_a_prefix_and_facts(tmp_path):
    path = tmp_path / "model.safetensors"
    beside = {"epoch": 3, "arch": "resnet50", "best": 0.5, "optimizer": {"lr": 0.1}}
    tensors = {"a": np.ones(2, np.float32)}
    files.write(path, tensors, wrapper="state_dict", prefix="encoder_q.", beside=beside)
    source = files.read(path)
    assert list(source.tensors) == ["encoder_q.a"]
    assert source.beside == {"epoch": "3", "arch": "resnet50", "best": "0.5"}
    assert source.path == path


def test_safetensors_come_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    files.write(
        path, {"z": np.zeros(1, np.int64), "b": np.ones(1, np.float32), "a": np.ones(1, bool)}
    )
    assert list(files.read(path).tensors) == ["z", "b", "a"]


def test_arrays_outlive_the_file(tmp_path, weights):
    path = tmp_path / "model.safetensors"
    files.write(path, weights)
    tensors = files.read(path).tensors
    path.unlink()
    assert_same_bits(tensors, weights)


def test_half_precision_becomes_float32(tmp_path):
    path = tmp_path / "half.safetensors"
    bits = np.array([0x3F80, 0xC0A1, 0x0001, 0x8000], np.uint16)
    half = np.array([1.5, -65504, 6e-8], np.float16)
    with path.open("wb") as stream:
        tensors = {"brain": bits.view(ml_dtypes.bfloat16), "half": half}
        stream.write(safetensors.numpy.save(tensors))
    found = files.read(path).tensors
    # bfloat16 is the upper half of a float32.
    np.testing.assert_array_equal(found["brain"].view(np.uint32), bits.astype(np.uint32) << 16)
    assert found["half"].dtype == np.float32
    np.testing.assert_array_equal(found["half"], [np.float32(x) for x in half])


def test_npz_of_tensorflow_variables(tmp_path, weights):
    path = tmp_path / "variables.npz"
    weights = {f"resnet_v1_50/block1/{name}": array for name, array in weights.items()}
    weights["big_endian"] = np.array([1.5, -2], ">f4")
    np.savez_compressed(path, **weights, model="resnet_v1_50", names=np.array(["a", "b"]))
    source = files.read(path)
    assert_same_bits(source.tensors, weights)
    assert source.beside == {"model": "resnet_v1_50", "names": ["a", "b"]}


def test_the_content_decides_and_not_the_name(tmp_path, weights):
    files.write(tmp_path / "a.safetensors", weights)
    np.savez(tmp_path / "b.npz", **weights)
    (tmp_path / "a.safetensors").rename(tmp_path / "a.pth")
    (tmp_path / "b.npz").rename(tmp_path / "b.safetensors")
    assert_same_bits(files.read(tmp_path / "a.pth").tensors, weights)
    assert_same_bits(files.read(str(tmp_path / "b.safetensors")).tensors, weights)


def test_the_parallel_prefix_goes_from_every_name(tmp_path):
    path = tmp_path / "model.npz"
    names = ["module.a", "module.module.b", "c", "d.module.e", "modules.f"]
    np.savez(path, **{name: np.float32(i) for i, name in enumerate(names)})
    tensors = files.read(path).tensors
    expected = ["a", "b", "c", "d.module.e", "modules.f"]
    assert {name: float(tensors[name]) for name in tensors} == {
        n: i for i, n in enumerate(expected)
    }


def test_names_that_fall_together_are_an_error(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, **{"module.a": np.float32(1), "a": np.float32(2)})
    refused(path, "'module.a'", "'a'")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones(1), ["float64", "tensor.float()"]),
        (np.array([1, np.nan, 2, np.inf], np.float32), ["2 of 4", "NaN"]),
        (np.array([-np.inf], np.float16), ["1 of 1", "infinite"]),
        (np.array(np.nan, np.float32), ["1 of 1"]),
        (np.ones(2, np.complex64), ["complex64", "float32"]),
        (np.ones(2, ml_dtypes.bfloat16), ["V2"]),  # npz forgets what it was
        (np.array([{}], object), ["Python objects"]),
        (np.array([1, 2], "datetime64[s]"), ["datetime64"]),
    ],
)
def test_a_tensor_that_cannot_be_used_is_named(tmp_path, array, words):
    path = tmp_path / "model.npz"
    np.savez(path, good=np.ones(3, np.float32), **{"layer.weight": array})
    refused(path, "'layer.weight'", *words)


def test_a_float64_number_is_no_weight(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, scale=np.float64(0.1), step=np.int64(3))
    tensors = files.read(path).tensors
    assert (float(tensors["scale"]), int(tensors["step"])) == (0.1, 3)


def test_a_type_that_numpy_lacks_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    refused(path, "'w'", "F8_E4M3", "F32")


def _zip_of(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _tar_of(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["empty"]),
        (b"<!DOCTYPE html><html>Google Drive", ["web page", "browser"]),
        (b"\xef\xbb\xbf\r\n <html>", ["web page"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", ["git lfs pull"]),
        (b"Too many users have viewed this file\nlater", ["text file", "Too many users"]),
        (b'{"error": {"code": 403}}', ["text file", "error"]),
        (b"PKU-reID: read me first", ["text file"]),
        (b"S'\\i'\n.", ["text file"]),  # by chance a pickle of a string with a wrong escape
        (b"   \n", ["text file"]),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", ["JPEG", ".safetensors"]),
        (b"\x89PNG\r\n\x1a\n\x00\x00", ["PNG"]),
        (b"\x89HDF\r\n\x1a\n\x00\x00", ["HDF5", "np.savez"]),
        (gzip.compress(b"weights"), ["gzip"]),
        (_tar_of("model.pth", b"weights"), ["tar -xf"]),
        (bytes(range(144, 256)) * 5, ["no known kind", "92"]),
        (b"\x80\x02.", ["pickle"]),
        (_zip_of(), ["zip without tensors", "nothing"]),
        (_zip_of(**{"readme.txt": b"hello", "model.pth": b"x"}), ["model.pth", "unpack"]),
        (_zip_of(**{"net/constants.pkl": b"", "net/data.pkl": b""}), ["TorchScript", "torch.jit"]),
        (_zip_of(**{"a.npy": b"\x93NUMPY\x01\x00\x10\x00hello world, yes"}), ["'a'"]),
        (b"PK\x03\x04" + bytes(60), ["incomplete zip"]),
        (_zip_of(**{"\xe9.npy": b""}).replace("\xe9".encode(), b"\xff\xff"), ["damaged", "zip"]),
    ],
    ids=lambda value: "file" if isinstance(value, bytes) else " ".join(value),  # zips hold times
)
def test_what_is_no_weight_file_is_told_what_it_is(tmp_path, data, words):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    refused(path, *words)


def test_an_encrypted_zip_is_refused(tmp_path):
    data = bytearray(_zip_of(**{"net/data.pkl": b"secret"}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "weights.pth").write_bytes(data)
    refused(tmp_path / "weights.pth", "encrypted")


def test_a_path_that_is_no_file_is_told_what_it_is(tmp_path):
    (tmp_path / "lup_moco_r50.pth").write_bytes(b"x")
    assert "did you mean 'lup_moco_r50.pth'?" in refused_path(tmp_path / "lup_moco_r5.pth")
    assert "did you mean" not in refused_path(tmp_path / "zzz")
    assert "nor its folder" in refused_path(tmp_path / "nowhere" / "model.pth")
    assert "folder" in refused_path(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "regular" in refused_path(tmp_path / "pipe")


def refused_path(path) -> str:
    with pytest.raises(InputError, match=path.name) as raised:
        files.read(path)
    return str(raised.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_file_cut_anywhere_is_refused(tmp_path, suffix):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    tensors = {"weight": np.arange(6, dtype=np.float32), "bias": np.ones(2, np.float32)}
    if suffix == ".npz":
        np.savez(whole, **tensors)
    else:
        files.write(whole, tensors)
    data = whole.read_bytes()
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        refused(cut)
    cut.write_bytes(data)
    assert_same_bits(files.read(cut).tensors, files.read(whole).tensors)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_changed_byte_ends_in_arrays_or_in_a_message(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    tensors = {"weight": np.arange(6, dtype=np.float32)}
    if suffix == ".npz":
        np.savez(path, **tensors)
    else:
        files.write(path, tensors)
    data = path.read_bytes()
    refusals = 0
    for place in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
            try:
                files.read(path)
            except InputError:
                refusals += 1
    assert refusals > len(data)


class Attack:
    """What a hostile file holds: on unpickling it would make a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_a_bare_pickle_is_named_and_not_run(tmp_path, protocol, suffix):
    marker, path = tmp_path / "marker", tmp_path / f"weights{suffix}"
    data = pickle.dumps({"w": Attack(marker)}, protocol=protocol)
    path.write_bytes(data)
    refused(path, f"{os.system.__module__}.system", "nothing in it was run", "torch.save(")
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists(), "the attack has to work where it is let in"


def test_a_pickle_in_an_npz_is_not_run(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "weights.npz"
    np.savez(path, w=np.array([Attack(marker)], object))
    refused(path, "'w'", "np.float32")
    assert not marker.exists()


def test_without_torch_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "weights.pth"
    path.write_bytes(_zip_of(**{"archive/data.pkl": pickle.dumps({}, 2)}))
    refused(path, "pip install 'luperson_jax[torch]'", ".safetensors")
    path.write_bytes(b"\x80\x02" + torch_io.LEGACY_MAGIC + b".")
    refused(path, "pip install 'luperson_jax[torch]'")
    with pytest.raises(InputError, match="pip install"):
        files.write(tmp_path / "out.pth", {"a": np.ones(1, np.float32)})
    assert not list(tmp_path.glob("out*"))


def test_torch_is_not_imported_with_the_module():
    code = (
        "import sys; from luperson_jax.weights import files; "
        "sys.exit('torch' in sys.modules or 'jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="never overwritten"):
        files.write(path, {"a": np.ones(1, np.float32)})
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.onnx", ".pth, .pt, .safetensors"),
        ("model", "''"),
        ("nowhere/model.safetensors", "no folder"),
        ("file/model.safetensors", "no folder"),
    ],
)
def test_a_target_that_cannot_be_written_is_an_error(tmp_path, name, words):
    (tmp_path / "file").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=words):
        files.write(tmp_path / name, {"a": np.ones(1, np.float32)})
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("dtype", [np.float64, ml_dtypes.bfloat16, np.complex64])
def test_types_that_could_not_be_read_are_not_written(tmp_path, dtype):
    with pytest.raises(InputError, match=r"net\.a.*float32"):
        files.write(tmp_path / "m.safetensors", {"a": np.ones(2, dtype)}, prefix="net.")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_write_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, failure):
    path = tmp_path / "model.safetensors"

    def save(*_):
        (part,) = tmp_path.iterdir()
        assert atomic.is_part(part.name)
        raise failure

    monkeypatch.setattr(safetensors.numpy, "save", save)
    with pytest.raises((KeyboardInterrupt, InputError), match=r"^$|No space left"):
        files.write(path, {"a": np.ones(1, np.float32)})
    assert not list(tmp_path.iterdir())


def test_the_rest_of_a_killed_write_is_no_obstacle(tmp_path):
    path = tmp_path / "model.safetensors"
    (tmp_path / "model.safetensors.part").write_bytes(b"half a file, longer than the whole" * 99)
    files.write(path, {"a": np.ones(1, np.float32)})
    assert_same_bits(files.read(path).tensors, {"a": np.ones(1, np.float32)})
