"""The pages of the site as text: templates of `docs/templates/pages` filled from the atlas."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from implementations.harness.record import COLLAPSED
from tools.site import chart, words
from tools.site.results import FAMILIES, Board, boards
from tools.site.sources import REPOSITORY, Atlas

TEMPLATES = REPOSITORY / "docs" / "templates" / "pages"


@dataclass(frozen=True)
class Drawn:
    """A board with its chart for wide and for narrow pages."""

    board: Board
    wide: str
    narrow: str


def pages(atlas: Atlas) -> dict[str, str]:
    """Make every page and data file: contents by path below the docs folder.

    Pages are Markdown with the measurements as HTML inside. Everything is escaped but the READMEs
    and the drawings, which come from this repository.
    """
    environment = _environment()
    shared: dict[str, Any] = {
        "atlas": atlas,
        "boards": [_draw(board, atlas) for board in boards(atlas.records)],
    }
    made = {
        f"{name}.md": environment.get_template(f"{name}.md").render(shared)
        for name in ("index", "leaderboard", "methods")
    }
    for method in atlas.methods:
        made[f"papers/{method.slug}.md"] = environment.get_template("method.md").render(
            atlas=atlas,
            method=method,
            readme=rebase(method.readme, method.slug, atlas.names),
            boards=boards(method.records),
        )
    return made | {words.record_path(record): record.to_json() for record in atlas.records}


def write(atlas: Atlas, folder: Path) -> None:
    """Write every page and data file below `folder`, making it where it is missing."""
    for path, text in pages(atlas).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def rebase(readme: str, slug: str, known: Mapping[str, str]) -> str:
    """Point a README's relative links to pages of the site, or leave only their words.

    A link to another method's folder becomes one to its page; other files of the repository have
    no address here. Code is left alone.
    """

    def replace(link: re.Match[str]) -> str:
        words_, target = link.groups()
        if urlsplit(target).scheme or target.startswith("#"):
            return link[0]
        path = posixpath.normpath(posixpath.join("implementations", slug, target)).split("/")
        other = path[1] if path[0] == "implementations" and len(path) > 1 else slug
        return f"[{words_}]({other}.md)" if other in known and other != slug else words_

    links = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^)\s]+)\)")
    parts = re.split(r"(^```.*?^```|(?<!\[)`[^`\n]+`)", readme, flags=re.DOTALL | re.MULTILINE)
    return "".join(p if i % 2 else links.sub(replace, p) for i, p in enumerate(parts))


def _draw(board: Board, atlas: Atlas) -> Drawn:
    wide, narrow = (chart.draw(board, atlas.names, size) for size in (chart.WIDE, chart.NARROW))
    return Drawn(board, wide, narrow)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for word in (
        words.authors,
        words.code,
        words.count,
        words.number,
        words.percent,
        words.plain,
        words.record_path,
        words.text_of,
        words.venue,
    ):
        environment.filters[word.__name__] = word
    environment.globals.update(families=FAMILIES, marks=chart.MARKS, collapse=COLLAPSED)
    return environment
