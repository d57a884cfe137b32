"""By taxonomy: every word by which the catalog sorts papers, and a page for each of them."""

from __future__ import annotations

from collections.abc import Iterator

from tools.site.atlas import Atlas
from tools.site.facts import first_board, words_of
from tools.site.glossary import Entry, glossary
from tools.site.render import Front, render
from tools.site.standing import standing
from tools.site.studied import looked_at, newest, related

MANY = 40
"""Above so many papers a page lists their titles alone."""
FRONT = Front(
    "taxonomy.md",
    "By taxonomy",
    "Every word by which papers are sorted here: what it means, and which papers have it.",
    styles=("css/learn.css", "css/read.css"),
    sources=("catalog/vocabulary", "catalog/papers"),
    toc=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the list of all words, and a page for each by which the catalog sorts."""
    words = glossary(atlas.papers)
    yield FRONT.path, render("taxonomy", FRONT, atlas, words=words)
    for beside in words.values():
        for entry in beside:
            if entry.page:
                yield entry.source, _page(entry, beside, atlas)


def _page(entry: Entry, beside: list[Entry], atlas: Atlas) -> str:
    front = Front(
        entry.source,
        entry.title,
        f"{entry.kind}: {entry.term.definition}",
        styles=FRONT.styles,
        sources=(f"catalog/vocabulary/{entry.field}.yaml", "catalog/papers"),
    )
    slugs = newest(entry.slugs, atlas.papers)
    return render(
        "word",
        front,
        atlas,
        entry=entry,
        beside=beside,
        slugs=slugs,
        many=len(slugs) > MANY,
        board=first_board(atlas),
        standing=standing([slug for slug in slugs if slug in atlas.methods], first_board(atlas)),
        studied=looked_at(slugs, atlas.papers) if entry.field == "topic" else (),
        related=related,
        words_of=words_of,
    )
