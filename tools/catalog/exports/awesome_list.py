"""The catalog as an Awesome list: `LIST.md`, with two lines per paper, newest first.

Methods and baselines are grouped by their finest granularity, in the order of the vocabulary; other
kinds of work, such as surveys, have their own groups. Baselines without a paper are omitted. The
first line of a paper has the usual format of such lists, the second one its status in this
repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tools.catalog.schema.addresses import best_code, best_page
from tools.catalog.schema.identifiers import page
from tools.catalog.schema.paper import Code, Paper
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

HEAD = """\
# Pruning for large language models

This list has {count} papers; the last one was added on {last}. This repository implements {here} of
them and has measured {measured} of these. The list is generated from the entries in
`catalog/papers/`, which name the sources of their facts. To correct it, edit an entry and run
`python tools/export.py LIST.md --out .`.

The date is that of the first public version; venue and year are those of the publication. Each
method is in the group of the finest granularity it supports. The second line of a paper says
whether this repository implements and measures it, or else whose code is available, and how
closely we read the paper:

{read}

"""


def listing(papers: Mapping[str, Paper], methods: Mapping[str, bool]) -> str:
    """Return the list of all papers as Markdown, with links relative to the top of the repository.

    `methods` maps each slug with a method folder to whether it has published records.
    """
    groups = grouped(papers)
    listed = [slug for slugs in groups.values() for slug in slugs]
    here = [slug for slug in listed if slug in methods]
    depths = vocabulary()["read"].terms.values()
    parts = [
        HEAD.format(
            count=len(listed),
            last=max((papers[slug].added for slug in listed), default="no date"),
            here=len(here),
            measured=sum(methods[slug] for slug in here),
            read="\n".join(f"- *{depth.label}*: {escape(depth.definition)}" for depth in depths),
        )
    ]
    parts += [
        f"- [{GROUPS[name]}](#{anchor(GROUPS[name])}) {len(slugs)}\n"
        for name, slugs in groups.items()
    ]
    for name, slugs in groups.items():
        parts.append(f"\n## {GROUPS[name]}\n\n")
        parts += [item(slug, papers[slug], methods) for slug in slugs]
    return "".join(parts)


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


def item(slug: str, paper: Paper, methods: Mapping[str, bool]) -> str:
    """Return the lines of one paper: the work, and its status in this repository."""
    status = " · ".join(_status(slug, paper, methods))
    return f"{line(paper)}<br>\n  <sub>{status}</sub>\n" if status else f"{line(paper)}\n"


def _status(slug: str, paper: Paper, methods: Mapping[str, bool]) -> Iterator[str]:
    if slug in methods:
        done = "implemented and measured here" if methods[slug] else "implemented here"
        yield f"[{done}](implementations/{slug})"
    elif (code := best_code(paper)) and paper.kind != "survey":
        yield "official code" if code.official else "unofficial code"
    elif paper.is_method:
        yield "no known code"
    if paper.sources.read:
        yield f"read: {paper.sources.read}"


def line(paper: Paper) -> str:
    """Return the line of one paper in the usual format of Awesome lists."""
    month = date(paper)[:7].replace("-", ".")
    return f"- [{month}] {escape(_title(paper))}, {venue(paper)} {''.join(_links(paper))}".rstrip()


def venue(paper: Paper) -> str:
    """Return venue and year, such as `Findings of ACL 2024`, or `arXiv` or `preprint`."""
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
    return "Code" if code.official else "Unofficial code"


def _note(code: Code) -> str:
    return f' "{escape(code.note)}"' if code.note else ""


def escape(text: str) -> str:
    """Escape Markdown markup."""
    return re.sub(r"([\\`*_\[\]<>&#|~\"$])", r"\\\1", text)


def destination(address: str) -> str:
    """Escape the parentheses in an address, so that they do not end the link."""
    return address.replace("(", "%28").replace(")", "%29")


def anchor(heading: str) -> str:
    """Return the anchor that GitHub generates for a heading."""
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
