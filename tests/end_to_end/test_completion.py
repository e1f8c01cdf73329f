"""The script for the shell completes commands, options and choices, in a real shell."""

import shutil
import subprocess

import pytest

from luperson_jax import cli

COMPLETE = """
source {script}
COMP_WORDS=({words})
COMP_CWORD={last}
_shtab_luperson
echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.main(["completion", "bash"]) == 0
    path = tmp_path_factory.mktemp("completion") / "luperson.bash"
    path.write_text(said.getvalue())
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["exp"], "export"),
        (["data", "ch"], "check"),
        (["export", "runs/bot", "--to", "box"], "boxmot"),
        (["search", "--gal"], "--gallery"),
        (["calibrate", "--no-such"], ""),
    ],
)
def test_bash_completes(script, words, expected):
    typed = ["luperson", *words]
    program = COMPLETE.format(script=script, words=" ".join(typed), last=len(words))
    found = subprocess.run(
        ["bash", "--norc", "-c", program], check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == expected


@pytest.mark.parametrize("shell", ["zsh", "tcsh", "fish"])
def test_other_shells_have_scripts_with_all_commands(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert all(name.rpartition(" ")[2] in said for name in cli.COMMANDS)
