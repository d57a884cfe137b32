"""The catalog as an Awesome list: `LIST.md`, two lines a paper, newest first.

Every paper stands once, by what its entry says; baselines without a paper are left out. A method
or baseline is in the group of its finest granularity, in the order of the vocabulary: weights
anywhere, then N:M, then whole units. Other kinds of work, such as surveys, are groups of their own.
The first line of a paper is that of other lists, the second says where it stands here.
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
"""Headings in their order, by kind or granularity."""

HEAD = """\
# Pruning for large language models

{count} papers, the last one added on {last}; {here} of them are implemented here and {measured} of
these measured. `python tools/export.py LIST.md --out .` writes this list from the entries in
`catalog/papers/`, which say where their facts were checked; corrections belong there.

The date is that of the first public version, venue and year are those of the publication. A method
stands in the group of the finest regularity it can prune to. Below each paper: whether it is
implemented and measured in this repository, and if not, whose code there is; then how deep it was
read for its entry.

{read}

"""


def listing(papers: Mapping[str, Paper], methods: Mapping[str, bool]) -> str:
    """Return the list of all papers as Markdown; `methods` says of each folder if it is measured.

    It stands at the top of the repository, from where its links to the folders lead.
    """
    groups = grouped(papers)
    listed = [slug for slugs in groups.values() for slug in slugs]
    here = [slug for slug in listed if slug in methods]
    depths = vocabulary()["read"].terms.values()
    parts = [
        HEAD.format(
            count=len(listed),
            last=max((papers[slug].added for slug in listed), default="no day"),
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
    """Return the slugs of each group that is not empty, newest first."""
    listed = sorted(slug for slug, paper in papers.items() if paper.has_paper)
    newest = sorted(listed, key=lambda slug: date(papers[slug]), reverse=True)
    members = {name: [s for s in newest if group(papers[s]) == name] for name in GROUPS}
    return {name: slugs for name, slugs in members.items() if slugs}


def group(paper: Paper) -> str:
    """Return the group of a paper: its kind, or the finest granularity of a method."""
    if not paper.is_method:
        return paper.kind
    order = list(vocabulary()["granularity"].terms)
    words = paper.taxonomy.granularity if paper.taxonomy else ()
    return min(words, key=order.index, default=UNKNOWN)


def date(paper: Paper) -> str:
    """Return when a paper became public, as exactly as it is known: `2023-01-02` or `2015`."""
    return paper.submitted or paper.published or str(paper.year)


def item(slug: str, paper: Paper, methods: Mapping[str, bool]) -> str:
    """Return the lines of one paper: the work, then where it stands here."""
    status = " · ".join(_status(slug, paper, methods))
    return f"{line(paper)}<br>\n  <sub>{status}</sub>\n" if status else f"{line(paper)}\n"


def _status(slug: str, paper: Paper, methods: Mapping[str, bool]) -> Iterator[str]:
    if slug in methods:
        done = "implemented and measured here" if methods[slug] else "implemented here"
        yield f"[{done}](implementations/{slug})"
    elif (code := best_code(paper)) and paper.kind != "survey":
        yield "code of the authors" if code.official else "code of others"
    elif paper.is_method:
        yield "no code known"
    if paper.sources.read:
        yield f"read: {paper.sources.read}"


def line(paper: Paper) -> str:
    """Return the line of one paper, as other lists have it."""
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
