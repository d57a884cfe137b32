"""The catalog as an Awesome list: `LIST.md`, with one line per paper, newest first.

Methods are grouped by what they remove; methods that only divide the budget or repair a pruned
model have groups of their own. Baselines without a paper are omitted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tools.catalog.schema.addresses import best_code, best_page
from tools.catalog.schema.paper import Paper, Taxonomy
from tools.catalog.schema.vocabulary import UNKNOWN, vocabulary

START = (
    "zhu2024survey",
    "sparsegpt",
    "wanda",
    "llmpruner",
    "shortgpt",
    "minitron",
    "teal",
    "naee",
    "deeperlayers",
    "llmkick",
)
"""Ten papers to read first: one or two of each kind of pruning, and what it costs."""

GROUPS = {
    "unstructured": "Unstructured: single weights",
    "semi-structured": "Patterns: N of M weights, or blocks of them",
    "width": "Width: heads, channels and hidden dimensions",
    "depth": "Depth: layers and sublayers",
    "experts": "Experts of mixtures",
    "activation": "Activation sparsity",
    "state-space": "State-space models",
    "allocation": "Allocation: how much to remove from each layer",
    "recovery": "Recovery, distillation and calibration data",
    "analysis": "Analyses, theory and benchmarks",
    "survey": "Surveys",
    "system": "Systems, kernels and toolkits",
    "model-release": "Released models",
}
"""Headings by group, in order."""

KINDS = {
    "survey": "survey",
    "benchmark": "analysis",
    "analysis": "analysis",
    "theory": "analysis",
    "system": "system",
    "toolkit": "system",
    "model-release": "model-release",
}
"""Groups of the kinds of work that are no methods."""

DEPTH = frozenset({"blocks", "attention-sublayers", "feed-forward-sublayers"})
"""Units whose removal makes a model less deep."""


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
    for word in (anchor, best_code, best_page, date, destination, headline, plain, venue):
        templates.filters[word.__name__] = word
    groups = grouped(papers)
    listed = [slug for slugs in groups.values() for slug in slugs]
    return templates.get_template("LIST.md.jinja").render(
        papers=papers,
        groups=groups,
        headings=GROUPS,
        start=[slug for slug in START if slug in papers],
        listed=listed,
        last=max((papers[slug].added for slug in listed), default="no date"),
        implemented=[slug for slug in listed if slug in methods],
        measured=[slug for slug in listed if methods.get(slug)],
        methods=methods,
    )


def grouped(papers: Mapping[str, Paper]) -> dict[str, list[str]]:
    """Return the slugs of each non-empty group, newest first."""
    listed = sorted(slug for slug, paper in papers.items() if paper.has_paper)
    newest = sorted(listed, key=lambda slug: date(papers[slug]), reverse=True)
    members = {name: [s for s in newest if group(papers[s]) == name] for name in GROUPS}
    return {name: slugs for name, slugs in members.items() if slugs}


def group(paper: Paper) -> str:
    """Return the group of a paper: for a method what it removes, otherwise the kind of work."""
    if not paper.is_method:
        return KINDS[paper.kind]
    taxonomy = paper.taxonomy or Taxonomy()
    removed, fine = set(taxonomy.prunes or ()), taxonomy.granularity
    if "experts" in removed:
        return "experts"
    if "ssm-states" in removed or taxonomy.architecture == ("ssm-hybrid",):
        return "state-space"
    if paper.role == "plug-in":
        if taxonomy.recovery not in (None, "none"):
            return "recovery"
        if taxonomy.allocation in ("layerwise", "learned", "searched"):
            return "allocation"
        if fine == (UNKNOWN,):  # prepares data for whatever prunes
            return "recovery"
    if "unstructured" in fine:
        return "unstructured"
    if {"semi-structured", "block-sparse"} & set(fine):
        return "semi-structured"
    if fine == ("activation",):
        return "activation"
    return "depth" if removed and removed <= DEPTH else "width"


def headline(paper: Paper) -> str:
    """Return the name of the method in bold and the title, in Markdown."""
    title = paper.title
    if paper.kind == "baseline" and paper.other_titles:
        title = f"{title} ({paper.other_titles[0]})"  # the paper that it comes from
    if not paper.name:
        return plain(title)
    rest = title.removeprefix(paper.name)
    if rest != title and rest[:1] in ("", ":", " "):
        return f"**{plain(paper.name)}**{plain(rest)}"
    start, colon, rest = title.partition(":")
    if colon and _letters(start) == _letters(paper.name):  # as in "Deja Vu: ..."
        return f"**{plain(start)}**:{plain(rest)}"
    return f"**{plain(paper.name)}**: {plain(title)}"


def _letters(name: str) -> str:
    return re.sub(r"\W", "", name).lower()


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
