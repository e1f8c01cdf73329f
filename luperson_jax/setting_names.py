"""What the data pipeline's arguments are called in the group `data`, for its messages."""

import contextlib
import dataclasses
from collections.abc import Iterator

from data_pipeline.errors import arguments_named
from luperson_jax.config import DataConfig

DATA_SETTINGS = {
    **{field.name: f"data.{field.name}" for field in dataclasses.fields(DataConfig)},
    "list_path": "data.subset_list",
    "seed": "data.subset_seed",
}


@contextlib.contextmanager
def named(**others: str) -> Iterator[None]:
    """Inside, also as a decorator, messages name settings of the group `data` for arguments.

    Args:
        others: names for arguments that come from elsewhere: `batch_size="eval.batch_size"`.
    """
    with arguments_named(DATA_SETTINGS | others):
        yield
