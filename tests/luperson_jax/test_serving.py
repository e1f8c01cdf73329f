"""The Python interface: pictures of any kind in, features and an index out."""

import datetime
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import luperson_jax as lp
from data_pipeline import datasets
from data_pipeline.errors import InputError
from luperson_jax.models import NetworkSpec
from luperson_jax.serving import gallery_index, user_pictures
from luperson_jax.weights import model as model_file
from tests import weight_files
from tests.helpers import SIZE


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return weight_files.write_bot(tmp_path_factory.mktemp("weights") / "bot.npz")


@pytest.fixture(scope="module")
def model(weights):
    return lp.load(weights, batch_size=8)


@pytest.fixture(scope="module")
def gallery(labelled_world):
    return datasets.load("market1501", str(labelled_world)).gallery


def test_nothing_is_loaded_with_the_package():
    check = "import sys, luperson_jax; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = lp.lode


def test_features_are_those_of_the_command_for_every_kind_of_picture(model, gallery):
    paths = list(gallery.media)
    expected = model.network.embed(gallery).features
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = model.embed(paths)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in paths[:3]]
    for given in (arrays, np.stack(arrays), [Image.open(path) for path in paths[:3]]):
        np.testing.assert_allclose(model.embed(given), expected[:3], atol=1e-5)
    assert model.embed(paths[0]).shape == expected[0].shape
    assert model.size == SIZE


def test_few_programs_serve_any_number_and_answer_alike(model, gallery):
    from luperson_jax.measure import streaming

    paths = list(gallery.media)[:11]
    whole, _ = model.embed(paths[:8]), model.embed(paths[:2])  # batches of 8 and of 2
    before = streaming._embedding("cpu")._cache_size()
    for num in (1, 2, 3, 5, 8, 11):
        found = model.embed(paths[:num])
        assert len(found) == num
        np.testing.assert_allclose(found[:8], whole[:num], atol=1e-6)
    assert streaming._embedding("cpu")._cache_size() == before


@pytest.mark.parametrize(
    ("batch_size", "devices", "rows"),
    [
        (64, 1, {1: 1, 2: 4, 4: 4, 5: 16, 16: 16, 17: 64, 64: 64}),
        (64, 8, {1: 16, 16: 16, 17: 64}),
        (8, 2, {1: 2, 2: 2, 3: 8}),
        (6, 1, {1: 6, 6: 6}),
        (12, 3, {1: 3, 3: 3, 4: 12}),
    ],
)
def test_a_batch_for_few_is_the_smallest_that_the_devices_share(batch_size, devices, rows):
    from luperson_jax.measure import streaming

    assert {num: streaming.rows_for(num, batch_size, devices) for num in rows} == rows


def test_two_pictures_are_compared(weights, gallery):
    paths = list(gallery.media)[:4]
    plain = lp.load(weights).compare(paths[0], paths[0])
    assert plain.distance == pytest.approx(0, abs=1e-6)
    assert plain.same is None
    found = lp.load(weights, threshold=1e-4).compare(paths[:2], [paths[0], paths[3]])
    assert found.same.tolist() == [True, False]
    with pytest.raises(InputError, match="2 pictures cannot be paired with 3"):
        lp.load(weights).compare(paths[:2], paths[:3])


RGB = np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (RGB / 255, r"float64; expected uint8, 0 to 255; it is in 0\.\.1"),
        (RGB.astype(np.float32) - 100, "normalization is a part of the model"),
        (RGB.astype(np.int64), "int64; expected uint8"),
        (RGB.transpose(2, 0, 1), r"shape \[3, 32, 16\].*transpose\(1, 2, 0\)"),
        (np.concatenate([RGB, RGB[..., :1]], 2), "leave the alpha channel out"),
        (RGB[..., 0], r"shape \[32, 16\] is no picture"),
        (RGB // 255, "no value above 1"),
        ([], "no picture was given"),
        (7, "int is no picture"),
        ([None], "NoneType is no picture"),
        ("no/such.jpg", "cannot read the picture no/such.jpg: No such file.*check the path"),
    ],
)
def test_what_is_no_picture_is_told(model, wrong, words):
    with pytest.raises(InputError, match=words):
        model.embed(wrong)


def test_bluish_pictures_are_taken_for_bgr(model):
    red = np.zeros((9, 32, 16, 3), np.uint8) + np.array([120, 100, 90], np.uint8)
    with pytest.warns(user_pictures.LooksLikeBGR, match="are they BGR"):
        model.embed(red[..., ::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.embed(red)
        model.embed(red[:3, ..., ::-1])


def test_options_of_the_other_kind_of_source_are_refused(weights, tmp_path):
    with pytest.raises(InputError, match="a file of weights, and checkpoint is for a run"):
        lp.load(weights, checkpoint="best")
    with pytest.raises(InputError, match="a run, and size is for a file of weights"):
        lp.load(tmp_path, size=(256, 128))


@pytest.fixture(scope="module")
def index(model, gallery):
    days = np.datetime64("2026-01-01") + np.arange(len(gallery))
    return lp.Index.build(model, list(gallery.media), camera=gallery.camera, time=days)


def test_search_is_exact_and_filters(index, model, gallery):
    paths = list(gallery.media)
    features = model.embed(paths)
    wide = features.astype(np.float64)
    distance = np.stack([1 - (wide * one).sum(axis=1) for one in wide])
    found = index.search(paths[:3], k=5)
    order = np.argsort(distance, axis=1)
    assert [[one.id for one in each] for each in found] == order[:3, :5].tolist()
    first = index.search(paths[4], k=2)[0]
    assert (first.id, first.key, first.camera) == (4, paths[4], gallery.camera[4])
    assert first.time == datetime.datetime(2026, 1, 5)
    assert first.distance == pytest.approx(0, abs=1e-5)
    of_camera = index.search(features[0], k=100, camera=int(gallery.camera[3]))
    rows = [one.id for one in of_camera]
    assert sorted(rows) == np.flatnonzero(gallery.camera == gallery.camera[3]).tolist()
    # Not by number: some pictures have the same features, whose order float32 may change.
    assert distance[0, rows].tolist() == sorted(distance[0, rows])
    few = index.search(paths[0], since="2026-01-03", until=datetime.datetime(2026, 1, 5))
    assert sorted(one.id for one in few) == [2, 3, 4]
    assert index.search(paths[0], since="2030-01-01") == []


def test_many_queries_find_what_one_finds(index, model, gallery):
    features = model.embed(list(gallery.media)[:20])
    assert len(features) > gallery_index.FEW_QUERIES
    many = index.search(features, k=4)
    for one, found in zip(features, many, strict=True):
        alone = index.search(one, k=4)
        assert [match.id for match in alone] == [match.id for match in found]
        distances = [[match.distance for match in each] for each in (alone, found)]
        np.testing.assert_allclose(*distances, atol=1e-6)


def test_pictures_come_and_go_and_numbers_stay(index, gallery):
    paths = list(gallery.media)
    fewer = index.remove([0, 2])
    assert len(fewer) == len(index) - 2
    assert {one.id for one in fewer.search(paths[0], k=1000)} == set(range(len(index))) - {0, 2}
    more = fewer.add(paths[:1], camera=[7])
    found = more.search(paths[0], k=1)[0]
    assert (found.id, found.camera, found.time) == (len(index), 7, None)
    with pytest.raises(InputError, match="no picture of the index has the number 2"):
        fewer.remove([1, 2])
    with pytest.raises(InputError, match="camera has 1 entries for 2 pictures"):
        index.add(paths[:2], camera=[1])
    with pytest.raises(InputError, match="time cannot be read"):
        index.add(paths[:1], time=["yesterday"])


def test_what_is_saved_is_opened_memory_mapped(index, model, gallery, tmp_path):
    home, paths = tmp_path / "index", list(gallery.media)
    index.remove([1]).save(home)
    opened = lp.Index.open(home, model)
    assert isinstance(opened.parts[0], np.memmap)
    assert opened.search(paths[3], k=9) == index.remove([1]).search(paths[3], k=9)
    opened.add(paths[:2]).save(home)
    again = lp.Index.open(home)
    assert len(again) == len(index) + 1
    assert sorted(path.name for path in home.iterdir()) == [
        "columns-2.parquet",
        "features-2.npy",
        "lock",
        "manifest.json",
    ]
    assert again.search(model.embed(paths[0]), k=1)[0].id in (0, len(index))
    with pytest.raises(InputError, match="opened without a model"):
        again.search(paths[0])


def test_a_save_that_is_cut_leaves_the_former_index(index, model, tmp_path, monkeypatch):
    from data_pipeline.read import atomic

    index.save(tmp_path)

    def cut(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "write_text", cut)
    with pytest.raises(KeyboardInterrupt):
        index.remove([0]).save(tmp_path)
    assert len(lp.Index.open(tmp_path, model)) == len(index)


def test_another_network_and_damage_are_told(index, tmp_path, tmp_path_factory):
    index.save(tmp_path / "index")
    other = tmp_path / "other.npz"
    spec = NetworkSpec("reid", "resnet18", 4, last_stride=1, extra_bn=True)
    model_file.save(weight_files.model_of(spec), other)
    with pytest.raises(InputError, match="built with other weights"):
        lp.Index.open(tmp_path / "index", lp.load(other))
    with pytest.raises(InputError, match="is no index"):
        lp.Index.open(tmp_path)
    with pytest.raises(InputError, match="is no index"):
        index.save(tmp_path)
    with pytest.raises(InputError, match="the query has 3 numbers"):
        index.search(np.ones(3, np.float32))
    manifest = tmp_path / "index" / "manifest.json"
    whole = json.loads(manifest.read_text())
    for change in ({"rows": 3}, {"format": "x"}, {"features": "../../etc/passwd"}):
        manifest.write_text(json.dumps(whole | change))
        with pytest.raises(InputError, match=r"manifest|expected"):
            lp.Index.open(tmp_path / "index")
    manifest.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        lp.Index.open(tmp_path / "index")
