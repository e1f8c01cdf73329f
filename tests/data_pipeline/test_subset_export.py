import argparse

import numpy as np
import pytest

from data_pipeline import datasets, subsets
from data_pipeline.errors import InputError
from data_pipeline.subsets import cmpe, draw, export, lists
from luperson_jax.commands import data_split
from tests.subset_tables import TABLE, make_market, names_of, write


def test_corrected_cmpe_parts_share_nobody_and_make_up_the_whole():
    for seed in range(5):
        finetune, pretrain = (
            subsets.apply(TABLE, "", subset, seed=seed)
            for subset in ("cmpe_finetune", "cmpe_pretrain")
        )
        assert not {*finetune.pid} & {*pretrain.pid}
        assert names_of(finetune) | names_of(pretrain) == names_of(TABLE)
        assert (finetune.num_ids, pretrain.num_ids) == (2, 18)


def test_cmpe_finetuning_follows_lupersons_list(tmp_path):
    write(tmp_path / "few_ids" / "used_ids_0.10.txt", "2 \n59 \n")
    assert {*subsets.apply(TABLE, str(tmp_path), "cmpe_finetune").pid} == {2, 59}
    assert not {*subsets.apply(TABLE, str(tmp_path), "cmpe_pretrain").pid} & {2, 59}


def test_cmpe_lists_are_written_labelled_and_followed(tmp_path):
    write(tmp_path / "data" / "few_ids" / "used_ids_0.10.txt", "2 \n59 \n")
    written = export.write(TABLE, "cmpe", [], str(tmp_path / "out"), str(tmp_path / "data"))
    assert [one.num_ids for one in written[:2]] == [2, 18]
    heads = [one.path.read_text().split("\n")[0] for one in written]
    assert "fine-tuning part: 2 of 20" in heads[0]
    assert "corrected" in heads[1]
    assert "as published, by inference" in heads[2]
    assert "shares 1 of the 2 identities" in written[2].path.read_text()
    for subset in ("cmpe_finetune", "cmpe_pretrain", "cmpe_pretrain_published"):
        found = subsets.select(TABLE, str(tmp_path / "out"), subset)
        assert found.source.startswith(str(tmp_path / "out" / "cmpe597"))
        beside = subsets.select(TABLE, str(tmp_path / "data"), subset)
        np.testing.assert_array_equal(found.rows, beside.rows)


def test_a_cmpe_list_that_overlaps_is_refused(tmp_path):
    export.write(TABLE, "cmpe", [], str(tmp_path))
    finetune, pretrain = (tmp_path / name for name in (cmpe.FINETUNE_FILE, cmpe.PRETRAIN_FILE))
    both = [lists.read_ids(finetune), lists.read_ids(pretrain)]
    both[1][0] = both[0][0]
    pretrain.write_text("\n".join(map(str, both[1])))
    with pytest.raises(InputError, match="shares 1 identities with the fine-tuning part"):
        subsets.apply(TABLE, str(tmp_path), "cmpe_pretrain")


def test_lists_are_never_overwritten(tmp_path):
    (first,) = export.write(TABLE, "ids", [0.2], str(tmp_path))
    before = first.path.read_bytes()
    with pytest.raises(InputError, match="never overwritten"):
        export.write(TABLE, "ids", [0.1, 0.2], str(tmp_path), seed=1)
    assert first.path.read_bytes() == before
    assert [path.name for path in first.path.parent.iterdir()] == ["used_ids_0.20.txt"]
    with pytest.raises(InputError, match="never overwritten"):
        lists.write_ids(first.path, [1])


def split(root, out, *arguments: str) -> None:
    parser = argparse.ArgumentParser()
    data_split.add_options(parser)
    options = ["--dataset", "market1501", "--root", str(root), "--out", str(out), *arguments]
    data_split.run(parser.parse_args(options))


def test_the_command_writes_what_a_run_finds(tmp_path, capsys):
    root = make_market(tmp_path / "market")
    split(root, root, "--mode", "ids", "--ratios", "0.1,0.5")
    split(root, root, "--mode", "images", "--seed", "3")
    said = capsys.readouterr().out
    table = datasets.load("market1501", str(root)).train
    part = subsets.ids(table, 0.5, str(root), seed=99)
    assert f"used_ids_0.50.txt: 10 identities, {len(part)} images" in said
    assert f"of 20 identities, {len(table)} images of market1501" in said
    assert names_of(part) == names_of(subsets.ids(TABLE, 0.5))
    for ratio in (0.1, 0.4, 1.0):
        found = subsets.images(table, ratio, str(root), seed=99)
        assert names_of(found) == names_of(subsets.images(TABLE, ratio, seed=3))
    ids_text = (root / "few_ids" / "used_ids_0.10.txt").read_bytes()
    assert ids_text == b"".join(b"%d \n" % one for one in draw.draw_ids(TABLE, 0.1, 0))
    images_text = (root / "few_ims" / "used_ims_1.00.txt").read_bytes()
    assert images_text.startswith(b"0002_c1_00.jpg; 0; 0 \r\n0002_c2_01.jpg; 0; 1 \r\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "idz"], "did you mean 'ids'"),
        (["--mode", "ids", "--ratios", "0.1,x"], "expected numbers"),
        (["--mode", "ids", "--ratios", "0.1,0.10"], "each once"),
        (["--mode", "ids", "--ratios", ","], "one or more"),
        (["--mode", "ids", "--ratios", "2"], "ratio"),
        (["--mode", "ids", "--split", "1"], "split 1"),
    ],
)
def test_the_command_refuses_mistakes(tmp_path, arguments, message):
    root = make_market(tmp_path / "market")
    with pytest.raises(InputError, match=message):
        split(root, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_the_command_says_where_it_cannot_write(tmp_path):
    root = make_market(tmp_path / "market")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot make the folder"):
        split(root, tmp_path / "file", "--mode", "ids")
