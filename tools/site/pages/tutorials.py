"""Tutorials: the notebooks of `docs/tutorials`, as pages and for download."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tools.site import notebook
from tools.site.atlas import Atlas
from tools.site.render import Front, render

TUTORIALS = {
    "prune-a-model": (
        "Prune a model and look at what it lost",
        "Remove half of the weights of a real model, see which words it can no longer predict, "
        "then make it smaller and faster.",
    ),
    "write-a-method": (
        "Write a method in thirty lines and compare it",
        "Write your own pruning method, test it, and compare it with others in a table and a "
        "chart for a paper.",
    ),
}
FRONTS = tuple(
    Front(
        f"tutorials/{name}.md",
        title,
        description,
        styles=("css/learn.css", "css/tutorial.css"),
        sources=(f"docs/tutorials/{name}.ipynb",),
        toc=True,
        navigation=True,
    )
    for name, (title, description) in TUTORIALS.items()
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield each page with its notebook and its images."""
    for name, front in zip(TUTORIALS, FRONTS, strict=True):
        source = (atlas.root / front.sources[0]).read_text(encoding="utf-8")
        content = json.loads(source)
        body = notebook.to_markdown(content, name)
        title, _, rest = body.partition("\n")
        yield (
            front.path,
            render("tutorial", front, atlas, title=title, body=rest, file=f"{name}.ipynb"),
        )
        yield f"tutorials/{name}.ipynb", source
        for file, svg in notebook.images(content, name).items():
            yield f"tutorials/{file}", svg
