"""CUHK03: the release as Matlab files, its protocol, and the classic divisions."""

import os
import pathlib
import shutil
import sys

import numpy as np
import pytest
import scipy.io
from PIL import Image

from data_pipeline import datasets
from data_pipeline.datasets import cuhk03, cuhk03_archive
from data_pipeline.errors import InputError
from data_pipeline.synthetic import streams
from data_pipeline.synthetic.world import World
from tests.image_sets import SIZE, counts, draw, parts, rows, touch

PER_VIEW, TRAIN, TEST = 4, 3, 4
TOTAL = 2 * PER_VIEW * TRAIN + 2 * (PER_VIEW + 1) * TEST


@pytest.fixture
def release(tmp_path) -> pathlib.Path:
    pytest.importorskip("h5py")
    return draw("cuhk03", tmp_path / "cuhk03", images_per_camera=PER_VIEW)


def test_protocol_on_the_release(release):
    labeled = datasets.load("cuhk03_np_labeled", str(release))
    train, query, gallery = 2 * PER_VIEW * TRAIN, 2 * TEST, 2 * PER_VIEW * TEST
    assert counts(labeled) == [(train, TRAIN), (query, TEST), (gallery, TEST)]
    detected = datasets.load("cuhk03_np_detected", str(release))
    assert counts(detected)[0] == (train - 1, TRAIN), "the release lacks one there"
    for table in (*parts(labeled), *parts(detected)):
        for name, pid, camera in rows(table):
            pair, person, view, cell = (int(field) for field in name[:-4].split("_"))
            assert pid == (person - 1) * 5 + pair, "people are dealt to the five pairs in turn"
            assert camera == view - 1 == (cell - 1) // 5
    for splits in (labeled, detected):
        assert not np.isin(splits.train.pid, splits.gallery.pid).any()
        assert {*splits.query.media}.isdisjoint(splits.gallery.media)
        assert np.isin(splits.query.pid, splits.gallery.pid).all()


def test_pictures_come_out_upright_and_unchanged(release):
    datasets.load("cuhk03_np_labeled", str(release))
    world = World(0, SIZE["height"], SIZE["width"])
    names = os.listdir(release / "images_labeled")
    assert len(names) == TOTAL
    for name in names:
        pair, person, view, cell = (int(field) for field in name[:-4].split("_"))
        address = ((person - 1) * 5 + pair - 1, 2 * (pair - 1) + view - 1, (cell - 1) % 5)
        with Image.open(release / "images_labeled" / name) as picture:
            np.testing.assert_array_equal(np.asarray(picture), world.render(*address))


def test_a_killed_extraction_goes_on(release, monkeypatch):
    written = []
    save = Image.Image.save

    def dying(self, path, **options):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(pathlib.Path(path).name.split(".png")[0])
        save(self, path, **options)

    monkeypatch.setattr(Image.Image, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        datasets.load("cuhk03_np_labeled", str(release))
    assert not (release / "images_labeled").exists(), "a part must not look like the whole"
    first = written.copy()
    written[:] = ["again"]
    with pytest.raises(KeyboardInterrupt):
        datasets.load("cuhk03_np_labeled", str(release))
    monkeypatch.setattr(Image.Image, "save", save)
    splits = datasets.load("cuhk03_np_labeled", str(release))
    assert not {*first} & {*written}, "what is written is not written again"
    assert sum(len(table) for table in parts(splits)) == len(os.listdir(release / "images_labeled"))
    assert not (release / "images_labeled.part").exists()


def test_two_processes_that_extract_at_once(release, monkeypatch):
    """The other one is done first, and its folder is taken."""
    replace = os.replace

    def overtaken(source, target):
        if not (release / "images_labeled").exists():
            monkeypatch.setattr(os, "replace", replace)
            shutil.rmtree(release / "images_labeled.part")
            cuhk03_archive.extract(
                str(release / "cuhk-03.mat"), "labeled", str(release / "images_labeled")
            )
        replace(source, target)

    monkeypatch.setattr(os, "replace", overtaken)
    datasets.load("cuhk03_np_labeled", str(release))
    assert len(os.listdir(release / "images_labeled")) == TOTAL


def test_a_folder_that_cannot_be_written_to(release):
    (release / "images_detected.part").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot bring the pictures .*can be written to"):
        datasets.load("cuhk03_np_detected", str(release))


def test_pictures_that_are_there_need_no_archive(release):
    before = datasets.load("cuhk03_np_labeled", str(release))
    (release / "cuhk-03.mat").unlink()
    after = datasets.load("cuhk03_np_labeled", str(release.parent))
    assert [list(table.media) for table in parts(after)] == [
        list(table.media) for table in parts(before)
    ]
    with pytest.raises(InputError, match=r"no cuhk-03.mat .*use cuhk03_np_labeled"):
        datasets.load("cuhk03_classic_labeled", str(release))
    name = rows(after.query)[0][0]
    (release / "images_labeled" / name).unlink()
    with pytest.raises(InputError, match=f"lacks 1 of the {TOTAL} pictures .*{name}"):
        datasets.load("cuhk03_np_labeled", str(release))


def test_the_folders_that_torchreid_has(release):
    (release / "cuhk03_release").mkdir()
    (release / "cuhk-03.mat").rename(release / "cuhk03_release" / "cuhk-03.mat")
    assert len(datasets.load("cuhk03_np_detected", str(release)).train) == 2 * PER_VIEW * TRAIN - 1
    assert (release / "images_detected").is_dir()


@pytest.mark.parametrize("kind", cuhk03.KINDS)
def test_classic_divisions(release, kind):
    tested = []
    for split in range(20):
        splits = datasets.load(f"cuhk03_classic_{kind}", str(release), split=split)
        rng = streams.stream(0, streams.LAYOUT, 3, split)
        people = rng.permutation(TRAIN + TEST)[TRAIN:].tolist()
        expected = {(p % 5 + 1) * 1000 + p // 5 + 1 for p in people}
        assert set(splits.query.pid) == expected
        assert list(splits.query.media) == list(splits.gallery.media)
        assert splits.train.num_ids == TRAIN
        assert not expected & set(splits.train.pid)
        assert len(splits.train) + len(splits.query) == TOTAL - (kind == "detected")
        assert set(splits.gallery.camera) == {0, 1}
        tested.append(frozenset(expected))
    assert len(set(tested)) > 10
    with pytest.raises(InputError, match=r"split 20 .*it has 20"):
        datasets.load(f"cuhk03_classic_{kind}", str(release), split=20)


@pytest.mark.parametrize("word", ["cuhk03_np_labeled", "cuhk03_classic_detected"])
def test_without_h5py(release, monkeypatch, word):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match="pip install h5py"):
        datasets.load(word, str(release))


@pytest.mark.parametrize("damage", ["cut", "text", "other"])
def test_a_damaged_archive(release, damage):
    import h5py

    archive = release / "cuhk-03.mat"
    if damage == "cut":
        archive.write_bytes(archive.read_bytes()[:5000])
    elif damage == "text":
        archive.write_text("<html>please log in</html>")
    else:
        with h5py.File(archive, "w") as file:
            file["something"] = np.zeros(3)
    with pytest.raises(InputError, match=r"cuhk-03\.mat of the CUHK03 release"):
        datasets.load("cuhk03_np_labeled", str(release))


def test_pictures_of_another_type_are_refused(release):
    import h5py

    with h5py.File(release / "cuhk-03.mat", "r+") as file:
        cell = file[file["labeled"][0, 0]][0, 0]
        path = file[cell].name
        pixels = file[path][()]
        del file[path]
        cells = file[file["labeled"][0, 0]]
        cells[0, 0] = file.create_dataset(path, data=pixels / 255.0).ref
    with pytest.raises(InputError, match="float64; expected a picture of 3 channels and 8 bits"):
        datasets.load("cuhk03_np_labeled", str(release))


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "columns", "rows"])
def test_a_damaged_protocol(release, damage):
    path = release / "cuhk03_new_protocol_config_labeled.mat"
    held = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:700])
    elif damage == "text":
        path.write_text("404: Not Found")
    elif damage == "columns":
        scipy.io.savemat(path, {k: v for k, v in held.items() if k != "labels"})
    else:
        scipy.io.savemat(path, {**held, "query_idx": held["query_idx"] + TOTAL})
    message = "person-re-ranking" if damage == "missing" else "download it again"
    with pytest.raises(InputError, match=f"{path.name}.*{message}"):
        datasets.load("cuhk03_np_labeled", str(release))


def test_boxes_of_the_other_kind_are_refused(tmp_path):
    labeled = draw("cuhk03_np", tmp_path / "set") / "labeled"
    assert len(datasets.load("cuhk03_np_labeled", str(labeled)).train) == 12
    with pytest.raises(InputError, match=r"folder of the labeled boxes.*use cuhk03_np_labeled"):
        datasets.load("cuhk03_np_detected", str(labeled))
    with pytest.raises(InputError, match=r"or the release: cuhk-03\.mat"):
        datasets.load("cuhk03_np_detected", str(tmp_path / "set"))


@pytest.mark.parametrize("kind", cuhk03.KINDS)
def test_real_protocol(real_data, tmp_path, kind):
    """The published counts; and the identities rank as in the list that goes with the protocol."""
    home = real_data / "protocols/person_re_ranking/CUHK03"
    config = home / f"cuhk03_new_protocol_config_{kind}.mat"
    names = [cell.item() for cell in scipy.io.loadmat(config)["filelist"].ravel()]
    assert all(cuhk03_archive.NAME.fullmatch(name) for name in names)
    touch(tmp_path / f"images_{kind}", names)
    shutil.copy(config, tmp_path)
    splits = datasets.load(f"cuhk03_np_{kind}", str(tmp_path))
    published = datasets.DATASETS[f"cuhk03_np_{kind}"].counts
    assert {
        part: (len(table), table.num_ids, table.num_cameras)
        for part, table in zip(published, parts(splits), strict=True)
    } == {part: (count.images, count.ids, count.cameras) for part, count in published.items()}
    listed = {}
    for line in (home / f"train_cuhk03_{kind}.txt").read_text().splitlines():
        path, rank = line.split()
        listed[path.split("/")[1]] = int(rank)
    assert {name: pid for name, pid, _ in rows(splits.train.relabelled())} == listed
    for table in parts(splits):
        assert all(int(name.split("_")[2]) - 1 == camera for name, _, camera in rows(table))


@pytest.mark.parametrize("harm", ["a group", "another kind", "42 TB", "no reference"])
def test_a_release_file_of_another_inside_is_a_message(tmp_path, harm):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "cuhk-03.mat"
    with h5py.File(path, "w") as file:
        if harm == "a group":
            file.create_group("testsets")
        elif harm == "another kind":
            file["testsets"] = np.zeros((1, 20))
        elif harm == "42 TB":
            file.create_dataset("testsets", (1 << 20, 5 << 20), "f8", chunks=(1 << 10, 1 << 10))
        else:
            file.create_dataset("testsets", (1, 3), h5py.ref_dtype)
    with pytest.raises(InputError, match=r"cannot read .*cuhk-03\.mat: .*expected cuhk-03\.mat"):
        cuhk03_archive.test_sets(str(path))
