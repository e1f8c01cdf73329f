import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.table import records


def table_of(*rows):
    return records.make_table(rows)


def test_order_of_rows_does_not_follow_identity():
    rows = [(f"/d/{pid:04d}_{n}.jpg", pid, 0, -1) for pid in range(40) for n in range(5)]
    table = records.make_table(rows)
    assert records.make_table(rows[::-1]).media == table.media
    neighbors_alike = np.mean(table.pid[1:] == table.pid[:-1])
    assert neighbors_alike < 0.15  # 4/199 by chance, 0.8 if files stood as they are named


def test_duplicate_path_is_an_error():
    with pytest.raises(InputError, match="twice"):
        table_of(("a/x.jpg", 1, 0, -1), ("a/x.jpg", 2, 0, -1))


def test_names_that_differ_further_out_have_one_order():
    rows = [
        (f"{cam}/{pid:04d}/{n}.jpg", pid, 0, -1)
        for n in range(3)
        for pid in range(9)
        for cam in "ba"
    ]
    rows += [(f"a/{pid:04d}/other{n}.jpg", pid, 0, -1) for n in range(3) for pid in range(9)]
    expected = records.make_table(rows).media
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert tuple(records.make_table(shuffled).media) == tuple(expected)
    places = [expected.index(f"{cam}/0003/1.jpg") for cam in "ab"]
    assert places[1] == places[0] + 1
    with pytest.raises(InputError, match="twice"):
        records.make_table([*rows, rows[4]])


def test_broken_names_of_files_are_kept():
    table = table_of(("a/\udcff.jpg", 1, 0, -1), ("a/ü.jpg", 2, 0, -1))
    assert set(table.media) == {"a/\udcff.jpg", "a/ü.jpg"}
    assert len(table.fingerprint()) == 12


def test_order_and_fingerprint_of_stored_tables():
    """Runs are resumed by row numbers: a change here makes all earlier checkpoints useless."""
    table = records.make_table([(f"/d/{n}.jpg", n, 0, -1) for n in range(8)])
    assert table.pid.tolist() == [7, 0, 3, 1, 2, 6, 4, 5]
    assert table.fingerprint() == "e1d6492f37d8"


def test_columns_follow_their_path():
    rows = [(f"f/{i}.jpg", i, i % 3, 100 + i) for i in range(20)]
    table = records.make_table(rows)
    assert sorted(zip(table.media, table.pid, table.camera, table.track, strict=True)) == sorted(
        rows
    )


def test_relabelled_is_dense_ascending_and_keeps_unknown():
    table = table_of(("a/1", 70, 0, -1), ("a/2", -1, 0, -1), ("a/3", 5, 0, -1), ("a/4", 70, 0, -1))
    relabelled = table.relabelled()
    expected = {70: 1, 5: 0, -1: -1}
    assert relabelled.pid.tolist() == [expected[pid] for pid in table.pid]
    assert (table.num_ids, relabelled.num_ids) == (2, 2)


def test_concatenate_keeps_sources_apart_and_unknown_unknown():
    first = table_of(("a/1", 3, 1, -1), ("a/2", -1, 0, 4))
    second = table_of(("b/1", 3, 1, 0), ("b/2", 0, -1, -1))
    joined = records.concatenate([first, second])
    assert len(joined) == 4
    assert joined.num_ids == 3
    assert joined.num_cameras == 3
    by_path = {path: i for i, path in enumerate(joined.media)}
    assert joined.pid[by_path["a/2"]] == -1
    assert joined.camera[by_path["b/2"]] == -1
    assert joined.track[by_path["b/1"]] == 5
    assert joined.pid[by_path["b/1"]] == 7


def test_fingerprint_sees_labels_and_rows_but_not_the_disk():
    def table(root="/x", pid=1, names=("1.jpg", "2.jpg")):
        return records.make_table([(f"{root}/train/{name}", pid, 0, -1) for name in names])

    assert table().fingerprint() == table(root="/elsewhere/y").fingerprint()
    assert table().fingerprint() != table(pid=2).fingerprint()
    assert table().fingerprint() != table(names=("1.jpg", "3.jpg")).fingerprint()
    assert table().fingerprint() != table().take(np.array([1, 0])).fingerprint()


def test_empty_table():
    table = records.empty_table()
    assert len(table) == table.num_ids == table.num_cameras == 0
    assert table.pid.dtype == np.int64
