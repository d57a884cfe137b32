"""How numbers, names and addresses are written on the pages."""

from __future__ import annotations

import html
import math
import posixpath
import re
from collections.abc import Sequence

from markupsafe import Markup

from implementations.harness.results.record import DENSE, Record
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import vocabulary


def number(value: float, digits: int = 2) -> str:
    """Write a value to read: fewer decimals as it grows, infinity as its sign."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞"
    if abs(value) >= 1e9:
        return f"{value:.3g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits if abs(value) < 100 else 1}f}"


def times(after: float, before: float) -> str:
    """Write how many times `before` it is; a dash where that was nothing."""
    return number(after / before) if before else "–"


def count(value: int) -> str:
    """Write a number of parameters: `134.5 M`."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return str(value)


def percent(value: float) -> str:
    """Write a share: `50 %`, `19.9 %`."""
    return f"{100 * value:.3g} %"


def memory(size: int) -> str:
    """Write bytes to read: `1.96 GB`."""
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= one:
            return f"{size / one:.3g} {unit}"
    return f"{size} bytes"


def seconds(value: float) -> str:
    """Write a time to read: `0.4 s`, `12.5 s`, `195 s`, `3.2 h`."""
    if value >= 7200:
        return f"{number(value / 3600, 1)} h"
    return f"{value:.0f} s" if value >= 100 else f"{value:.1f} s"


def authors(names: Sequence[str] | None) -> str:
    """Write the authors of a paper; of more than four, the first and how many others."""
    if names is None:
        return "A baseline without a paper of its own"
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} and {len(names) - 1} others"


def venue(paper: Paper) -> str:
    """Write venue and year of a paper: `ICML 2023`, `arXiv 2025`."""
    if not paper.has_paper:
        return "no paper"
    if paper.venue is None:
        where = "arXiv" if paper.ids.arxiv else ""
    else:
        terms = vocabulary()["venues"].terms
        where = terms[paper.venue].label if paper.venue in terms else paper.venue
    return f"{where} {paper.year}".strip()


def record_path(record: Record) -> str:
    """Return the path of a record's JSON file on the site."""
    return f"records/{record.protocol.name}/{record.method}/{record.name}-{record.key[:8]}.json"


def record_anchor(record: Record) -> str:
    """Return the anchor of a record on the page of its method."""
    text = f"{record.protocol.name}-{record.name}-{record.key[:8]}".lower()
    return re.sub(r"[^a-z0-9]+", "-", text)


def record_address(record: Record) -> str:
    """Return the address of a record: its row on the method's page, or the file of a dense run."""
    if record.method == DENSE:
        return record_path(record)
    return f"papers/{record.method}.html#{record_anchor(record)}"


def source(address: str) -> str:
    """Name the file that a page is made from."""
    return address.removesuffix(".html") + ".md"


def built(path: str) -> str:
    """Return where the page that a file makes is read."""
    return path.removesuffix(".md") + ".html"


def relative(path: str, page: str) -> str:
    """Return the address of a file of the site as a page links to it."""
    return posixpath.relpath(path, posixpath.dirname(page) or ".")


def glossary_address(field: str, word: str) -> str:
    """Return the address of a word's definition in the glossary."""
    return f"learn/glossary.html#{field}-{word}"


def code(text: str) -> Markup:
    """Set what stands between backticks as code, everything else as text."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False)))


def sentence(text: str) -> str:
    """Return the first sentence of a text."""
    first, stop, _ = text.partition(". ")
    return first + stop.rstrip()


def plain(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~])", r"\\\1", text)
