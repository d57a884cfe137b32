"""How numbers, names and addresses are written on the pages."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

from markupsafe import Markup

from implementations.harness.record import Record
from tools.site.sources import Entry

# Venues whose word in the catalog is not simply their name in small letters.
VENUES = {"acl-findings": "Findings of ACL", "arxiv": "arXiv", "neurips": "NeurIPS"}


def number(value: float, digits: int = 2) -> str:
    """Write a value to read: fewer decimals as it grows, infinity as its sign."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits if abs(value) < 100 else 1}f}"


def count(value: int) -> str:
    """Write a number of parameters: `134.5 M`."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return str(value)


def percent(value: float) -> str:
    """Write a share: `50 %`, `19.9 %`."""
    return f"{100 * value:.3g} %"


def text_of(metric: str) -> str:
    """Name the text of a metric: `ppl/wikipedia/1024` was measured on `Wikipedia`."""
    text = metric.split("/")[1]
    return {"c4": "C4", "wikitext2": "WikiText-2"}.get(text, text.capitalize())


def authors(names: Sequence[str]) -> str:
    """Write the authors of a paper; of more than four, the first and how many others."""
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} and {len(names) - 1} others"


def venue(entry: Entry) -> str:
    """Write venue and year of a catalog entry, as far as they are known."""
    return f"{VENUES.get(entry.venue, entry.venue.upper())} {entry.year}".strip()


def record_path(record: Record) -> str:
    """Where a record lies on the site."""
    return f"records/{record.protocol.name}/{record.method}/{record.name}-{record.key[:8]}.json"


def code(text: str) -> Markup:
    """Set what stands between backticks as code, everything else as text."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False)))


def plain(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~])", r"\\\1", text)
