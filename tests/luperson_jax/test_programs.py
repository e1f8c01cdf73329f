"""Where compiled programs are kept."""

import jax
import pytest

from luperson_jax.run import programs


@pytest.fixture
def told(monkeypatch):
    """What JAX is told, and nothing at first."""
    told = {}
    monkeypatch.delenv(programs.VARIABLE, raising=False)
    monkeypatch.setattr(jax.config, "update", told.__setitem__)
    former = jax.config.jax_compilation_cache_dir
    monkeypatch.setattr(type(jax.config), "jax_compilation_cache_dir", None)
    yield told
    assert former  # the tests keep a cache of their own


def test_programs_are_kept_in_the_folder_for_caches(told, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    programs.keep()
    place = programs.folder()
    assert place is not None
    assert place.is_dir()
    assert place.parent == tmp_path / "caches" / "luperson_jax"
    assert told["jax_compilation_cache_dir"] == str(place)
    assert told["jax_compilation_cache_max_size"] == programs.MAX_BYTES


def test_the_variable_names_another_folder_or_none(told, tmp_path, monkeypatch):
    monkeypatch.setenv(programs.VARIABLE, programs.OFF)
    programs.keep()
    assert not told
    monkeypatch.setenv(programs.VARIABLE, str(tmp_path / "mine"))
    programs.keep()
    assert told["jax_compilation_cache_dir"].startswith(str(tmp_path / "mine"))


def test_a_place_that_is_no_folder_keeps_nothing(told, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(programs.VARIABLE, str(tmp_path / "file"))
    programs.keep()
    assert not told


def test_a_folder_that_was_chosen_stays(monkeypatch):
    told = {}
    monkeypatch.setattr(jax.config, "update", told.__setitem__)
    assert jax.config.jax_compilation_cache_dir
    programs.keep()
    assert not told
