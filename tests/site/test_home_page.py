"""The home page: the numbers of the catalog and the latest papers."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.catalog.invented import paper
from tools.site.answers import first_ranking, share_label
from tools.site.atlas import Atlas
from tools.site.pages import home


def test_latest_papers_are_sorted_by_first_public_version() -> None:
    papers = {
        "old": paper(submitted="2023-01-01", year=2023, added="2026-11-25"),
        "new": paper(submitted="2025-01-01", year=2025, added="2026-01-01"),
        "newest": paper(submitted="2025-06-01", year=2025, added="2026-01-02"),
    }
    page = dict(home.pages(Atlas(papers, {})))["index.md"].partition("Latest papers")[2]
    assert re.findall(r'href="papers/(\w+)\.html"', page) == ["newest", "new", "old"]


def test_the_page_says_how_many_papers_and_methods_there_are(real: Atlas) -> None:
    page = dict(home.pages(real))["index.md"]
    counts = real.counts
    assert counts.papers + 3 == counts.entries == len(real.papers)
    assert counts.implemented + counts.baselines == len(real.methods)
    assert f"{counts.papers} papers, {counts.implemented} methods reimplemented" in page
    assert f"{counts.implemented} of the {counts.methods} methods" in page


def test_the_citation_has_the_year_and_the_address(real: Atlas) -> None:
    page = dict(home.pages(replace(real, repository="https://example.org/atlas")))["index.md"]
    assert re.search(r"^  year = \{20\d\d\},$", page, re.MULTILINE)
    assert "  url = {https://example.org/atlas}," in page
    assert "The entry has no" not in page
    unknown = dict(home.pages(replace(real, repository="", site="")))["index.md"]
    assert "url = {" not in unknown
    assert "The entry has no `url`" in unknown


def test_the_link_of_a_panel_says_what_it_leads_to(real: Atlas) -> None:
    page = dict(home.pages(real))["index.md"]
    links = re.findall(r'leaderboard\.html\?share=([^&]+)&amp;class=[^"]*">([^<]*)</a>', page)
    panels = [(share, label) for share, label in links if label.startswith("All")]
    assert panels
    assert all(label == f"All results at {share_label(share)}" for share, label in panels)


def test_the_bars_of_all_panels_have_one_scale(real: Atlas) -> None:
    ranking = first_ranking(real)
    assert ranking
    bars = sorted(
        (one.ratio, panel.width(one)) for panel in home.panels(ranking) for one in panel.answers
    )
    assert len({round(width / (ratio - 1), 6) for ratio, width in bars}) == 1
    assert bars[-1][1] == 100
