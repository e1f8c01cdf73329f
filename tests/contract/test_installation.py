"""What `make venv` installs can be imported from any folder."""

import os
import pathlib
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_a_clone_beside_a_script_does_not_hide_the_package(tmp_path):
    commands = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["distutils"]
    assert commands["editable_wheel"]["mode"] == "compat"
    if any(name.startswith("__editable___luperson_jax") for name in sys.modules):
        pytest.skip("installed in another mode; `make venv` installs anew")
    (tmp_path / "luperson_jax").mkdir()
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    asked = [sys.executable, "-c", "import luperson_jax; luperson_jax.__version__"]
    subprocess.run(asked, cwd=tmp_path, env=bare, check=True)
