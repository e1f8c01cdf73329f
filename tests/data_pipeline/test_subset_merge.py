import collections

import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.subsets import merge
from data_pipeline.table import records
from tests.subset_tables import TABLE, make_market, make_table


def test_several_sets_train_as_one_with_nobody_mixed_up(tmp_path):
    first = make_market(tmp_path / "a", make_table({1: 2, 2: 3}))
    second = make_market(tmp_path / "b", make_table({2: 4, 7: 1}))
    table = merge.training_table(f" market1501={first} , market1501={second},")
    assert (len(table), table.num_ids, table.num_cameras) == (10, 4, 6)
    of_second = np.array([path.startswith(str(second)) for path in table.media])
    assert not {*table.pid[of_second]} & {*table.pid[~of_second]}
    assert not {*table.camera[of_second]} & {*table.camera[~of_second]}
    assert {*table.pid[~of_second]} == {1, 2}
    assert sorted(collections.Counter(table.pid[of_second].tolist()).values()) == [1, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected NAME=FOLDER, separated"),
        ("/data/market", "has '/data/market'; expected NAME=FOLDER"),
        ("market1501=", "expected NAME=FOLDER"),
        ("market=/x", "there is no data set 'market'"),
        ("market1501=/x,market1501=/y/../x", "names a folder twice"),
    ],
)
def test_wrong_lists_of_sets_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        merge.parse(text)


def test_a_set_without_training_images_is_refused(monkeypatch):
    nothing = records.empty_table()
    tests_only = records.Splits(nothing, TABLE, TABLE)
    monkeypatch.setattr(merge.datasets, "load", lambda *_: tests_only)
    with pytest.raises(InputError, match="has no training images"):
        merge.training_table("market1501=/x")
