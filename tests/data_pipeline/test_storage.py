import concurrent.futures
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import simplejpeg
from array_record.python import array_record_module

from data_pipeline.errors import InputError
from data_pipeline.read import lmdb_store, storage
from data_pipeline.read.loader import Loader, LoaderOptions
from data_pipeline.read.opened import Opened
from data_pipeline.table import records, samplers

PAGE = 4096


def picture(number, size=24):
    pixels = np.random.default_rng(number).integers(0, 256, (size, 8, 3), dtype=np.uint8)
    return simplejpeg.encode_jpeg(pixels, 90)


PICTURES = {f"30_00_0292_{i:08d}": picture(i, 16 + i) for i in range(40)}


@pytest.fixture(autouse=True)
def closed():
    yield
    storage.close()


@pytest.fixture
def environment(tmp_path):
    pytest.importorskip("lmdb")
    path = str(tmp_path / "set" / "lmdb")
    assert lmdb_store.write_lmdb(path, PICTURES.items()) == len(PICTURES)
    return path


def example(**features):
    """A serialized tf.train.Example, made by the protocol buffers of TensorFlow Datasets."""
    from tensorflow_datasets.proto import tf_example_pb2

    message = tf_example_pb2.Example()
    for name, value in features.items():
        feature = message.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    return message.SerializeToString()


def write_records(path, items, options="group_size:1"):
    writer = array_record_module.ArrayRecordWriter(str(path), options)
    for item in items:
        writer.write(item)
    writer.close()
    return str(path)


def open_files():
    folder = pathlib.Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this system does not tell which files are open")
    names = []
    for entry in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # the list itself, which is closed by then
            names.append(os.readlink(folder / entry))
    return sorted(names)


def test_a_file_is_read_whole(tmp_path):
    path = tmp_path / "odd#name:x.jpg"
    path.write_bytes(PICTURES["30_00_0292_00000003"])
    assert storage.read(str(path)) == PICTURES["30_00_0292_00000003"]
    with pytest.raises(
        InputError, match=rf"no/a\.jpg: No such file.* looked for in {os.getcwd()};"
    ):
        storage.read("no/a.jpg")
    with pytest.raises(InputError, match=r"cannot read .*No such file.*mounted"):
        storage.read(str(tmp_path / "none.jpg"))


@pytest.mark.parametrize("media", ["lmdb:/data/lmdb", "array_record:/data/x"])
def test_a_container_without_a_key(media):
    with pytest.raises(InputError, match=r"expected .*PLACE#WHICH"):
        storage.read(media)


def test_lmdb_gives_the_bytes_back(environment):
    for place in (environment, environment + "/data.mdb"):
        for key, data in PICTURES.items():
            assert storage.read(f"lmdb:{place}#{key}") == data
    assert lmdb_store.keys(environment) == sorted(PICTURES)
    assert lmdb_store.size(environment) == len(PICTURES)


def test_lmdb_in_a_file_of_another_name_and_behind_a_link(environment, tmp_path):
    single = tmp_path / "set#1.lmdb"
    shutil.copy(environment + "/data.mdb", single)
    (tmp_path / "link").symlink_to(environment)
    for place in (single, tmp_path / "link", environment):
        assert lmdb_store.is_environment(str(place))
        key = "30_00_0292_00000007"
        assert storage.read(f"lmdb:{place}#{key}") == PICTURES[key]
    assert not lmdb_store.is_environment(str(tmp_path))
    assert not lmdb_store.is_environment(str(tmp_path / "none.lmdb"))


def test_lmdb_is_opened_once_and_read_by_many_threads(environment):
    keys = list(PICTURES) * 50
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda key: storage.read(f"lmdb:{environment}#{key}"), keys))
    assert read == [PICTURES[key] for key in keys]
    # By LMDB, and by what looks whether the file has all of a record.
    assert sum(name.endswith("data.mdb") for name in open_files()) == 2


def test_lmdb_after_a_fork(environment):
    """The child opens an environment of its own; the parent's goes on."""
    media = f"lmdb:{environment}#30_00_0292_00000001"
    script = f"""
import os, threading
from data_pipeline.read import lmdb_store, storage
expected = storage.read({media!r})
held = lmdb_store.ENVIRONMENTS.get({environment!r})
lmdb_store.ENVIRONMENTS._lock.acquire()  # as another thread may, at the moment of the fork
child = os.fork()
if child == 0:
    os._exit(0 if storage.read({media!r}) == expected else 3)
lmdb_store.ENVIRONMENTS._lock.release()
held = None
print(os.waitpid(child, 0)[1], storage.read({media!r}) == expected)
"""
    done = subprocess.run(
        # Newer Pythons warn of any fork beside threads.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0 True\n", "")


def test_lmdb_key_that_is_missing(environment):
    for key in ("31_00_0000_00000000", "", "x" * 600):
        with pytest.raises(
            InputError, match=r"no key.*40 keys such as 30_00_0292_00000000.*belong"
        ):
            storage.read(f"lmdb:{environment}#{key}")


def test_lmdb_that_is_missing(tmp_path):
    pytest.importorskip("lmdb")
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty", "none.lmdb"):
        with pytest.raises(InputError, match=f"no LMDB environment .*{name}; expected a folder"):
            storage.read(f"lmdb:{tmp_path / name}#x")


def test_lmdb_that_is_damaged(environment):
    """Cut off, it would end the process with a bus error as soon as somebody reads."""
    data = pathlib.Path(environment, "data.mdb")
    whole = data.read_bytes()
    damages = {
        "cut off": [whole[: len(whole) // 2], whole[:-PAGE]],
        "damaged one": [b"", whole[:100], bytes(len(whole)), b"x" * 50_000],
    }
    for message, contents in damages.items():
        for content in contents:
            data.write_bytes(content)
            with pytest.raises(InputError, match=f"data.mdb is .*{message}.*again"):
                storage.read(f"lmdb:{environment}#30_00_0292_00000001")


def test_lmdb_with_pages_of_noise(environment):
    data = pathlib.Path(environment, "data.mdb")
    whole = bytearray(data.read_bytes())
    rng = np.random.default_rng(0)
    whole[2 * PAGE :] = rng.integers(0, 256, len(whole) - 2 * PAGE, np.uint8).tobytes()
    data.write_bytes(whole)
    with pytest.raises(InputError, match="damaged"):
        storage.read(f"lmdb:{environment}#30_00_0292_00000001")
    with pytest.raises(InputError, match="damaged"):
        lmdb_store.keys(environment)


def test_lmdb_without_its_package(environment, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    for use in (
        lambda: storage.read(f"lmdb:{environment}#x"),
        lambda: lmdb_store.write_lmdb(environment, []),
    ):
        with pytest.raises(InputError, match=r"pip install 'luperson_jax\[lmdb\]'"):
            use()


def test_notes_of_a_writer_are_no_pictures(tmp_path):
    pytest.importorskip("lmdb")
    path = str(tmp_path / "lmdb")
    lmdb_store.write_lmdb(path, [("__len__", b"1"), ("a", b"x")])
    assert lmdb_store.keys(path) == ["a"]
    assert lmdb_store.size(path) == 2


def test_written_lmdb_grows_and_is_taken_up_again(tmp_path, monkeypatch):
    """Killed at any item, the same call completes it; each kept picture is written once."""
    pytest.importorskip("lmdb")
    monkeypatch.setattr(lmdb_store, "FIRST_MAP_BYTES", 1 << 16)
    monkeypatch.setattr(lmdb_store, "WRITE_IMAGES", 7)
    path = tmp_path / "lmdb"
    items = [(f"k{i:03d}", bytes([i]) * 20_000) for i in range(100)]

    def dying():
        yield from items[:50]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lmdb_store.write_lmdb(path, dying())
    kept = lmdb_store.size(str(path))
    assert kept == 49  # whole transactions of 7
    assert lmdb_store.write_lmdb(path, items) == 100 - kept
    assert {key: lmdb_store.read(str(path), key) for key, _ in items} == dict(items)
    grown = (path / "data.mdb").stat().st_size
    assert lmdb_store.write_lmdb(path, items) == 0
    assert (path / "data.mdb").stat().st_size == grown


def test_what_cannot_be_written_to_lmdb(environment, tmp_path):
    taken = [("30_00_0292_00000001", b"another")]
    with pytest.raises(InputError, match="30_00_0292_00000001 stands for another picture"):
        lmdb_store.write_lmdb(environment, taken)
    for key in ("", "x" * 512):
        with pytest.raises(InputError, match="cannot write the LMDB"):
            lmdb_store.write_lmdb(environment, [(key, b"x")])
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="cannot write the LMDB"):
        lmdb_store.write_lmdb(file, [("x", b"x")])
    assert lmdb_store.size(environment) == len(PICTURES)


@pytest.mark.parametrize("options", ["group_size:1", "group_size:3", "group_size:1,uncompressed"])
def test_array_record_gives_pictures_and_examples_back(tmp_path, options):
    pictures = list(PICTURES.values())
    plain = write_records(tmp_path / "plain", pictures, options)
    examples = [
        example(pid=i, image=data, name=b"image", score=0.5) for i, data in enumerate(pictures)
    ]
    packed = write_records(tmp_path / "packed", examples, options)
    for number in np.random.default_rng(0).permutation(len(pictures)):
        assert storage.read(f"array_record:{plain}#{number}") == pictures[number]
        assert storage.read(f"array_record:{packed}#{number:06d}") == pictures[number]


def test_array_record_written_by_tensorflow_datasets(tmp_path):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import example_serializer

    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(), "pid": np.int64, "name": tfds.features.Text()}
    )
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    items = []
    for number, data in enumerate(PICTURES.values()):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(data)
        one = features.encode_example({"image": path, "pid": number, "name": path.name})
        items.append(serializer.serialize_example(one))
    file = write_records(tmp_path / "set.array_record-00000-of-00001", items)
    for number, data in enumerate(PICTURES.values()):
        assert storage.read(f"array_record:{file}#{number}") == data
        assert (
            features.deserialize_example_np(
                items[number], decoders={"image": tfds.decode.SkipDecoding()}
            )["image"]
            == data
        )


def test_example_parser_passes_other_fields():
    """Fields of all kinds that a later format may add, before and after the picture."""
    others = b"\x58\xff\xff\x03" + b"\x61" + bytes(8) + b"\x6d" + bytes(4) + b"\x72\x03abc"

    def message(field, content):
        assert len(content) < 128
        return others + bytes([field << 3 | 2, len(content)]) + content + others

    feature = message(1, message(1, b"JPEG"))
    entry = message(1, b"image") + bytes([2 << 3 | 2, len(feature)]) + feature
    size = len(entry)
    features = bytes([10, size & 127 | 128, size >> 7]) + entry
    size = len(features)
    assert storage.image_of(bytes([10, size & 127 | 128, size >> 7]) + features) == b"JPEG"


def test_example_without_a_picture(tmp_path):
    whole = example(image=PICTURES["30_00_0292_00000001"])
    records_of = [
        example(pid=1),
        example(name=b"image"),
        example(image=3),
        b"\n\x00",
        b"\n\x03\x0f\x00\x00",
        whole[:-1],
    ]
    path = write_records(tmp_path / "x", records_of)
    for number in range(len(records_of)):
        with pytest.raises(InputError, match=f"record {number} of .* holds no picture"):
            storage.read(f"array_record:{path}#{number}")


def test_array_record_number_that_is_wrong(tmp_path):
    path = write_records(tmp_path / "x", [b"a", b"b"])
    for number in ("2", "10000000000000"):
        with pytest.raises(InputError, match=f"has 2 records; there is no record {number}"):
            storage.read(f"array_record:{path}#{number}")
    for number in ("-1", "x", "", "1.0", "²"):
        with pytest.raises(InputError, match="expected a number"):
            storage.read(f"array_record:{path}#{number}")


def test_array_record_that_is_missing_or_damaged(tmp_path):
    with pytest.raises(InputError, match=r"no file .*none"):
        storage.read(f"array_record:{tmp_path / 'none'}#0")
    with pytest.raises(InputError, match="no file"):
        storage.read(f"array_record:{tmp_path}#0")
    path = write_records(tmp_path / "x", list(PICTURES.values()))
    whole = pathlib.Path(path).read_bytes()
    for content in (b"", b"garbage" * 20_000, whole[: len(whole) // 2], whole[:-10]):
        pathlib.Path(path).write_bytes(content)
        with pytest.raises(InputError, match=r"damaged one.*; copy it again"):
            storage.read(f"array_record:{path}#0")
    changed = bytearray(whole)
    changed[100] ^= 255
    pathlib.Path(path).write_bytes(changed)
    with pytest.raises(InputError, match=r"record 0 of .*; copy the file again"):
        storage.read(f"array_record:{path}#0")


def test_array_record_is_read_by_many_threads(tmp_path):
    path = write_records(tmp_path / "x", list(PICTURES.values()))
    numbers = list(range(len(PICTURES))) * 50
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda n: storage.read(f"array_record:{path}#{n}"), numbers))
    assert read == [list(PICTURES.values())[n] for n in numbers]
    assert open_files().count(path) == 1


def test_open_files_are_bounded_and_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "RECORD_FILES", Opened(storage.RecordFile, 3))
    paths = [write_records(tmp_path / f"{i}", [picture(i)]) for i in range(8)]
    before = open_files()
    for _ in range(2):
        for i, path in enumerate(paths):
            assert storage.read(f"array_record:{path}#0") == picture(i)
    assert [name for name in open_files() if name in paths] == paths[-3:]
    storage.close()
    assert open_files() == before


@pytest.mark.parametrize(
    ("num_workers", "kind"), [(0, "threads"), (2, "threads"), (2, "processes")]
)
def test_loader_reads_all_storages_alike(environment, tmp_path, num_workers, kind):
    folder = tmp_path / "folder"
    folder.mkdir()
    for key, data in PICTURES.items():
        (folder / f"{key}.jpg").write_bytes(data)
    packed = write_records(tmp_path / "packed", [example(image=data) for data in PICTURES.values()])
    storages = {
        "folder": [str(folder / f"{key}.jpg") for key in PICTURES],
        "lmdb": [f"lmdb:{environment}#{key}" for key in PICTURES],
        "array_record": [f"array_record:{packed}#{number:03d}" for number in range(len(PICTURES))],
    }
    storage.read(storages["lmdb"][0])  # open here before the workers begin
    options = LoaderOptions((16, 8), num_workers=num_workers, worker_kind=kind)
    seen = {}
    for name, media in storages.items():
        column = np.arange(len(media))
        table = records.Table(records.Paths.of(media), column, column, column)
        with Loader(table, samplers.sequential(len(media), 8), options) as loader:
            seen[name] = np.concatenate([batch["images"] for batch in loader])
    assert len(np.unique(seen["folder"], axis=0)) == len(PICTURES)
    for name in ("lmdb", "array_record"):
        np.testing.assert_array_equal(seen[name], seen["folder"])
