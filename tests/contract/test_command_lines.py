"""Every command says what it takes, with an example, and starts without what it does not need."""

import argparse
import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from luperson_jax import cli, config, main
from luperson_jax.augment.recipes import STATISTICS
from luperson_jax.clustering import grouping
from luperson_jax.commands import train
from luperson_jax.commands.options import shared
from luperson_jax.retrieval import inputs, protocols, verification
from luperson_jax.weights.families import FAMILIES

HEAVY = {"jax", "flax", "orbax", "optax", "grain", "matplotlib", "sklearn", "torch", "tensorflow"}
WITH_MAIN = "from luperson_jax import config, main"
LIGHT_COMMANDS = [
    ["--help"],
    ["--version"],
    *([*name.split(), "--help"] for name in cli.COMMANDS),
    ["data", "make", "--layout", "folder", "--root", "{folder}/drawn", "--identities", "2"],
    ["data", "check", "image_folder", "{folder}/drawn"],
]
UNITS = re.compile(
    r"\b(pictures|pixels|people|cameras|identities|frames|passes|processes|threads|runs|ranks|"
    r"number|share, 0 to 1|quality)\b"
)
STARTS = """
import contextlib, io, json, sys
from luperson_jax import cli
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        cli.main(arguments)
print(json.dumps(sorted(sys.modules)))
"""


def modules_after(commands, folder, before=""):
    """The modules that a process holds after an import and some commands."""
    texts = [[part.format(folder=folder) for part in command] for command in commands]
    run = [sys.executable, "-c", before + STARTS, json.dumps(texts)]
    return set(json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout))


def leaf(name):
    """The parser of one command, with its options."""
    parser = cli.make_parser(name.split())
    for word in name.split():
        actions = parser._actions
        parser = next(a for a in actions if isinstance(a, argparse._SubParsersAction)).choices[word]
    return parser


def test_help_and_data_commands_import_nothing_heavy(tmp_path):
    assert not modules_after(LIGHT_COMMANDS, tmp_path, WITH_MAIN) & HEAVY
    assert len(list((tmp_path / "drawn").rglob("*.jpg"))) > 2


def test_ranking_saved_embeddings_on_a_cpu_imports_nothing_heavy(tmp_path):
    features = np.eye(4, 3, dtype=np.float32)
    labels = {"pid": np.array([0, 1, 0, 1]), "camera": np.arange(4)}
    np.savez(tmp_path / "all.npz", features=features, **labels)
    path = "{folder}/all.npz"
    command = ["metrics", "--query", path, "--gallery", path, "--json", "{folder}/out.json"]
    unneeded = {"jaxtyping", "absl", "numpy.ma", "numpy.random"}  # each a tenth of the start
    assert modules_after([command], tmp_path) & (HEAVY | unneeded) == set()
    assert (tmp_path / "out.json").exists()


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_an_example_that_parses(name):
    _, mark, example = (leaf(name).description or "").partition("\n\nExample:\n")
    assert mark, f"{name} --help has no example"
    for line in example.replace("\\\n", " ").strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "luperson"
        assert arguments[: len(name.split())] == name.split()
        cli.make_parser(arguments).parse_args(arguments)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_has_a_help(name):
    bare = [action.dest for action in leaf(name)._actions if not action.help]
    assert not bare


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_number_has_its_unit_and_its_default(name):
    parser = leaf(name)
    for action in parser._actions:
        words = parser._get_formatter()._expand_help(action)
        if action.type in (int, float):
            assert action.required or "(default: " in words, words
            assert UNITS.search(words), f"{action.dest}: {words}"
        assert words.count("default") <= 1 or action.nargs == 0, words


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        (["emebd"], "'embed'"),
        (["data", "mkae"], "'data make'"),
        (["metrics", "--qurey", "a.npz"], "'--query'"),
        (["embed", "a.jpg", "--workdir", "w", "--out", "f.npz", "--batchsize=3"], "'--batch-size'"),
    ],
)
def test_misspelt_commands_and_options_name_the_nearest(given, nearest, capsys):
    assert cli.main(given) == 2
    assert f"did you mean {nearest}?" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["optim.lr=2", "--config.optim.lr=2", "-config.optim.lr 2"])
def test_both_command_lines_change_settings_alike(change, monkeypatch):
    given = ["--workdir", "w", *change.split(), "--config", "small", "data.root=2024"]
    taken = []
    monkeypatch.setattr(train, "run", lambda options, *_: taken.append(vars(options)) or 0)
    assert cli.main(["train", *given]) == main.main(given) == 0
    assert taken[0].pop("command") == "train"
    assert taken[0] == taken[1]
    assert taken[0]["changes"] == ["optim.lr=2", "data.root=2024"]


def test_options_of_both_spellings_say_where_a_process_stands():
    given = ["train", "--workdir", "w", "--num_processes=2", "--process-id=1", "--distributed"]
    options = cli.make_parser(given).parse_args(given)
    assert (options.num_processes, options.process_id, options.distributed) == (2, 1, True)


def test_version_is_said(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("luperson_jax 0.")


def test_choices_are_those_of_the_program():
    assert shared.METRICS == inputs.METRICS
    assert tuple(protocols.PROTOCOLS) == shared.PROTOCOLS
    assert shared.PAIRS == verification.RULES
    assert tuple(FAMILIES) == shared.FAMILIES
    assert set(grouping.METHODS) == set(shared.CLUSTERINGS)
    assert tuple(STATISTICS) == shared.STATISTICS
    assert config.EvalConfig().batch_size == shared.BATCH_SIZE
