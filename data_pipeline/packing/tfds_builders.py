"""The data sets as builders of TensorFlow Datasets, for projects that prefer those.

    import tensorflow_datasets as tfds
    import data_pipeline.packing.tfds_builders

    builder = tfds.builder("luperson_market1501", data_dir="/data/tfds", file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir="/data/Market-1501-v15.09.15")
    builder.download_and_prepare(download_config=config)
    train = builder.as_data_source("train")

Importing this module makes the names known: `luperson_` and the word of the data set, unless that
begins so by itself. TensorFlow is not needed, neither for building nor for `as_data_source`. None
of the sets may be downloaded by a program: `manual_dir` is the folder that `data.root` would be. A
data set with several published divisions has a configuration for each: `luperson_NAME/split_3`.

With `tfds.builder(..., beam=True)` pictures are read by an Apache Beam pipeline, and
`DownloadConfig` takes its `beam_runner` and `beam_options`. `luperson data pack` needs none of
this; its folders are opened by `tfds.builder_from_directory`.
"""

import dataclasses
import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data_pipeline import datasets
from data_pipeline.datasets.about import DataSet
from data_pipeline.packing import examples, shards
from data_pipeline.read import shard_layout, storage
from data_pipeline.table.records import Splits, Table

# Pictures that one worker of a pipeline reads at a time.
ROWS_AT_ONCE = 1000

NOT_A_SOURCE = "packed"


class ReidBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What the builders have in common. The subclasses of this module say which data set."""

    VERSION = tfds.core.Version(examples.VERSION)
    # There are no lists of checksums beside the code. Looking for them takes a package that
    # TensorFlow Datasets 4.9.10 does not ask for.
    code_path = None
    data_set: ClassVar[DataSet]

    def __init__(self, *, beam: bool = False, **options: Any) -> None:
        """As `tfds.core.DatasetBuilder`, and `beam`: whether pictures are read by a pipeline."""
        super().__init__(**options)
        self._beam = beam
        state: dict[str, Any] = self._original_state  # what pickle hands to this method
        state["beam"] = beam

    def _info(self) -> tfds.core.DatasetInfo:
        return examples.make_info(self, self.data_set)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        root = str(dl_manager.manual_dir)
        config = self.builder_config
        split = int(config.name.rpartition("_")[2]) if config else 0
        source = Division(self.data_set.name, root, split)
        tables = vars(source.load())
        prefix = shard_layout.source_prefix(tables.values())
        return {
            part: self._generate_examples(source, part, table, prefix)
            for part, table in tables.items()
            if len(table)
        }

    def _generate_examples(self, source: "Division", part: str, table: Table, prefix: str) -> Any:
        """Numbers and features of the pictures of one part: a generator, or a transform of Beam."""
        if not self._beam:
            return _examples(table, prefix, range(len(table)))
        beam = shards.import_beam()
        # The workers open the data set themselves: a table of millions of rows does not fit into
        # the description of a pipeline.
        starts = list(range(0, len(table), ROWS_AT_ONCE))
        return (
            beam.Create(starts)
            | beam.Reshuffle()
            | beam.FlatMap(_examples_from, source, part, prefix)
        )


@dataclasses.dataclass(frozen=True)
class Division:
    """What `datasets.load` needs."""

    name: str
    root: str
    split: int

    def load(self) -> Splits:
        """The tables."""
        return datasets.load(self.name, self.root, "manual_dir", self.split)


def _examples(table: Table, prefix: str, rows: range) -> Iterator[tuple[int, dict[str, Any]]]:
    for row in rows:
        media = table.media[row]
        yield (
            row,
            {
                "image": storage.read(media),
                "pid": table.pid[row],
                "camera": table.camera[row],
                "track": table.track[row],
                "name": media[len(prefix) :].encode("utf-8", "surrogateescape"),
            },
        )


def _examples_from(
    start: int, source: Division, part: str, prefix: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    table = getattr(_load(source), part)
    return _examples(table, prefix, range(start, min(start + ROWS_AT_ONCE, len(table))))


@functools.lru_cache(maxsize=1)
def _load(source: Division) -> Splits:
    return source.load()


def _builder(one: DataSet) -> type[ReidBuilder]:
    """The builder of a data set; making the class also registers it."""
    name = examples.tfds_name(one.name)
    tree = inspect.cleandoc(one.tree)
    configs = [
        tfds.core.BuilderConfig(name=config, description=f"published division {split}")
        for split in range(one.num_splits)
        if (config := examples.config_name(one, split)) is not None
    ]
    content = {
        "__module__": __name__,
        "__doc__": f"{one.title}. {one.citation}",
        "name": name,
        "data_set": one,
        "BUILDER_CONFIGS": configs,
        "MANUAL_DOWNLOAD_INSTRUCTIONS": f"{one.title}: {one.access}. Terms: {one.license}.\n"
        f"{one.url}\nmanual_dir is ROOT of:\n{tree}",
    }
    title = "".join(word.capitalize() for word in name.split("_"))
    return type(title, (ReidBuilder,), content)


BUILDERS: Mapping[str, type[ReidBuilder]] = {
    one.name: _builder(one) for one in datasets.DATASETS.values() if one.name != NOT_A_SOURCE
}


def __getattr__(name: str) -> type[ReidBuilder]:
    """The builders by the names of their classes, where pickle looks for them."""
    for builder in BUILDERS.values():
        if builder.__name__ == name:
            return builder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
