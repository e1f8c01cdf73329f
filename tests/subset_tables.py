"""Small tables, folders and lists for the tests of subsets."""

import pathlib

from data_pipeline.table import records


def make_table(images_of: dict[int, int], folder="/data/train", cameras=3) -> records.Table:
    return records.make_table(
        [
            (f"{folder}/{pid:04d}_c{i % cameras + 1}_{i:02d}.jpg", pid, i % cameras, -1)
            for pid, number in images_of.items()
            for i in range(number)
        ]
    )


TABLE = make_table({pid: 1 + pid % 7 for pid in range(2, 62, 3)})


def names_of(table: records.Table) -> set[str]:
    return {path.rsplit("/", 1)[-1] for path in table.media}


def make_market(root: pathlib.Path, table: records.Table = TABLE) -> pathlib.Path:
    """Empty files in the layout of Market-1501."""
    (root / "bounding_box_train").mkdir(parents=True)
    for name in names_of(table):
        (root / "bounding_box_train" / name).touch()
    for part in ("query", "bounding_box_test"):
        (root / part).mkdir()
        (root / part / "0001_c1_00.jpg").touch()
    return root


def write(path: pathlib.Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return str(path)
