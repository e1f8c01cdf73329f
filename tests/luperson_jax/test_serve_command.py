"""`luperson index` and `luperson serve`, from pictures to an answer in a browser's words."""

import datetime
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra `ui` is not installed")

import luperson_jax as lp
from luperson_jax import cli
from luperson_jax.commands import serve
from tests import page_worlds, weight_files


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(weight_files.write_bot(tmp_path_factory.mktemp("weights") / "bot.npz"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    page_worlds.make(folder)
    (folder / "0/c1/20261129T101500.png").write_bytes(page_worlds.png((9, 99, 199)))
    return folder


def test_pictures_become_an_index(drawn, weights, tmp_path, capsys):
    out = str(tmp_path / "people")
    given = ["index", str(drawn / "0"), "--weights", weights, "--out", out]
    found = ["--camera", r"/c(\d)/", "--time", r"\d{8}T\d{6}"]
    assert cli.main([*given, *found]) == 0
    assert "9 pictures, 2 cameras" in capsys.readouterr().out
    index = lp.Index.open(out)
    dated = {key: moment for key, moment in zip(index.columns.key, index.columns.time, strict=True)}
    assert index.columns.camera.tolist() == [1] * 5 + [2] * 4
    assert dated.pop(str(drawn / "0/c1/20261129T101500.png")).item() == datetime.datetime(
        2026, 11, 29, 10, 15
    )
    assert all(np.isnat(one) for one in dated.values())
    assert cli.main(given) == 2
    assert "is not empty" in capsys.readouterr().err
    more = ["index", str(drawn / "1"), "--weights", weights, "--out", out, "--add"]
    assert cli.main([*more, "--camera", "(c)1/", "--time", "nothing"]) == 2
    assert "found in no path" in capsys.readouterr().err
    assert cli.main([*more, "--camera", "c./"]) == 0
    assert "camera 3: c1/\ncamera 4: c2/\n" in capsys.readouterr().out
    assert len(lp.Index.open(out)) == 17
    assert cli.main(more) == 0  # nothing is embedded twice
    assert "left aside: 8 pictures that the index holds already" in capsys.readouterr().out
    assert len(lp.Index.open(out)) == 17
    assert cli.main(["index-show", out, "--weights", weights]) == 0
    assert f"network      {weights}, the one that is given" in capsys.readouterr().out
    query = str(drawn / "1/c2/1_c2_0.png")
    assert cli.main(["search", query, "--index", out, "--weights", weights, "--camera", "c2/"]) == 0
    assert f"   1  0.0000  {query}" in capsys.readouterr().out


def test_an_index_is_searched_with_its_own_weights_alone(people, drawn, weights, capsys):
    query = str(drawn / "1/c2/1_c2_0.png")
    for command in (["search", query, "--index", people], ["index-show", people]):
        assert cli.main([*command, "--weights", weights]) == 2
        assert "was built with other weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--camera", "("], "no regular expression"),
        (["--time", r"_(c\d)_"], "no moment of a form of ISO 8601"),
        (["--time", r"_(c\d)_", "--time-format", "%Y"], "no moment of the form '%Y'"),
        (["--size", "7"], "--size"),
    ],
)
def test_wrong_patterns_are_told(drawn, weights, tmp_path, capsys, given, words):
    start = ["index", str(drawn / "1"), "--weights", weights, "--out", str(tmp_path / "people")]
    assert cli.main([*start, *given]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "people").exists()


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    page_worlds.make(folder / "drawn").save(folder / "people")
    return str(folder / "people")


def test_wrong_options_are_told(people, tmp_path, capsys, monkeypatch):
    taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        port = str(taken.getsockname()[1])
        for given, words in (
            (["--port", port], "cannot be used"),
            (["--port", "70000"], "expected 0 to 65535"),
            (["--threshold", "nan"], "expected a cosine distance"),
            (["--labels", str(tmp_path / "no.csv")], "no.csv"),
            (["--workdir", str(tmp_path / "no")], "no"),
        ):
            assert cli.main(["serve", "--index", people, *given]) == 2
            assert words in capsys.readouterr().err
    monkeypatch.setattr(serve, "PACKAGES", ("starlette", "no_such_package"))
    assert cli.main(["serve", "--index", people]) == 2
    assert "needs no_such_package; pip install 'luperson_jax[ui]'" in capsys.readouterr().err


def test_a_browser_is_answered_until_ctrl_c(people, tmp_path):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    run = [sys.executable, "-m", "luperson_jax.cli", "serve", "--index", people, "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(run, stdout=pipe, stderr=pipe, text=True, env=environment) as served:
        assert served.stdout is not None
        assert "24 pictures" in served.stdout.readline()
        address = re.search(r"http://127.0.0.1:\d+", served.stdout.readline())[0]
        with urllib.request.urlopen(f"{address}/search?id=0") as answer:
            assert "23 nearest pictures" in answer.read().decode()
            assert answer.status == 200
        waiting = True
        while waiting:  # for the groups
            with urllib.request.urlopen(f"{address}/labels") as answer:
                waiting = answer.status == 202
        form = urllib.request.Request(
            f"{address}/change", b"action=new&id=0&identity=0", {"Origin": address}
        )
        with urllib.request.urlopen(form) as answer:
            assert answer.status == 200
        served.send_signal(signal.SIGINT)
        said, complained = served.communicate(timeout=60)
    assert served.returncode == 130
    kept = re.search(r"kept in (.+)", said)[1]
    assert kept.startswith(str(tmp_path))
    with open(kept) as file:
        assert file.readline() == "id,key,camera,time,identity,name\n"
    assert complained == "luperson: stopped by SIGINT\n"
