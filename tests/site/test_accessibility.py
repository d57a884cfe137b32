"""Every kind of page under axe-core, in both colour schemes, with nothing excluded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tools.site.access import focusable_code

PAGES = (
    "index.html",
    "catalog.html",
    "claims.html",
    "claims/llama-7b.html",
    "leaderboard.html",
    "compare.html",
    "lineage.html",
    "lineage/whole.html",
    "choose.html",
    "use.html",
    "learn.html",
    "measure.html",
    "contribute.html",
    "design.html",
    "news.html",
    "read.html",
    "timeline.html",
    "topics.html",
    "topics/safety.html",
    "taxonomy.html",
    "taxonomy/criterion-magnitude.html",
    "untried.html",
    "api/harness.html",
    "papers/sparsegpt.html",
    "papers/bonsai.html",
    "papers/zhu2024survey.html",
    "records/sparsegpt.html",
    "404.html",
)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious(visit: Callable[..., Any], path: str, scheme: str) -> None:
    page = visit(scheme=scheme).open(path)
    found = [
        f"{violation['id']} ({violation['impact']}): {node['target']} {node['failureSummary']}"
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert found == []


def test_code_can_be_reached_by_keyboard() -> None:
    assert focusable_code("<pre><span></span><code>x</code></pre>") == (
        '<pre><span></span><code tabindex="0">x</code></pre>'
    )
    assert focusable_code("<p><code>x</code></p>") == "<p><code>x</code></p>"
