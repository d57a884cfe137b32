"""The catalog as an Awesome list: `LIST.md`, with two lines per paper, newest first.

Methods and baselines are grouped by their finest granularity, in the order of the vocabulary; other
kinds of work, such as surveys, have their own groups. Baselines without a paper are omitted. The
first line of a paper has the usual format of such lists, the second one its status in this
repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tools.catalog.schema.addresses import best_code, best_page
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import UNKNOWN, vocabulary

GROUPS = {
    "survey": "Surveys",
    "benchmark": "Benchmarks",
    "analysis": "Analyses",
    "theory": "Theory",
    "unstructured": "Weight-level pruning",
    "structured": "Structured pruning",
    "semi-structured": "Semi-structured pruning",
    "block-sparse": "Block-sparse pruning",
    "activation": "Activation sparsity",
    UNKNOWN: "Pruning of unknown granularity",
    "system": "Systems and kernels",
    "toolkit": "Toolkits",
    "model-release": "Released models",
}
"""Headings by kind or granularity, in order."""


def listing(papers: Mapping[str, Paper], methods: Mapping[str, bool]) -> str:
    """Return the list of all papers as Markdown, with links relative to the top of the repository.

    `methods` maps each slug with a method folder to whether it has published records.
    """
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    for word in (anchor, best_code, best_page, date, destination, plain, venue):
        templates.filters[word.__name__] = word
    groups = grouped(papers)
    listed = [slug for slugs in groups.values() for slug in slugs]
    return templates.get_template("LIST.md.jinja").render(
        papers=papers,
        groups=groups,
        headings=GROUPS,
        listed=listed,
        last=max((papers[slug].added for slug in listed), default="no date"),
        implemented=[slug for slug in listed if slug in methods],
        methods=methods,
        measured=[slug for slug in methods if methods[slug]],
        depths=vocabulary()["read"].terms.values(),
    )


def grouped(papers: Mapping[str, Paper]) -> dict[str, list[str]]:
    """Return the slugs of each non-empty group, newest first."""
    listed = sorted(slug for slug, paper in papers.items() if paper.has_paper)
    newest = sorted(listed, key=lambda slug: date(papers[slug]), reverse=True)
    members = {name: [s for s in newest if group(papers[s]) == name] for name in GROUPS}
    return {name: slugs for name, slugs in members.items() if slugs}


def group(paper: Paper) -> str:
    """Return the group of a paper: the finest granularity of a method, or the kind of work."""
    if not paper.is_method:
        return paper.kind
    order = list(vocabulary()["granularity"].terms)
    words = paper.taxonomy.granularity if paper.taxonomy else ()
    return min(words, key=order.index, default=UNKNOWN)


def date(paper: Paper) -> str:
    """Return the date of the first public version, if known: `2023-01-02` or `2015`."""
    return paper.submitted or paper.published or str(paper.year)


def venue(paper: Paper) -> str:
    """Return venue and year, such as `Findings of ACL 2024`, or `arXiv` or `preprint`."""
    if paper.venue:
        return f"{vocabulary()['venues'].terms[paper.venue].label} {paper.year}"
    return "arXiv" if paper.ids.arxiv else "preprint"


def plain(text: str) -> str:
    """Escape Markdown markup."""
    return re.sub(r"([\\`*_\[\]<>&#|~\"$])", r"\\\1", text)


def destination(address: str) -> str:
    """Escape the parentheses in an address, so that they do not end the link."""
    return address.replace("(", "%28").replace(")", "%29")


def anchor(heading: str) -> str:
    """Return the anchor that GitHub generates for a heading."""
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
