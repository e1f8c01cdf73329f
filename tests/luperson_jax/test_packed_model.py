"""Models packed for others: what comes back, the card, and what is refused."""

import dataclasses
import json
import sys
import types

import numpy as np
import pytest

import luperson_jax as lp
from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.read import decode, storage
from luperson_jax import cli, weights
from luperson_jax.serving import hub
from luperson_jax.weights import model, packed
from tests import weight_files


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return weight_files.write_bot(tmp_path_factory.mktemp("weights") / "bot.npz")


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    home = tmp_path_factory.mktemp("hub")
    (home / "metrics.json").write_text(json.dumps({"mAP": 0.5, "rank1": 0.75}))
    (home / "far.json").write_text(json.dumps({"wanted_false_accepts": 0.01, "distance": 0.25}))
    given = ["--metrics", home / "metrics.json", "--thresholds", home / "far.json"]
    given += ["--training-data", "drawn people", "--license", "apache-2.0"]
    assert cli.main(["pack-model", *map(str, [source, home / "people", *given])]) == 0
    return home / "people"


def test_the_same_tensors_features_and_threshold_come_back(source, folder, labelled_world):
    first, again = weights.load(source), weights.load(folder)
    assert first.tensors.keys() == again.tensors.keys()
    for path, array in first.tensors.items():
        np.testing.assert_array_equal(again.tensors[path], array, err_msg=path)
    assert (again.spec, again.pixels, again.size) == (first.spec, first.pixels, first.size)
    paths = list(datasets.load("market1501", str(labelled_world)).gallery.media)[:4]
    model = lp.load(folder)
    np.testing.assert_array_equal(model.embed(paths), lp.load(source).embed(paths))
    assert model.threshold == 0.25
    assert model.compare(paths[0], paths[0]).same
    assert lp.load(folder, threshold=0.5).threshold == 0.5


def test_a_pretraining_comes_back_with_its_queue(pretrained, tmp_path):
    assert cli.main(["pack-model", str(pretrained), str(tmp_path / "people")]) == 0
    first, again = weights.load(pretrained), weights.load(tmp_path / "people")
    assert first.spec.queue_size
    assert again.tensors.keys() == set(model.shapes_of(first.spec))
    for path, array in again.tensors.items():
        np.testing.assert_array_equal(array, first.tensors[path], err_msg=path, strict=True)


def test_the_filter_of_the_training_goes_with_the_model(source, labelled_world, tmp_path):
    plain = weights.load(source)
    model.save(dataclasses.replace(plain, resize="bilinear_tf1"), tmp_path / "tf1.npz")
    packed.write(tmp_path / "hub", weights.load(tmp_path / "tf1.npz"), "card")
    opened = lp.load(tmp_path / "hub")
    table = datasets.load("market1501", str(labelled_world)).gallery.take(np.arange(4))
    height, width = opened.size
    half = [decode.decode(storage.read(path))[::2, ::2] for path in table.media]
    resized = [np.rint(decode.bilinear_tf1(one, (height, width))).astype(np.uint8) for one in half]
    np.testing.assert_array_equal(opened.embed(half), opened.embed(resized))
    assert np.abs(opened.embed(half) - lp.load(source).embed(half)).max() > 1e-3
    found = opened.network.embed(table, "none").features
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(found, opened.embed(list(table.media)), rtol=0, atol=1e-5)


def test_the_card_says_what_was_given(folder):
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: luperson_jax\nlicense: apache-2.0\n")
    for words in ("# people", "drawn people", "| mAP | 50.00 % |", "| 0.01 | 0.250000 |"):
        assert words in card
    assert "## Limits\n\nnot said" in card
    assert sorted(path.name for path in folder.iterdir()) == sorted(packed.FILES)


def test_commands_take_a_packed_folder(folder, labelled_world, tmp_path):
    pictures = str(labelled_world / "query")
    asked = ["embed", pictures, "--weights", str(folder), "--out", str(tmp_path / "a.npz")]
    assert cli.main(asked) == 0


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{", "cannot be read"),
        ("config.json", '{"format": "other"}', "is of 'other'"),
        ("config.json", None, "is no"),
        ("preprocess.json", None, "is missing"),
        ("preprocess.json", '{"size": [3]}', "describes no model"),
        ("model.safetensors", "text", "model.safetensors"),
        ("thresholds.json", "{}", "cannot be read"),
    ],
)
def test_damage_is_told(folder, tmp_path, name, content, words):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{words}|no recipe"):
        lp.load(tmp_path)


def test_another_network_and_a_target_that_exists_are_refused(folder, source, tmp_path, capsys):
    other = tmp_path / "other"
    for path in folder.iterdir():
        other.mkdir(exist_ok=True)
        (other / path.name).write_bytes(path.read_bytes())
    about = json.loads((other / "config.json").read_text())
    about["network"]["width"] = 8
    (other / "config.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"does not hold the network of config\.json"):
        lp.load(other)
    assert cli.main(["pack-model", str(source), str(folder)]) == 2
    assert "exists; delete it" in capsys.readouterr().err
    missing = ["--thresholds", str(tmp_path / "none.json")]
    assert cli.main(["pack-model", str(source), str(tmp_path / "new"), *missing]) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("given", "status"), [([], 2), (["--out", "a"], 0), (["a", "--out", "b"], 2)]
)
def test_the_folder_is_named_once(source, tmp_path, monkeypatch, capsys, given, status):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["pack-model", str(source), *given]) == status
    assert [path.name for path in tmp_path.iterdir()] == ["a"] * (status == 0)
    assert ("one is needed: `luperson pack-model" in capsys.readouterr().err) == (status == 2)


def test_a_name_at_hugging_face_is_fetched_or_told(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="install the extra"):
        lp.load("someone/people-r50")
    asked = []

    def download(name, allow_patterns):
        asked.append((name, tuple(allow_patterns)))
        if name == "someone/nobody":
            raise OSError("no connection\nmore")
        return str(folder)

    fake = types.SimpleNamespace(snapshot_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    assert hub.local("someone/people-r50") == str(folder)
    assert asked == [("someone/people-r50", packed.FILES)]
    with pytest.raises(InputError, match=r"cannot be fetched from Hugging Face: no connection$"):
        hub.local("someone/nobody")
    assert hub.local("no/such/file.pth") == "no/such/file.pth"
