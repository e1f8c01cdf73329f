"""Configurations are found by name, and settings come from them or from a workdir's recipe."""

import json

import pytest

from data_pipeline.errors import InputError
from luperson_jax import cli, config, main, shipped, tasks
from luperson_jax.commands import train
from luperson_jax.workdir import recipe_file


def parsed(*arguments):
    given = ["train", *map(str, arguments)]
    return cli.make_parser(given).parse_args(given)


@pytest.mark.parametrize("chosen", ["small", "small.py", "configs/small", "configs/small.py"])
def test_a_shipped_configuration_is_found_by_name_from_any_folder(chosen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.find(chosen) == str(shipped.folder() / "small.py")


def test_a_file_goes_before_a_shipped_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text("")
    assert shipped.find("small.py") == "small.py"


def test_the_end_of_a_name_does_where_no_other_ends_so(monkeypatch):
    assert shipped.find("mgn") == shipped.find("finetune_mgn")
    monkeypatch.setattr(shipped, "names", lambda: ["small", "two_small", "a_b", "c_b"])
    assert shipped.find("small").endswith("/small.py")
    with pytest.raises(InputError, match="'b' does not exist"):
        shipped.find("b")


def test_a_misspelt_configuration_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'finetune_bot'"):
        shipped.find("finetune_bo.py")


def test_changes_stand_anywhere_on_the_command_line(tmp_path):
    options = parsed("optim.lr=0.5", "--config", "small", "--workdir", tmp_path, "data.root=2024")
    settings = train._settings(options)
    assert (settings["optim"]["lr"], settings["data"]["root"]) == (0.5, "2024")


def test_a_workdir_is_enough_to_go_on(tmp_path):
    tree = config.read("small", options=tasks.OPTIONS)
    recipe = config.resolve(tree, tasks.OPTIONS)
    recipe_file.write(config.to_dict(recipe) | {"table": {"images": 3}}, tmp_path)
    settings = train._settings(parsed("--workdir", tmp_path))
    assert config.resolve(settings, tasks.OPTIONS) == recipe
    changed = train._settings(parsed("--workdir", tmp_path, "data.num_workers=7"))
    assert config.resolve(changed, tasks.OPTIONS).data.num_workers == 7
    assert "table" in json.loads((tmp_path / recipe_file.RECIPE_FILE).read_text())


def test_a_workdir_without_a_run_asks_for_a_configuration(tmp_path, capsys):
    assert cli.main(["train", "--workdir", str(tmp_path)]) == 2
    assert f"give --config, one of {', '.join(shipped.names())}, or" in capsys.readouterr().err


def test_help_and_version_of_training_end_well(capsys):
    assert main.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "--workdir" in text
    assert "Example:" in text
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("luperson_jax 0.")
