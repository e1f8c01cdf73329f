"""One writer of an index at a time, and readers who are never kept out."""

import pathlib

import pytest

import luperson_jax as lp
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from luperson_jax import cli
from luperson_jax.serving import index_files
from luperson_jax.workdir.lock import LOCK_FILE
from tests import page_worlds
from tests.holders import holding

HOLDER = """
import sys
from luperson_jax.serving import index_files
with index_files.locked(sys.argv[1], existing=True):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def people(tmp_path):
    """24 pictures."""
    page_worlds.make(tmp_path / "drawn").save(tmp_path / "people")
    return str(tmp_path / "people")


def test_a_second_writer_is_refused_and_readers_are_not(people, tmp_path, capsys):
    with holding(HOLDER, people) as holder:
        index = lp.Index.open(people)
        with pytest.raises(InputError, match="another process is changing the index"):
            index.save(people)
        picture = str(tmp_path / "drawn" / "a.png")
        pathlib.Path(picture).write_bytes(pathlib.Path(index.columns.key[0]).read_bytes())
        for given in (
            ["index-remove", people, "--id", "3"],
            ["index", picture, "--weights", "none.npz", "--out", people, "--add"],
        ):
            assert cli.main(given) == 2, given
            said = capsys.readouterr().err
            assert f"changing the index '{people}': process {holder.pid} on" in said
            assert said.count("\n") == 1
        assert cli.main(["index-show", people]) == 0
        assert cli.main(["index-remove", people, "--id", "3", "--dry-run"]) == 0
        assert "23 of 24" not in capsys.readouterr().out
        holder.kill()
        holder.wait()
    assert cli.main(["index-remove", people, "--id", "3"]) == 0
    assert len(lp.Index.open(people)) == 23


@pytest.mark.parametrize("file", ["columns-1.parquet", "features-1.npy"])
def test_a_reader_reads_again_where_a_writer_came_between(people, file, monkeypatch):
    index, between = lp.Index.open(people), iter([True])

    def check_opens(path):
        if pathlib.Path(path).name == file and next(between, False):
            index.remove([0]).save(people)
            assert not pathlib.Path(path).exists()

    monkeypatch.setattr(listing, "check_opens", check_opens)
    assert len(lp.Index.open(people)) == 23
    assert next(between, None) is None


def test_a_file_that_is_gone_is_damage_where_nobody_wrote(people):
    (pathlib.Path(people) / "columns-1.parquet").unlink()
    with pytest.raises(InputError, match=r"columns-1\.parquet cannot be read"):
        lp.Index.open(people)


def test_no_lock_is_left_where_no_index_is_and_a_lock_alone_is_no_index(people, tmp_path):
    index = lp.Index.open(people)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").touch()
    for folder, existing in ((other, False), (other, True), (tmp_path / "none", True)):
        with (
            pytest.raises(InputError, match=r"it has no manifest\.json"),
            index_files.locked(folder, existing=existing),
        ):
            pass
    assert listing.names(other) == ["mine.txt"]
    assert not (tmp_path / "none").exists()
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / LOCK_FILE).touch()
    assert index_files.is_free(killed)
    index.save(killed)
    assert not index_files.is_free(killed)
    with index.locked(killed):
        index.remove([1, 2]).save(killed, locked=True)
    assert len(lp.Index.open(killed)) == 22
