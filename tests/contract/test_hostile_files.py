"""Every reader of a stranger's file: damage ends in a value or in an InputError, nothing else."""

import io
import pickle

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from data_pipeline.read import array_files, decode, safe_pickle
from luperson_jax.measure import embeddings
from luperson_jax.models import NetworkSpec
from luperson_jax.weights import files
from luperson_jax.weights import model as model_file
from tests import fuzzing

COPIES = 60
TENSORS = {"conv1.weight": np.ones((2, 3, 3, 3), np.float32), "count": np.array(3)}
EMBEDDED = {
    "features": np.ones((4, 8), np.float32),
    "pid": np.arange(4),
    "camera": np.zeros(4, np.int64),
    "key": np.array(list("abcd")),
}


def saved(save, *positional, **named) -> bytes:
    stream = io.BytesIO()
    save(stream, *positional, **named)
    return stream.getvalue()


def picture(format: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 12, 3), np.uint8)
    return saved(Image.fromarray(pixels).save, format=format)


def model_of_a_file(path):
    network = NetworkSpec("backbone", "resnet18", 4)
    one = model_file.Model(
        {"params/backbone/conv1/kernel": np.ones((2, 3), np.float32)}, network, "a"
    )
    model_file.save(one, path)
    return path.read_bytes()


FILES = {
    "npz of weights": ("npz", lambda: saved(np.savez, **TENSORS), files.read),
    "packed npz of weights": ("npz", lambda: saved(np.savez_compressed, **TENSORS), files.read),
    "safetensors": ("safetensors", lambda: safetensors.numpy.save(TENSORS), files.read),
    "embeddings": (
        "npz",
        lambda: saved(np.savez, **EMBEDDED),
        lambda path: embeddings.read(path, labelled=False),
    ),
    "npy": (
        "npy",
        lambda: saved(np.save, EMBEDDED["features"]),
        lambda path: array_files.map_npy(path, "copy it again"),
    ),
    "pickle": (
        "pkl",
        lambda: pickle.dumps({"keys": ["a", "b"], "pids": np.arange(2)}, protocol=4),
        safe_pickle.load,
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_ends_in_a_value_or_a_message(tmp_path, kind):
    suffix, make, load = FILES[kind]
    path = tmp_path / f"damaged.{suffix}"

    def read(data: bytes):
        path.write_bytes(data)
        return load(path)

    read(make())
    assert fuzzing.survivors(read, make(), COPIES) < COPIES


def test_a_damaged_model_file_ends_in_a_value_or_a_message(tmp_path):
    path = tmp_path / "damaged.npz"

    def read(data: bytes):
        path.write_bytes(data)
        return model_file.read(path)

    data = model_of_a_file(tmp_path / "whole.npz")
    read(data)
    assert fuzzing.survivors(read, data, COPIES) < COPIES


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "PPM", "GIF", "TIFF", "WEBP"])
def test_a_damaged_picture_ends_in_pixels_or_a_message(format):
    decode.decode(picture(format))
    assert fuzzing.survivors(decode.decode, picture(format), COPIES) < COPIES


def test_damage_is_drawn_by_the_generator_alone():
    data = bytes(range(200))
    first, second = (
        [fuzzing.mutate(data, np.random.default_rng(seed)) for seed in range(50)] for _ in range(2)
    )
    assert first == second
    assert len({*first}) > 40
    assert all(one != b"" for one in first)
