"""Numbers, units, names and short texts as the pages write them."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

from markupsafe import Markup

from implementations.harness.results.metric import metric
from tools.catalog.schema.paper import Code, Paper
from tools.catalog.schema.vocabulary import vocabulary


def number(value: float, digits: int = 2) -> str:
    """Write a number with fewer decimals as it grows, and infinity as `∞`."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞"
    if abs(value) >= 1e9:
        return f"{value:.3g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits if abs(value) < 100 else 1}f}"


def measurement(value: float, name: str) -> str:
    """Write a value of a record with the digits of its metric: `38.90`, `0.512`, `71.2 %`."""
    write = metric(name).format or number
    return write(value)


def count(value: int) -> str:
    """Write a number of parameters: `134.5 M`."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return str(value)


def percent(value: float) -> str:
    """Write a fraction in per cent: `50 %`, `19.9 %`."""
    return f"{100 * value:.3g} %"


def memory(size: int) -> str:
    """Write a size in bytes: `1.96 GB`."""
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= 0.9995 * one:  # 999.5 MB would be written as 1e+03 MB
            return f"{size / one:.3g} {unit}"
    return f"{size} bytes"


def seconds(value: float) -> str:
    """Write a duration: `0.4 s`, `12.5 s`, `195 s`, `3.2 h`."""
    if value >= 7200:
        return f"{number(value / 3600, 1)} h"
    return f"{value:,.0f} s" if value >= 100 else f"{value:.1f} s"


def authors(names: Sequence[str] | None) -> str:
    """Write the authors of a paper; if there are more than four, the first and a count."""
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


def repository_name(address: str) -> str:
    """Return owner and name of a repository: `locuslab/wanda`; without a path, its host."""
    host, *path = address.partition("://")[2].rstrip("/").split("/")
    return "/".join(path[:2]) or host


def licence(code: Code) -> str:
    """Write the licence of a repository: an SPDX name or a remark; nothing if it is not known."""
    return {"NONE": "no licence", "unclear": "licence unclear"}.get(
        code.license or "", code.license or ""
    )


def code(text: str) -> Markup:
    """Write text as HTML, with code between backticks as `code` elements."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False)))


def sentence(text: str) -> str:
    """Return the first sentence of a text."""
    first, stop, _ = text.partition(". ")
    return first + stop.rstrip()


def plain(text: str) -> str:
    """Escape the special characters of Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|$])", r"\\\1", text)
