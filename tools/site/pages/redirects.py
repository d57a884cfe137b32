"""Pages that redirect from former addresses."""

from __future__ import annotations

import html
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlencode

from implementations.harness.results.record import DENSE
from tools.catalog.schema.vocabulary import vocabulary
from tools.site.addresses import glossary_address, record_address, record_path, relative
from tools.site.atlas import Atlas
from tools.site.glossary import glossary
from tools.site.metrics import slugified

MOVED = {
    "api/contract.html": "api.html#contract",
    "api/data.html": "api.html#data",
    "api/harness.html": "api.html#harness",
    "api/index.html": "api.html",
    "compare.html": "leaderboard.html",
    "leaderboard/smol-smollm2-135m-float32-cpu--2.html": "leaderboard.html",
    "learn.html": "learn/index.html",
    "lineage.html": "catalog.html",
    "lineage/whole.html": "catalog.html?group=year",
    "measure.html": "learn/how-we-measure.html",
    "news.html": "catalog.html?sort=added",
    "read.html": "learn/reading-order.html",
    "taxonomy.html": "learn/glossary.html",
    "timeline.html": "catalog.html?group=year",
    "topics.html": "catalog.html?group=topic",
    "untried.html": "catalog.html",
}
"""Former addresses and the pages that replaced them; the addresses of papers are aliases."""
RECORD_PAGES = datetime(2026, 11, 29, tzinfo=UTC)
"""Records before this date had pages of their own."""
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'">
<title>Moved - Pruning Atlas</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta http-equiv="refresh" content="0; url={link}">
<link rel="canonical" href="{canonical}">
</head>
<body>
<p>This page has moved to <a href="{link}">{address}</a>.</p>
</body>
</html>
"""


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield a page per former address; it needs no JavaScript."""
    for former, address in moved(atlas).items():
        link = relative(address, former)
        canonical = atlas.address(address) if atlas.site else link
        fields = {"link": link, "canonical": canonical, "address": address}
        yield former, PAGE.format(**{name: html.escape(value) for name, value in fields.items()})


def moved(atlas: Atlas) -> dict[str, str]:
    """Return all former addresses: of pages, words, papers, claims and records."""
    found = dict(MOVED)
    for entries in glossary(atlas.papers).values():
        for entry in entries:
            word = entry.term.word
            former = f"topics/{word}" if entry.field == "topic" else f"taxonomy/{entry.anchor}"
            found[f"{former}.html"] = entry.catalog or glossary_address(entry.field, word)
    for venue in vocabulary()["venues"].terms:
        found[f"taxonomy/venues-{venue}.html"] = f"catalog.html?venue={venue}"
    for slug, paper in atlas.papers.items():
        for alias in paper.aliases or ():
            if alias not in atlas.papers:
                found[f"papers/{alias}.html"] = f"papers/{slug}.html"
    return found | _claims(atlas) | _records(atlas)


def _claims(atlas: Atlas) -> dict[str, str]:
    """Map the former page of each model to the filtered page of claims."""
    models = {claim.model for paper in atlas.papers.values() for claim in paper.claims or ()}
    return {
        f"claims/{slugified(model)[:80].rstrip('-') or 'other'}.html": "claims.html?"
        + urlencode({"model": model})
        for model in sorted(models)
    }


def _records(atlas: Atlas) -> dict[str, str]:
    """Map the former pages of records to the lists of records on the papers' pages."""
    addresses: dict[str, str] = {}
    for record in atlas.records:
        if record.date < RECORD_PAGES:
            dense = record.method == DENSE
            whole = "leaderboard.html" if dense else f"papers/{record.method}.html#records"
            addresses[f"records/{record.method}.html"] = whole
            addresses[record_path(record).replace(".json", ".html")] = record_address(record)
    return addresses
