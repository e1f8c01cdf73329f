"""Which room may import which."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

FORBIDDEN = {
    "data_pipeline": ("jax", "flax", "luperson_jax", "configs"),
    "luperson_jax/losses": ("flax", "luperson_jax.models", "luperson_jax.tasks"),
    "luperson_jax/augment": ("flax", "luperson_jax.models", "luperson_jax.tasks"),
    "luperson_jax/retrieval": ("flax", "luperson_jax.models", "luperson_jax.tasks"),
    "luperson_jax/clustering": ("flax", "luperson_jax.models", "luperson_jax.tasks"),
    "luperson_jax/models": ("luperson_jax.tasks", "luperson_jax.train", "luperson_jax.losses"),
    "luperson_jax/tasks": ("flax", "luperson_jax.train", "luperson_jax.evaluate"),
    "luperson_jax/convert/families": ("numpy", "jax", "luperson_jax.tasks", "luperson_jax.models"),
    "luperson_jax": ("configs", "torch", "tensorflow"),
}

ONLY_BASE = ("train.py", "evaluate.py")


def imports_of(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_import_only_downwards(room):
    for path in (ROOT / room).rglob("*.py"):
        for name in imports_of(path):
            for banned in FORBIDDEN[room]:
                assert name != banned, f"{path.relative_to(ROOT)} imports {name}"
                assert not name.startswith(banned + "."), f"{path.relative_to(ROOT)}: {name}"


def test_flax_is_confined_to_the_models():
    for path in (ROOT / "luperson_jax").rglob("*.py"):
        if "models" not in path.parts:
            assert not any(name.split(".")[0] == "flax" for name in imports_of(path)), path


@pytest.mark.parametrize("name", ONLY_BASE)
def test_the_loop_knows_no_task_in_particular(name):
    tasks = {one for one in imports_of(ROOT / "luperson_jax" / name) if ".tasks" in one}
    assert tasks
    assert all(one.startswith("luperson_jax.tasks.base") for one in tasks)
