"""The catalog as an Awesome list: `LIST.md`, one line a paper, newest first.

Every paper stands once, by what its entry says; baselines without a paper are left out. A method
or baseline is in the group of its finest granularity, in the order of the vocabulary: weights
anywhere, then N:M, then whole units. Other kinds of work, such as surveys, are groups of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tools.catalog.schema.addresses import best_code, best_page
from tools.catalog.schema.identifiers import page
from tools.catalog.schema.paper import Code, Paper
from tools.catalog.schema.vocabulary import vocabulary

GROUPS = {
    "survey": "Surveys",
    "benchmark": "Benchmarks",
    "analysis": "Analyses",
    "unstructured": "Weight-level pruning",
    "structured": "Structured pruning",
    "semi-structured": "Semi-structured pruning",
}
"""Headings in their order, by kind or granularity."""

HEAD = """\
# Pruning for large language models

{count} papers, the last one added on {last}. `python tools/export.py` writes this list from the
entries in `catalog/papers/`, which say where their facts were checked; corrections belong there.

The date is that of the first public version, venue and year are those of the publication. A method
stands in the group of the finest regularity it can prune to.

"""


def listing(papers: Mapping[str, Paper]) -> str:
    """Return the list of all papers as Markdown."""
    groups = grouped(papers)
    listed = [papers[slug] for slugs in groups.values() for slug in slugs]
    last = max((paper.added for paper in listed), default="no day")
    parts = [HEAD.format(count=len(listed), last=last)]
    parts += [f"- [{GROUPS[name]}](#{anchor(GROUPS[name])})\n" for name in groups]
    for name, slugs in groups.items():
        parts.append(f"\n## {GROUPS[name]}\n\n")
        parts += [f"{line(papers[slug])}\n" for slug in slugs]
    return "".join(parts)


def grouped(papers: Mapping[str, Paper]) -> dict[str, list[str]]:
    """Return the slugs of each group that is not empty, newest first."""
    listed = sorted(slug for slug, paper in papers.items() if paper.has_paper)
    newest = sorted(listed, key=lambda slug: date(papers[slug]), reverse=True)
    members = {name: [s for s in newest if group(papers[s]) == name] for name in GROUPS}
    return {name: slugs for name, slugs in members.items() if slugs}


def group(paper: Paper) -> str:
    """Return the group of a paper: its kind, or the finest granularity of a method."""
    if paper.taxonomy is None or paper.kind in GROUPS:
        return paper.kind
    order = list(vocabulary()["granularity"].terms)
    return min(paper.taxonomy.granularity, key=order.index)


def date(paper: Paper) -> str:
    """Return when a paper became public, as exactly as it is known: `2023-01-02` or `2015`."""
    return paper.submitted or paper.published or str(paper.year)


def line(paper: Paper) -> str:
    """Return the line of one paper."""
    month = date(paper)[:7].replace("-", ".")
    return f"- [{month}] {escape(_title(paper))}, {venue(paper)} {''.join(_links(paper))}".rstrip()


def venue(paper: Paper) -> str:
    """Return venue and year for readers, such as `Findings of ACL 2024`, or `arXiv`."""
    if paper.venue:
        return f"{vocabulary()['venues'].terms[paper.venue].label} {paper.year}"
    return "arXiv" if paper.ids.arxiv else "preprint"


def _title(paper: Paper) -> str:
    if paper.kind == "baseline" and paper.other_titles:
        return f"{paper.title} ({paper.other_titles[0]})"
    return paper.title


def _links(paper: Paper) -> Iterator[str]:
    best = best_page(paper)
    if best:
        yield f"[[Paper]({destination(best)})]"
    if paper.ids.arxiv and best != (preprint := page("arxiv", paper.ids.arxiv)):
        yield f"[[arXiv]({preprint})]"
    if code := best_code(paper):
        yield f"[[{_label(code)}]({destination(code.url)}{_note(code)})]"


def _label(code: Code) -> str:
    return "Code" if code.official else "Code of others"


def _note(code: Code) -> str:
    return f' "{escape(code.note)}"' if code.note else ""


def escape(text: str) -> str:
    """Escape what Markdown would take for markup."""
    return re.sub(r"([\\`*_\[\]<>&#|~\"$])", r"\\\1", text)


def destination(address: str) -> str:
    """Write an address so that no parenthesis of its own ends the link."""
    return address.replace("(", "%28").replace(")", "%29")


def anchor(heading: str) -> str:
    """Return the anchor that a Markdown site gives to a heading."""
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
