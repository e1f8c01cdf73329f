"""The data sets among those of TensorFlow Datasets, and packed folders opened by it."""

import pathlib
import pickle
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from data_pipeline import datasets
from data_pipeline.packing import examples, pack, tfds_builders
from data_pipeline.synthetic import layouts

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZE = {"height": 32, "width": 16}
# TensorFlow Datasets 4.9.10 looks at what protobuf 6, which Apache Beam wants, is about to drop.
pytestmark = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")

RAW = {"image": tfds.decode.SkipDecoding()}

WITHOUT_TENSORFLOW = """
import sys
import tensorflow_datasets as tfds
from data_pipeline.packing import tfds_builders
from data_pipeline.packing import pack

sys.modules["cv2"] = None
_, source, out = sys.argv
pack.pack("market1501", source, out)
config = tfds.download.DownloadConfig(manual_dir=source)
built = tfds.builder("luperson_market1501", data_dir=out + "_tfds", file_format="array_record")
built.download_and_prepare(download_config=config)
for builder in (tfds.builder_from_directory(out), built):
    picture = builder.as_data_source("query")[0]["image"]
    assert picture.shape == (32, 16, 3), picture.shape
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """24 pictures for training, 12 queries, 40 in the gallery."""
    root = tmp_path_factory.mktemp("source") / "market"
    layouts.make("market1501", root, identities=12, cameras=2, images_per_camera=2, **SIZE)
    return root


def prepared(name, root, data_dir, **options):
    builder = tfds.builder(name, data_dir=str(data_dir), file_format="array_record", **options)
    config = tfds.download.DownloadConfig(manual_dir=str(root))
    builder.download_and_prepare(download_config=config)
    return builder


def rows(table, prefix):
    """What an example of each row should hold."""
    return {
        media.removeprefix(f"{prefix}/").encode(): {
            "image": pathlib.Path(media).read_bytes(),
            "pid": int(table.pid[row]),
            "camera": int(table.camera[row]),
            "track": int(table.track[row]),
        }
        for row, media in enumerate(table.media)
    }


def by_name(source):
    found = [dict(example) for example in source]
    assert len({example["name"] for example in found}) == len(found)
    return {example.pop("name"): example for example in found}


def test_neither_way_needs_tensorflow(source, tmp_path):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(source), str(tmp_path / "out")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr


def test_a_packed_folder_opens_with_all_its_parts(source, tmp_path):
    pack.pack("market1501", str(source), str(tmp_path), shard_images=9)
    builder = tfds.builder_from_directory(tmp_path)
    assert builder.info.full_name == "luperson_market1501/1.0.0"
    assert builder.info.citation == datasets.find("market1501").citation
    assert builder.info.splits["gallery"].num_shards == 5
    for part, table in vars(datasets.load("market1501", str(source))).items():
        assert by_name(builder.as_data_source(part, decoders=RAW)) == rows(table, source)


def test_a_builder_gives_the_rows_of_the_data_set(source, tmp_path):
    builder = prepared("luperson_market1501", source, tmp_path)
    for part, table in vars(datasets.load("market1501", str(source))).items():
        found = builder.as_data_source(part, decoders=RAW)
        assert by_name(found) == rows(table, source)
        assert [one["name"].decode() for one in found] == [
            media.removeprefix(f"{source}/") for media in table.media
        ]


def test_each_division_is_a_configuration(tmp_path):
    layouts.make("prid2011", tmp_path / "root", identities=8, frames=3, **SIZE)
    one = datasets.find("prid2011")
    assert len(tfds_builders.BUILDERS["prid2011"].BUILDER_CONFIGS) == one.num_splits > 1
    table = datasets.load("prid2011", str(tmp_path / "root"), split=3).train
    assert (
        table.fingerprint() != datasets.load("prid2011", str(tmp_path / "root")).train.fingerprint()
    )
    pack.pack("prid2011", str(tmp_path / "root"), str(tmp_path / "out"), split=3)
    built = prepared("luperson_prid2011/split_3", tmp_path / "root", tmp_path / "tfds")
    for builder in (built, tfds.builder_from_directory(tmp_path / "out")):
        assert builder.info.config_name == "split_3"
        found = [example["pid"] for example in builder.as_data_source("train", decoders=RAW)]
        assert sorted(found) == sorted(table.pid.tolist())


def test_parts_that_a_data_set_lacks_are_left_out(tmp_path):
    layouts.make("folder", tmp_path / "root", identities=4, **SIZE)
    builder = prepared("luperson_image_folder", tmp_path / "root", tmp_path / "tfds")
    assert list(builder.info.splits) == ["train"]


@pytest.mark.parametrize("word", sorted(set(datasets.DATASETS) - {"packed"}))
def test_every_data_set_is_known_and_says_how_to_get_it(word, tmp_path):
    one = datasets.find(word)
    builder = tfds.builder(examples.tfds_name(word), data_dir=str(tmp_path))
    assert type(builder) is tfds_builders.BUILDERS[word]
    assert builder.info.citation == one.citation
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    assert one.access in instructions
    assert one.license in instructions
    assert all(line.strip() in instructions for line in one.tree.splitlines())
    copy = pickle.loads(pickle.dumps(builder))
    assert type(copy) is type(builder)
    assert copy.data_dir == builder.data_dir


def test_names_among_the_others():
    assert examples.tfds_name("market1501") == "luperson_market1501"
    assert examples.tfds_name("luperson_nl") == "luperson_nl"
    assert examples.tfds_name("luperson") == "luperson"
    with pytest.raises(AttributeError, match="Nobody"):
        tfds_builders.Nobody  # noqa: B018


def test_beam_gives_the_same_rows(source, tmp_path):
    pytest.importorskip("apache_beam")
    builder = prepared("luperson_market1501", source, tmp_path, beam=True)
    for part, table in vars(datasets.load("market1501", str(source))).items():
        assert by_name(builder.as_data_source(part, decoders=RAW)) == rows(table, source)
    assert pickle.loads(pickle.dumps(builder))._beam


def test_beam_packs_the_same_bytes(source, tmp_path):
    pytest.importorskip("apache_beam")
    pack.pack("market1501", str(source), str(tmp_path / "out"), shard_images=9)
    pack.pack("market1501", str(source), str(tmp_path / "beam"), shard_images=9, beam=[])
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "beam" / path.name).read_bytes()
