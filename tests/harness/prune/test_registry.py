"""A folder is a method: it is found by its name, and exports one."""

from __future__ import annotations

import sys
import types

import pytest

from implementations.harness import BadInput, Method, get, methods
from implementations.harness.prune import registry


def test_every_folder_gives_a_method_of_its_name():
    assert {"magnitude", "wanda", "sparsegpt", "flap", "shortgpt"} <= set(methods())
    assert "harness" not in methods()
    for slug in methods():
        assert issubclass(get(slug), Method)
        assert get(slug).slug() == slug


def test_only_a_folder_with_a_file_of_its_name_counts(tmp_path):
    for path in ("river/river.py", "stone/other.py", "lantern/lantern.txt", "amber/amber.py"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).touch()
    assert methods(tmp_path) == ["amber", "river"]


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(BadInput, match="unknown method 'sparsgpt'; did you mean 'sparsegpt'"):
        get("sparsgpt")
    with pytest.raises(BadInput, match=r"there are [a-z, ]*flap, [a-z, ]*magnitude"):
        get("zzz")


@pytest.mark.parametrize("slugs", [[], ["magnitude", "wanda"]])
def test_a_folder_exports_one_method(slugs, monkeypatch):
    module = types.ModuleType("implementations.two")
    vars(module).update({slug: get(slug) for slug in slugs})
    known = methods()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "methods", lambda: [*known, "two"])
    with pytest.raises(BadInput, match=f"implementations/two/__init__.py .* not {len(slugs)}"):
        get("two")
