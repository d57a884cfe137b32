"""The Content-Security-Policy: what it allows, and that pages obey it."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from tools.site.policy import protect


def policy(page: str) -> dict[str, str]:
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert found
    return dict(part.split(" ", 1) for part in found[1].split("; "))


def digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def test_scripts_of_the_theme_are_allowed_and_scripts_in_the_content_are_not() -> None:
    content = "<p>text</p><script>evil()</script>"
    page = f"<head><script>theme()</script></head><body>{content}</body>"
    allowed = policy(protect(page, content))["script-src"].split()
    assert digest("theme()") in allowed
    assert digest("evil()") not in allowed
    assert "'unsafe-inline'" not in allowed


def test_every_page_has_a_policy_and_nothing_inline_beside_the_theme(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert policy(text)["default-src"] == "'none'", path.name
        assert not re.search(r"<[a-z][^>]* style=", text), f"{path.name}: an inline style"
        assert not re.search(r"<[a-z][^>]* on[a-z]+=", text), f"{path.name}: an inline handler"


def test_source_maps_stay_out(site: Path) -> None:
    assert list(site.rglob("*.map")) == []


def test_the_header_leads_to_the_repository_and_a_missing_page_leads_on(site: Path) -> None:
    for path in ("index.html", "404.html", "papers/sparsegpt.html"):
        page = (site / path).read_text(encoding="utf-8")
        (link,) = set(re.findall(r'<a href="([^"]*)" class="md-source"', page))
        assert link == "https://example.org/atlas"
        assert 'data-md-component="source"' not in page  # it would ask the host for stars
    lost = (site / "404.html").read_text(encoding="utf-8").partition("<article")[2]
    for path in ("catalog", "leaderboard", "taxonomy", "index"):
        assert f'href="/{path}.html"' in lost
