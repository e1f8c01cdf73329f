import pytest

from data_pipeline import atomic
from data_pipeline.errors import InputError


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    with atomic.replacing(path) as part:
        part.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_former_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("former")

    def fail():
        with atomic.replacing(path) as part:
            part.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing(tmp_path):
    lost = atomic.replacing(tmp_path / "no" / "a.txt")
    with pytest.raises(InputError, match=r"cannot write .*no/a\.txt"), lost as part:
        part.write_text("lost")
