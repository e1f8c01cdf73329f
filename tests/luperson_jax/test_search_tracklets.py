"""`luperson search` and `embed` where the pictures of a folder are a tracklet."""

import base64
import io
import json
import os
import re
import shutil

import pytest
from PIL import Image

from luperson_jax import cli
from luperson_jax.measure import embeddings
from tests import weight_files


def luperson(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_a_missing_picture_is_told_as_one(tmp_path, capsys):
    (tmp_path / "person_1.jpg").touch()
    for name, words in (
        ("person_2.jpg", "does not exist; its folder, {}, has 'person_1.jpg': is that the one?"),
        ("x.png", "does not exist; its folder, {}, holds 1 pictures of other names"),
        ("no/x.png", "does not exist; expected a picture, or a folder of pictures"),
        ("people", "does not exist; expected a picture, or a folder of pictures"),
    ):
        for command in (["search", "--gallery", tmp_path], ["embed", "--out", tmp_path / "a.npz"]):
            path = tmp_path / name
            assert luperson(*command, path, "--weights", tmp_path / "no.npz") == 2
            assert f"{path} {words.format(tmp_path)}" in capsys.readouterr().err


def test_search_among_tracklets_shows_their_frames(labelled_world, tmp_path, capsys):
    weights = weight_files.write_bot(tmp_path / "weights.npz")
    pictures = sorted((labelled_world / "bounding_box_test").glob("*.jpg"))[:9]
    for number, picture in enumerate(pictures):
        home = tmp_path / "tracks" / f"{number // 4}"
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, home)
    folders = sorted((tmp_path / "tracks").iterdir())
    out = tmp_path / "strips.html"
    asked = ["search", folders[1], "--gallery", *folders[:1], "--gallery", folders[1]]
    asked += ["--gallery", folders[2], "--weights", weights, "--tracklets", "mean"]
    assert luperson(*asked, "--json", tmp_path / "out.json", "--out", out) == 0
    (found,) = json.loads((tmp_path / "out.json").read_text())["queries"]
    assert len(found["matches"]) == 3
    assert found["matches"][0]["distance"] == pytest.approx(0, abs=1e-5)
    assert os.path.dirname(found["matches"][0]["key"]) == str(folders[1])
    widths = []
    for data in re.findall(r"base64,([^']+)'", out.read_text()):
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            widths.append(picture.width)
    assert sorted(widths) == [min(widths), *[3 * min(widths)] * 3]  # the last has one picture
    saved = tmp_path / "tracks.npz"
    embed = ["embed", tmp_path / "tracks", "--weights", weights, "--tracklets", "max"]
    assert luperson(*embed, "--out", saved) == 0
    assert "3 tracklets of 9 pictures" in capsys.readouterr().out
    frames = embeddings.read(saved, labelled=False).frames
    assert all(1 <= len(one) <= 3 for one in frames)
    assert {os.path.dirname(name) for one in frames for name in one} == set(map(str, folders))
