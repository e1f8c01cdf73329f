"""One writer of an index at a time, and readers who are never kept out."""

import pathlib
import subprocess
import sys

import pytest

import luperson_jax as lp
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from luperson_jax import cli
from luperson_jax.serving import index_exchange, index_files
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

TRIER = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


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


def test_an_import_holds_the_lock_of_its_target(people, tmp_path, capsys, monkeypatch):
    index, target = lp.Index.open(people), tmp_path / "imported"
    monkeypatch.setattr(index_exchange, "take_over", lambda *_: index)
    given = ["index-import", str(tmp_path), str(target), "--from", "faiss"]
    with holding(HOLDER.replace("existing=True", "existing=False"), str(target)) as holder:
        assert cli.main(given) == 2
        said = capsys.readouterr().err
        assert f"changing the index '{target}': process {holder.pid} on" in said
        assert index_files.is_free(target)
        holder.kill()
        holder.wait()
    saved = lp.Index.save

    def save(self, folder, *, locked=False):
        tried = [sys.executable, "-S", "-c", TRIER, str(target / LOCK_FILE)]
        assert b"BlockingIOError" in subprocess.run(tried, capture_output=True, check=False).stderr
        saved(self, folder, locked=locked)

    monkeypatch.setattr(lp.Index, "save", save)
    assert cli.main(given) == 0
    assert len(lp.Index.open(target)) == len(index)


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
            pytest.raises(InputError, match=r"it has no manifest\.json|there is no index"),
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


def test_what_is_given_in_the_place_of_an_index_is_told(people, tmp_path, capsys):
    for names, what in (
        (["recipe.json"], "it is the workdir of a run, which --workdir takes"),
        (["model.safetensors", "config.json"], "it is a packed model, which --weights takes"),
        (["features.npy", "index.parquet"], "it is saved embeddings"),
        (["mine.jpg"], "it has no manifest.json; `luperson index PICTURES --out DIR` makes"),
    ):
        folder = tmp_path / names[0].replace(".", "_")
        folder.mkdir()
        for name in names:
            (folder / name).touch()
        assert cli.main(["index-show", str(folder)]) == 2
        assert f"{folder} is no index: {what}" in capsys.readouterr().err
    assert cli.main(["index-show", str(tmp_path / "none")]) == 2
    assert f"there is no index {tmp_path / 'none'}" in capsys.readouterr().err
    for command in (["--workdir", people], ["--weights", people]):
        given = ["embed", str(tmp_path / "drawn"), *command, "--out", str(tmp_path / "a.npz")]
        assert cli.main(given) == 2
        assert "it is an index, which --index takes" in capsys.readouterr().err
