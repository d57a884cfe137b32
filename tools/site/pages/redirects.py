"""Pages that lead from the slugs a paper had before to the one it has."""

from __future__ import annotations

import html
from collections.abc import Iterator

from tools.site.atlas import Atlas

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'">
<title>{name} - Pruning Atlas</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta http-equiv="refresh" content="0; url={slug}.html">
<link rel="canonical" href="{canonical}">
</head>
<body>
<p>This page is now called <a href="{slug}.html">{name}</a>.</p>
</body>
</html>
"""


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield a page for each alias that no paper has as its slug; it needs no script."""
    for slug, paper in atlas.papers.items():
        for alias in paper.aliases or ():
            if alias not in atlas.papers:
                yield f"papers/{alias}.html", _page(slug, atlas)


def _page(slug: str, atlas: Atlas) -> str:
    canonical = atlas.address(f"papers/{slug}.html") if atlas.site else f"{slug}.html"
    return PAGE.format(
        slug=slug, name=html.escape(atlas.names[slug]), canonical=html.escape(canonical)
    )
