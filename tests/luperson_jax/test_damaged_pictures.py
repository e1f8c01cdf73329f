"""A folder of one's own with pictures that cannot be read, and pictures of many formats."""

import numpy as np
import pytest
from PIL import Image

import luperson_jax as lp
from luperson_jax import cli
from luperson_jax.measure import embeddings
from tests import weight_files

FORMATS = ("bmp", "gif", "jpg", "png", "ppm", "tif", "webp")


@pytest.fixture
def people(tmp_path):
    """A picture of each format, three files that are none, and a name of two lines."""
    folder = tmp_path / "my people"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (32, 16, 3), np.uint8)
    for suffix in FORMATS:
        Image.fromarray(pixels).save(folder / f"a.{suffix}")
    Image.fromarray(pixels).save(folder / "two\nlines.png")
    (folder / "empty.jpg").touch()
    (folder / "half.jpg").write_bytes((folder / "a.jpg").read_bytes()[:-200])
    (folder / "words.jpg").write_text("words")
    (folder / "notes.txt").write_text("words")
    return folder


def luperson(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_damaged_pictures_are_left_out_where_asked_for(people, tmp_path, capsys):
    weights = weight_files.write_bot(tmp_path / "weights.npz")
    for command, out in (("embed", tmp_path / "saved.npz"), ("index", tmp_path / "index")):
        given = [command, people, "--weights", weights, "--size", "32x16", "--out", out]
        assert luperson(*given) == 2
        said = capsys.readouterr().err
        assert "cannot read the picture" in said
        assert "--skip-damaged leaves out all that cannot be read" in said
        assert luperson(*given, "--skip-damaged") == 0
        said = "".join(capsys.readouterr())
        assert said.count("left out: cannot read the picture") == 3
    keys = embeddings.read(str(tmp_path / "saved.npz"), labelled=False).key
    assert sorted(keys) == sorted(lp.Index.open(tmp_path / "index").columns.key.tolist())
    names = {f"a.{suffix}" for suffix in FORMATS} | {"two\nlines.png"}
    assert {key.removeprefix(f"{people}/") for key in keys} == names


def test_a_folder_of_damaged_pictures_alone_is_an_error(people, tmp_path, capsys):
    for path in people.iterdir():
        if path.name not in ("words.jpg", "empty.jpg"):
            path.unlink()
    given = ["embed", people, "--weights", tmp_path / "no.npz", "--out", tmp_path / "a.npz"]
    assert luperson(*given, "--skip-damaged") == 2
    assert "none of 2 pictures can be read" in capsys.readouterr().err
