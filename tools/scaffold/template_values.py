"""Values for the templates of a method, from its catalog entry."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from textwrap import fill
from typing import Any

from tools.catalog.schema.identifiers import page
from tools.catalog.schema.paper import Paper, Taxonomy
from tools.catalog.schema.vocabulary import vocabulary

MAX_NAME = 20  # of a class or module: three such names share an import line
WIDTH = 100

NAMES = ("Capabilities", "LanguageModel", "Ratio", "Tokens")
"""What every method imports from the harness."""

# Terms of the taxonomy and the corresponding units of the harness.
WEIGHTS = ("unstructured", "semi-structured")
UNITS = {
    "heads": ["kv-groups"],
    "head-channels": ["value-dims", "rotary-pairs"],
    "channels": ["channels"],
    "hidden": ["hidden"],
    "blocks": ["blocks"],
    "attention-sublayers": ["sublayers"],
    "feed-forward-sublayers": ["sublayers"],
    "experts": ["experts"],
}
CALIBRATION = {
    "gradients": "gradient",
    "input": "none",
    **dict.fromkeys(("synthetic", "task-data", "unknown", None), "forward"),
}
"""Terms of the code that differ from those of the catalog."""


def facts(slug: str, paper: Paper, taxonomy: Taxonomy) -> Mapping[str, Any]:
    """Return the template values of one method."""
    name = paper.name or slug.capitalize()
    units = _units(taxonomy)
    granularity = [word for word in WEIGHTS if word in taxonomy.granularity]
    granularity += dict.fromkeys(kind for unit in units for kind in UNITS.get(unit, []))
    patterns = "semi-structured" in granularity
    structured = not set(WEIGHTS) & set(granularity)
    base = "UnitMethod" if structured else "WeightMethod"
    if "experts" in granularity:
        base = "ExpertMethod"
    return {
        "slug": slug,
        "name": name,
        "plain_name": name if _plain(name) else slug.capitalize(),
        "class_name": _class_name(slug, name),
        "citation": _citation(paper),
        "source": f"arXiv:{paper.ids.arxiv}" if paper.ids.arxiv else _citation(paper),
        "reference": _reference(paper),
        "code": next((code.url for code in paper.code or () if code.official), ""),
        "granularity": _listed(granularity),
        "no_unit": [unit for unit in units if unit not in UNITS],
        "calibration": CALIBRATION.get(taxonomy.calibration, taxonomy.calibration),
        "patterns": patterns,
        "structured": structured,
        "base": base,
        "imports": sorted([*NAMES, base, *(["Pattern"] if patterns else [])]),
    }


def _listed(words: list[str]) -> str:
    """Return the items of a tuple of words, formatted like ruff does."""
    quoted = [json.dumps(word) for word in words]
    line = ", ".join(quoted) + "," * (len(quoted) == 1)
    if len(f"        granularity=({line}),") <= WIDTH:
        return line
    return "".join(f"\n            {word}," for word in quoted) + "\n        "


def _class_name(slug: str, name: str) -> str:
    """Return the name as a valid class name, or the capitalised slug."""
    letters = re.sub(r"[^A-Za-z0-9]", "", name)[:MAX_NAME]
    made = letters[:1].upper() + letters[1:]
    return made if made.isidentifier() else slug.capitalize()


def _units(taxonomy: Taxonomy) -> list[str]:
    """Return the units that a structured method removes, as terms of the taxonomy."""
    structured = "structured" in taxonomy.granularity
    return [unit for unit in taxonomy.prunes or () if structured and unit != "weights"]


def _citation(paper: Paper) -> str:
    """Return authors, venue and year in a short form that is safe in a docstring."""
    if not paper.authors:
        return "a baseline without a paper"
    surnames = [author.split()[-1] for author in paper.authors[:2]]
    who = f"{surnames[0]} et al." if len(paper.authors) > 2 else " and ".join(surnames)
    return f"{who}, {_venue(paper)}" if _plain(who) else _venue(paper)


def _plain(text: str) -> bool:
    """Whether a text is safe in one line of Python."""
    return len(text) <= 40 and not re.search(r'["\\]', text)


def _reference(paper: Paper) -> str:
    """Return title, authors, venue and link in Markdown."""
    if not paper.authors:
        return f"{paper.title}, a baseline without a paper of its own."
    *first, last = paper.authors
    if len(first) > 6:
        first, last = [paper.authors[0]], f"{len(first)} others"
    who = f"{', '.join(first)} and {last}" if first else last
    links = [f"[{label}]({address})" for label, address in paper.addresses]
    if paper.ids.arxiv:
        links = [f"[arXiv:{paper.ids.arxiv}]({page('arxiv', paper.ids.arxiv)})"]
    text = ", ".join([f"*{paper.title}*", who, _venue(paper), *links[:1]]) + "."
    return fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _venue(paper: Paper) -> str:
    if paper.venue is None:
        return str(paper.year)
    return f"{vocabulary()['venues'].terms[paper.venue].label} {paper.year}"
