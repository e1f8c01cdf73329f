"""Which room may import which."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

FORBIDDEN = {
    "data_pipeline": ("jax", "flax", "luperson_jax", "configs"),
    "luperson_jax/losses": ("flax", "luperson_jax.models", "luperson_jax.tasks"),
    "luperson_jax/augment": ("flax", "luperson_jax.models", "luperson_jax.tasks"),
    "luperson_jax/retrieval": (
        *("flax", "luperson_jax.models", "luperson_jax.losses", "luperson_jax.tasks"),
    ),
    "luperson_jax/clustering": (
        *("flax", "luperson_jax.models", "luperson_jax.losses", "luperson_jax.tasks"),
    ),
    "luperson_jax/models": ("luperson_jax.tasks", "luperson_jax.run.loop", "luperson_jax.losses"),
    "luperson_jax/tasks": ("flax", "luperson_jax.run.loop", "luperson_jax.measure.evaluation"),
    "luperson_jax/weights": ("luperson_jax.tasks", "luperson_jax.run", "luperson_jax.measure"),
    "luperson_jax/weights/families": ("numpy", "jax", "luperson_jax.tasks", "luperson_jax.models"),
    "luperson_jax": ("configs", "torch", "tensorflow"),
}

ONLY_BASE = ("run", "measure")
BASE = "luperson_jax.tasks.base"


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


@pytest.mark.parametrize("room", ONLY_BASE)
def test_the_loop_and_its_measures_know_no_task_in_particular(room):
    for path in (ROOT / "luperson_jax" / room).glob("*.py"):
        tasks = {one for one in imports_of(path) if one.startswith("luperson_jax.tasks")}
        assert all(one.startswith("luperson_jax.tasks.base") for one in tasks | {BASE}), path


def modules() -> dict[str, pathlib.Path]:
    """Every module of both packages."""
    found = {}
    for package in ("luperson_jax", "data_pipeline"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def circles(arrows: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Pairs that reach each other."""
    reached = {}
    for start in arrows:
        waiting, seen = [start], set()
        while waiting:
            for one in arrows.get(waiting.pop(), set()) - seen:
                seen.add(one)
                waiting.append(one)
        reached[start] = seen
    return {(a, b) for a in reached for b in reached[a] if a < b and a in reached.get(b, ())}


def test_no_circles_between_files():
    known = modules()
    arrows = {one: (imports_of(path) & known.keys()) - {one} for one, path in known.items()}
    # A package is imported with each of its modules, which its `__init__` may import in turn.
    inside = {
        one: {to for to in every if not one.startswith(f"{to}.")} for one, every in arrows.items()
    }
    assert not circles(inside)


def test_no_circles_between_folders():
    known = modules()
    arrows: dict[str, set[str]] = {}
    for one, path in known.items():
        for to in imports_of(path) & known.keys():
            if room(one) != room(to):
                arrows.setdefault(room(one), set()).add(room(to))
    assert circles(arrows) == set()


def room(module: str) -> str:
    """Its folder of the first level, or the module itself where it lies above them."""
    first, *rest = module.split(".")
    return f"{first}.{rest[0]}" if rest else first
