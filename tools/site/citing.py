"""Metadata in the head of a paper's page, for reference managers, search engines and previews."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

from tools.catalog.schema.addresses import best_page
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas
from tools.site.render import data, printable


def head(slug: str, paper: Paper, atlas: Atlas) -> str:
    """Return the metadata elements for the head of a paper's page.

    A baseline without a paper has only preview tags.
    """
    tags = [_meta("property", *pair) for pair in _preview(slug, paper, atlas)]
    if paper.has_paper:
        tags += [_meta("name", *pair) for pair in _citation(paper)]
        linked = data(_linked(slug, paper, atlas))
        tags.append(f'<script type="application/ld+json">{linked}</script>')
    return "\n".join(tags)


def _preview(slug: str, paper: Paper, atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the tags for link previews (Open Graph)."""
    yield "og:type", "article"
    yield "og:site_name", "Pruning Atlas"
    yield "og:title", paper.title
    yield "og:description", paper.summary
    if atlas.site:
        yield "og:url", atlas.address(f"papers/{slug}.html")


def _citation(paper: Paper) -> Iterator[tuple[str, str]]:
    """Yield the tags for reference managers (Highwire Press), without empty ones."""
    yield "citation_title", paper.title
    for author in paper.authors or ():
        yield "citation_author", author
    first, _, last = (paper.pages or "").partition("-")
    venue = vocabulary()["venues"].terms.get(paper.venue or "")
    fields = {
        "citation_publication_date": _published(paper).replace("-", "/"),
        "citation_journal_title": venue.definition if venue and venue.journal else "",
        "citation_conference_title": venue.definition if venue and not venue.journal else "",
        "citation_volume": paper.volume,
        "citation_issue": paper.number,
        "citation_firstpage": first,
        "citation_lastpage": last,
        "citation_doi": paper.ids.doi,
        "citation_arxiv_id": paper.ids.arxiv,
        "citation_pdf_url": f"https://arxiv.org/pdf/{paper.ids.arxiv}" if paper.ids.arxiv else "",
        "citation_public_url": best_page(paper),
    }
    yield from ((name, value) for name, value in fields.items() if value)


def _linked(slug: str, paper: Paper, atlas: Atlas) -> dict[str, Any]:
    """Describe the paper as JSON-LD with the terms of schema.org."""
    venue = vocabulary()["venues"].terms.get(paper.venue or "")
    fields = {
        "@context": "https://schema.org",
        "@type": "ScholarlyArticle",
        "headline": paper.title,
        "alternativeHeadline": paper.name,
        "author": [{"@type": "Person", "name": author} for author in paper.authors or ()],
        "datePublished": _published(paper),
        "abstract": paper.summary,
        "isPartOf": venue and {"@type": "PublicationVolume", "name": venue.definition},
        "pagination": paper.pages,
        "identifier": paper.ids.doi or (paper.ids.arxiv and f"arXiv:{paper.ids.arxiv}"),
        "sameAs": [address for _, address in paper.addresses],
        "mainEntityOfPage": atlas.site and atlas.address(f"papers/{slug}.html"),
    }
    return {name: value for name, value in fields.items() if value}


def _published(paper: Paper) -> str:
    """Return the date of publication in the venue, or of the preprint if there is no venue."""
    known = paper.published if paper.venue else paper.submitted
    return known or str(paper.year)


def _meta(kind: str, name: str, value: str) -> str:
    return f'<meta {kind}="{name}" content="{html.escape(printable(value))}">'
