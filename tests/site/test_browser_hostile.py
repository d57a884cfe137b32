"""Hostile text that passed all checks has no effect on the site."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mkdocs.commands.build import build as build_site
from mkdocs.config import load_config

from implementations.harness.results.record import Record
from tools.catalog.entries.loader import load_catalog
from tools.catalog.schema.paper import (
    Claim,
    Code,
    Datasets,
    Ids,
    Links,
    Outside,
    Paper,
    Relations,
    Sources,
    Taxonomy,
)
from tools.site.atlas import Atlas, read
from tools.site.output import write
from tools.site.pages import make

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</script><script>alert(3)</script>",
    "</title><script>alert(4)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "[click](javascript:alert(5))",
    "\n\n<div onclick='alert(6)'>\n\n# Heading\n\n```\n</code></pre>",
    "'];alert(7);//",
    "\u202etxet desrever",
    "$\\href{javascript:alert(8)}{x}$",
    "&lt;script&gt;",
)
WORDS = " ".join(ATTACKS)
LONG = WORDS + " " + "x" * 10_000
SCRIPT = "javascript:alert(9)"


def hostile() -> Paper:
    """Make an entry with hostile text in every free-text field."""
    return Paper.model_construct(
        title=LONG,
        name=WORDS[:400],
        other_titles=(WORDS,),
        authors=(WORDS, LONG),
        kind="method",
        role="plug-in",
        summary=LONG,
        bibkey=WORDS,
        venue="icml",
        year=2024,
        status="published",
        volume=WORDS,
        number=WORDS,
        pages=WORDS,
        submitted="2024",
        published="2024",
        added="2026-11-25",
        ids=Ids.model_construct(arxiv=WORDS, doi=WORDS, openreview=SCRIPT),
        links=Links.model_construct(venue=SCRIPT, paper='https://x"onclick="alert(10)'),
        code=(Code.model_construct(url=SCRIPT, official=True, license=WORDS, note=LONG),),
        taxonomy=Taxonomy.model_construct(
            granularity=("structured",), criterion=("magnitude",), calibration="none"
        ),
        models=(WORDS,),
        datasets=Datasets.model_construct(calibration=(WORDS,)),
        claims=(
            Claim.model_construct(
                model=WORDS, setting=LONG, metric=WORDS, value=1.0, dense=1.0, where=WORDS,
                against={"wanda": 2.0, WORDS: 3.0}, sparsity=0.5,
            ),
        ),
        relations=Relations.model_construct(
            builds_on=("wanda", Outside.model_construct(arxiv=WORDS, title=WORDS, year=1990))
        ),
        fidelity=None,
        sources=Sources.model_construct(checked=WORDS, from_=(LONG,), unverified=(WORDS,)),
        notes=LONG,
    )  # fmt: skip


def hostile_record(good: Record) -> Record:
    """Return a record with hostile text in every text field."""
    return good.model_copy(
        update={
            "command": f"```\n{WORDS}\n```\n",
            "configuration": {"sparsity": 0.5, WORDS: LONG},
            "disjoint": WORDS,
            "sample": LONG,
            "warnings": (WORDS,),
            "model": good.model.model_copy(
                update={"name": WORDS, "source": SCRIPT, "family": WORDS, "dtype": WORDS}
            ),
            "hardware": good.hardware.model_copy(update={"cpu": WORDS, "system": WORDS}),
            "versions": {WORDS: WORDS},
        }
    )


def unread(atlas: Atlas) -> set[str]:
    """Return the pages of papers that no test opens, which take long to build."""
    return {f"papers/{slug}.md" for slug in set(atlas.papers) - {"hostile", "wanda", "magnitude"}}


@pytest.fixture(scope="module")
def hostile_site(
    bare_checkout: Path,
    tmp_path_factory: pytest.TempPathFactory,
    served: Callable[[Path], Any],
    records: list[Record],
) -> Iterator[str]:
    """A site with hostile entries, two of them of implemented methods, and a hostile record."""

    def catalog(folder: Path) -> Mapping[str, Paper]:
        papers = load_catalog(folder)
        name = "[x](javascript:alert(1)) <b>"
        words = {"name": name, "title": LONG, "summary": LONG, "authors": (WORDS, LONG)}
        implemented = {slug: papers[slug].model_copy(update=words) for slug in ("wanda", "displlm")}
        return {**papers, **implemented, "hostile": hostile()}

    def measured(_: object) -> list[Record]:
        return [hostile_record(one) if one.method == "wanda" else one for one in records]

    site = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tools.site.atlas.load_catalog", catalog)
        patched.setattr("tools.site.atlas.load_records", measured)
        patched.setenv("NO_MKDOCS_2_WARNING", "1")
        atlas = read(bare_checkout)
        pages = {path: text for path, text in make(atlas).items() if path not in unread(atlas)}
        write(bare_checkout / "build" / "docs", pages, bare_checkout / "docs" / "assets")
        build_site(load_config(str(bare_checkout / "mkdocs.yml"), site_dir=str(site)))
    with served(site) as address:
        yield address


@pytest.mark.browser
@pytest.mark.parametrize(
    "path",
    [
        "papers/hostile.html",
        "papers/wanda.html",
        "papers/magnitude.html",
        "learn/how-we-measure.html",
        "index.html",
        "catalog.html",
        "choose.html",
        "claims.html",
        "leaderboard.html",
        "replication.html",
        "use.html",
        "learn/index.html",
        "learn/reading-order.html",
        "learn/glossary.html",
    ],
)
def test_hostile_text_is_displayed_without_effect(
    visit: Callable[..., Any], hostile_site: str, path: str
) -> None:
    visitor = visit(home=hostile_site)
    dialogs: list[str] = []
    visitor.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page = visitor.open(path)
    for element in page.locator("summary").all()[:5]:
        if element.is_visible():
            element.click()
            page.keyboard.press("Escape")  # an open menu may cover the next one
    assert visitor.complaints == []
    assert dialogs == []
    assert page.locator("[onclick], [onerror], [onload], img[src='x']").count() == 0
    assert (
        page.locator("a[href^='javascript:'], a[href^='data:'], a[href^='vbscript:']").count() == 0
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    # Header and footer of the page are intact.
    assert page.locator("header.md-header").count() == 1
    assert page.locator("footer.md-footer").is_visible()


@pytest.mark.browser
def test_hostile_text_is_readable(visit: Callable[..., Any], hostile_site: str) -> None:
    text = visit(home=hostile_site).open("papers/hostile.html").inner_text(".md-content")
    assert "<script>alert(1)</script>" in text
    assert "{{ 7 * 7 }}" in text
    assert "\u202e" not in text
