import argparse
import json

import pytest

from data_pipeline import datasets
from data_pipeline.errors import InputError
from luperson_jax.commands import data_pack


def run(*arguments):
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    data_pack.add_options(parser)
    data_pack.run(parser.parse_args([str(argument) for argument in arguments]))


def test_it_says_what_was_packed_and_how_to_open_it(labelled_world, tmp_path, capsys):
    out = tmp_path / "out"
    run("market1501", labelled_world, out, "--shard-images", 20, "--workers", 0)
    first, *parts, last = capsys.readouterr().out.splitlines()
    assert first == f"{labelled_world} -> {out}"
    train = datasets.load("market1501", str(labelled_world)).train
    assert parts[0].split(maxsplit=1) == [
        "train",
        "36 pictures in 2 files, 6 identities, 2 cameras, fingerprint " + train.fingerprint(),
    ]
    assert [line.split()[0] for line in parts] == ["train", "query", "gallery"]
    assert last.endswith(f"open it with data.dataset=packed data.root={out}")
    assert datasets.load("packed", str(out)).train.fingerprint() == train.fingerprint()


def test_options_reach_the_pack(tmp_path):
    from data_pipeline.synthetic import layouts

    layouts.make("prid2011", tmp_path / "root", identities=8, frames=3, height=32, width=16)
    run("prid2011", tmp_path / "root", tmp_path / "out", "--split", 2)
    description = json.loads((tmp_path / "out" / "packed.json").read_text())
    expected = datasets.load("prid2011", str(tmp_path / "root"), split=2).train.fingerprint()
    assert description["split"] == 2
    assert description["parts"]["train"]["fingerprint"] == expected


def test_lmdb(labelled_world, tmp_path, capsys):
    pytest.importorskip("lmdb")
    run("market1501", labelled_world, tmp_path / "out", "--format", "lmdb")
    assert capsys.readouterr().out.splitlines()[1].split() == ["train", "36", "pictures"]
    assert (tmp_path / "out" / "lmdb" / "data.mdb").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "tar"], "'tar'; expected one of array_record, lmdb"),
        (["--format", "lmdb", "--workers", "2"], "--workers does not go with --format lmdb"),
        (["--format", "lmdb", "--beam"], "--beam does not go with --format lmdb"),
        (["--beam-options", "x"], "without --beam"),
        (["--beam", "--workers", "2"], "--workers does not go with --beam"),
        (["--shard-images", "0"], "--shard-images is 0"),
        (["--split", "1"], "split 1 of market1501"),
    ],
)
def test_wrong_options(labelled_world, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run("market1501", labelled_world, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_help_names_the_defaults():
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    data_pack.add_options(parser)
    text = " ".join(parser.format_help().split())
    assert "(default: 10000)" in text
    assert "(default: array_record)" in text
    assert "None" not in text


def test_names_are_suggested(labelled_world, tmp_path):
    with pytest.raises(InputError, match="did you mean 'market1501'"):
        run("market", labelled_world, tmp_path / "out")
    with pytest.raises(InputError, match="DIR is ','"):
        run("market1501", ",", tmp_path / "out")
