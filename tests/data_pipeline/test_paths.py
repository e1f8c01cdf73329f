import pickle

import numpy as np

from data_pipeline.table.paths import Paths

NAMES = ("a/b.jpg", "", "länder/straße.png", "broken-\udcff.jpg")


def test_strings_come_back():
    paths = Paths.of(NAMES)
    assert (len(paths), tuple(paths)) == (4, NAMES)
    assert paths == NAMES
    assert paths[-1] == NAMES[-1]
    assert paths[1:3] == NAMES[1:3]
    assert pickle.loads(pickle.dumps(paths)) == paths
    assert len(Paths.of([])) == 0
    assert paths != NAMES[::-1]
    assert paths != "a/b.jpg"


def test_rows_are_taken_without_copying_the_text():
    paths = Paths.of(NAMES)
    taken = paths.take(np.array([2, 0, 2]))
    assert tuple(taken) == (NAMES[2], NAMES[0], NAMES[2])
    assert taken.take(np.array([1]))[0] == NAMES[0]
    assert taken._block is paths._block
