"""What the tests of the sets of single pictures share."""

import pathlib
from collections.abc import Iterable

from data_pipeline.synthetic import layouts
from data_pipeline.table.records import Splits, Table

THREE = ("bounding_box_train", "query", "bounding_box_test")
DISTRACTORS, JUNK = 4, 2
NUMBERS = {"identities": 7, "train_identities": 3, "cameras": 3, "images_per_camera": 2}
SIZE = {"height": 16, "width": 8, "distractors": DISTRACTORS, "junk": JUNK}


def draw(layout: str, root: pathlib.Path, **numbers: int) -> pathlib.Path:
    """A miniature: 3 people for training, 4 for testing, 3 cameras where the layout is free."""
    layouts.make(layout, root, **NUMBERS | SIZE | numbers)
    return root


def touch(root: pathlib.Path, names: Iterable[str]) -> pathlib.Path:
    """Empty files below a folder."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def rows(table: Table) -> list[tuple[str, int, int]]:
    """File name, identity and camera of each row, sorted."""
    names = [pathlib.Path(path).name for path in table.media]
    return sorted(zip(names, table.pid.tolist(), table.camera.tolist(), strict=True))


def parts(splits: Splits) -> tuple[Table, Table, Table]:
    """The three tables."""
    return splits.train, splits.query, splits.gallery


def counts(splits: Splits) -> list[tuple[int, int]]:
    """Pictures and identities of the three tables."""
    return [(len(table), table.num_ids) for table in parts(splits)]
