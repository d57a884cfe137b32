"""How to contribute: `CONTRIBUTING.md` and the design notes."""

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
    navigation=True,
    styles=("css/learn.css",),
    sources=(FILE,),
    toc=True,
)
DESIGN = Front(
    "design.md",
    "Design notes",
    "Why the atlas is built the way it is: harness, methods, records, boards, tests.",
    navigation=True,
    styles=("css/learn.css",),
    sources=("docs/templates/pages/design.md",),
    toc=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield both pages."""
    path = atlas.root / FILE
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _, _, body = text.partition("\n## ")
    body = indent(
        rebase(f"## {body}" if body else "", "contribute.md", atlas.papers, atlas.repository)
    )
    yield FRONT.path, render("contribute", FRONT, atlas, body=body)
    yield DESIGN.path, render("design", DESIGN, atlas)
