"""Every method folder is found by its name and exports one method."""

from __future__ import annotations

import sys
import types

import pytest

from implementations.harness import BadInput, Method, get, methods
from implementations.harness.results import store


def test_get_returns_the_method_of_every_folder():
    assert {"magnitude", "wanda", "sparsegpt", "flap", "shortgpt"} <= set(methods())
    assert "harness" not in methods()
    for slug in methods():
        assert issubclass(get(slug), Method)
        assert get(slug).slug() == slug


def test_method_folder_needs_a_file_of_the_same_name(tmp_path):
    for path in ("river/river.py", "stone/other.py", "lantern/lantern.txt", "amber/amber.py"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).touch()
    assert methods(tmp_path) == ["amber", "river"]


def test_unknown_name_gets_a_suggestion():
    with pytest.raises(BadInput, match="unknown method 'sparsgpt'; did you mean 'sparsegpt'"):
        get("sparsgpt")
    with pytest.raises(BadInput, match=r"choose one of [a-z, ]*flap, [a-z, ]*magnitude"):
        get("zzz")


@pytest.mark.parametrize("slugs", [[], ["magnitude", "wanda"]])
def test_refuses_folder_without_exactly_one_method(slugs, monkeypatch):
    module = types.ModuleType("implementations.two")
    vars(module).update({slug: get(slug) for slug in slugs})
    known = methods()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(store, "methods", lambda: [*known, "two"])
    with pytest.raises(BadInput, match=f"implementations/two/__init__.py .* got {len(slugs)}"):
        get("two")
