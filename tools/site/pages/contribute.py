"""How to contribute: the repository's own page on it."""

from __future__ import annotations

from collections.abc import Iterator

from tools.site.atlas import Atlas
from tools.site.markdown import indent, rebase
from tools.site.render import Front, render

FILE = "CONTRIBUTING.md"
FRONT = Front(
    "contribute.md",
    "Contribute",
    "How to add a paper or a method, and how to correct a fact or a number.",
    styles=("css/learn.css",),
    sources=(FILE,),
    toc=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    path = atlas.root / FILE
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _, _, body = text.partition("\n## ")
    body = indent(
        rebase(f"## {body}" if body else "", "contribute.md", atlas.papers, atlas.repository)
    )
    yield FRONT.path, render("contribute", FRONT, atlas, body=body)
