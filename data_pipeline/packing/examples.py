"""A picture and its labels as TensorFlow Datasets stores them, without TensorFlow."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import dataset_info, example_serializer, naming, splits

from data_pipeline.datasets.about import DataSet
from data_pipeline.errors import InputError

VERSION = "1.0.0"
FILE_FORMAT = "array_record"
PREFIX = "luperson_"


def tfds_name(word: str) -> str:
    """Name of a data set among those of TensorFlow Datasets."""
    return word if f"{word}_".startswith(PREFIX) else f"{PREFIX}{word}"


def config_name(one: DataSet, split: int) -> str | None:
    """Name of a division of a data set; None where there is but one."""
    return f"split_{split}" if one.num_splits > 1 else None


def features() -> tfds.features.FeaturesDict:
    """What is stored of each picture."""

    def number(doc: str) -> tfds.features.Scalar:
        return tfds.features.Scalar(np.int64, doc=doc)

    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(doc="the file's bytes, as they were"),
            "pid": number("identity as the data set names it, -1 where unknown"),
            "camera": number("camera from 0, -1 where unknown"),
            "track": number("tracklet, -1 where unknown"),
            "name": tfds.features.Text(doc="path within the data set"),
        }
    )


def make_info(
    builder: object, one: DataSet, split_dict: splits.SplitDict | None = None
) -> tfds.core.DatasetInfo:
    """The metadata of a data set.

    Args:
        builder: its builder, or a `DatasetIdentity`.
        one: the data set.
        split_dict: the files of its parts, where there are any.
    """
    withdrawn = "Its owners have withdrawn it." if one.withdrawn else ""
    lines = [f"{one.title}, for re-identification.", withdrawn, one.note]
    return tfds.core.DatasetInfo(
        builder=builder,
        description=" ".join(line for line in lines if line),
        features=features(),
        disable_shuffling=True,
        homepage=one.url,
        citation=one.citation,
        license=one.license,
        split_dict=split_dict,
    )


def make_serializer() -> Callable[..., bytes]:
    """A function from the features of a picture, by name, to the bytes of its record.

    Equal features give equal bytes.
    """
    structure = features()
    specification: Any = structure.get_serialized_info()
    serializer = example_serializer.ExampleSerializer(specification)

    def serialize(**example: object) -> bytes:
        message = serializer.get_tf_example(structure.encode_example(example))
        # The fields are a map, which protobuf otherwise writes in an order of its own.
        return message.SerializeToString(deterministic=True)

    return serialize


def file_names(word: str, part: str, num_shards: int) -> list[str]:
    """Names of the shards of a part, as TensorFlow Datasets wants them."""
    paths = _template(word, part, pathlib.Path()).sharded_filepaths(num_shards)
    return [path.name for path in paths]


def _template(word: str, part: str, home: pathlib.Path) -> naming.ShardedFileTemplate:
    return naming.ShardedFileTemplate(
        data_dir=epath.Path(home),
        dataset_name=tfds_name(word),
        split=part,
        filetype_suffix=FILE_FORMAT,
    )


def write_metadata(
    one: DataSet, split: int, home: pathlib.Path, shards: Mapping[str, Mapping[str, int]]
) -> None:
    """Writes what `tfds.builder_from_directory` needs beside the shards.

    Args:
        one: the data set.
        split: which of its divisions.
        home: folder of the shards.
        shards: part -> file -> number of images.

    Raises:
        InputError: the folder cannot be written to.
    """
    identity = dataset_info.DatasetIdentity(
        name=tfds_name(one.name),
        version=tfds.core.Version(VERSION),
        data_dir=str(home),
        module_name="data_pipeline.packing.tfds_builders",
        config_name=config_name(one, split),
    )
    infos = [
        splits.SplitInfo(
            name=part,
            shard_lengths=list(files.values()),
            num_bytes=sum((home / file).stat().st_size for file in files),
            filename_template=_template(one.name, part, home),
        )
        for part, files in shards.items()
    ]
    info = make_info(identity, one, splits.SplitDict(infos))
    info.set_file_format(FILE_FORMAT)
    try:
        info.write_to_directory(home)
    except OSError as error:
        raise InputError(f"cannot write {home}: {error}") from error
