"""Rendering of the templates in `docs/templates/pages`; text is escaped, links are checked."""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from implementations.harness.results.boards import FAMILIES
from implementations.harness.results.metric import PERPLEXITY, metric
from implementations.harness.results.ranking import has_divergence
from tools.catalog.schema.vocabulary import vocabulary
from tools.site import addresses, chart, formatting
from tools.site.answers import (
    about_model,
    ranking_text,
    row_note,
    share_label,
    uses_magnitude_alone,
)
from tools.site.atlas import Atlas
from tools.site.board_columns import columns, groups_by_family, removed, time_range
from tools.site.claim_tables import claim_address, claim_removed
from tools.site.keywords import keywords, names
from tools.site.metrics import explained

INVISIBLE = ("Cf", "Cc", "Co", "Cs")
"""Unicode categories of characters that are not shown."""
TEMPLATES = Path(__file__).resolve().parents[2] / "docs" / "templates" / "pages"


@dataclass(frozen=True)
class Front:
    """Front matter of a page: its path, title, description, styles and scripts.

    `llms.txt` is written from it. The menu is defined in `mkdocs.yml`.
    """

    path: str
    """Path below the docs folder, such as `learn/glossary.md`."""
    title: str
    description: str = ""
    styles: tuple[str, ...] = ()
    """Style sheets only for this page, below `docs/assets`."""
    scripts: tuple[str, ...] = ()
    """JavaScript modules only for this page, below `docs/assets`."""
    sources: tuple[str, ...] = ()
    """Files of the repository that the page is made from."""
    toc: bool = False
    """Whether the page has a table of contents."""
    navigation: bool = False
    """Whether the page has the menu of its section."""
    searched: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        beside = {"navigation": self.navigation, "toc": self.toc}
        # The theme does not escape title and description.
        meta: dict[str, Any] = {
            "title": html.escape(printable(self.title)),
            "description": html.escape(printable(self.description)),
            "hide": [part for part, shown in beside.items() if not shown],
            "styles": list(self.styles),
            "scripts": list(self.scripts),
            "search": {"exclude": not self.searched},
            **self.extra,
        }
        lines = (f"{name}: {json.dumps(value)}" for name, value in meta.items() if value)
        return "---\n" + "\n".join(lines) + "\n---\n\n"


def render(template: str, front: Front, atlas: Atlas, **more: Any) -> str:
    """Render `docs/templates/pages/<template>.md` with its front matter."""
    return str(front) + fill(f"{template}.md", atlas=atlas, front=front, **more)


def fill(file: str, /, **values: Any) -> str:
    """Render a file of `docs/templates/pages`."""
    return _environment().get_template(file).render(**values)


def printable(text: str) -> str:
    """Replace invisible characters, such as those that change the direction of text, by `�`.

    Line breaks become spaces, because a new line could start a block in Markdown.
    """
    if text.isprintable():
        return text
    return "".join(
        " " if c in "\n\r\t" else "�" if unicodedata.category(c) in INVISIBLE else c for c in text
    )


def lines(text: str) -> Markup:
    """Escape text for a `pre` element, keeping its line breaks."""
    return Markup("\n").join(Markup(html.escape(printable(line))) for line in text.splitlines())


def safe_address(text: str) -> str:
    """Return an http or https address unchanged, and `#` for anything else."""
    try:
        return text if urlsplit(text).scheme in ("http", "https") else "#"
    except ValueError:
        return "#"


def data(value: Any) -> Markup:
    """Write JSON for a script element, escaped so that it cannot close the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _finalize(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for word in (
        claim_address,
        claim_removed,
        ranking_text,
        share_label,
        uses_magnitude_alone,
        explained,
        has_divergence,
        keywords,
        metric,
        names,
        formatting.authors,
        formatting.code,
        formatting.count,
        formatting.licence,
        formatting.measurement,
        formatting.number,
        formatting.percent,
        formatting.plain,
        formatting.repository_name,
        addresses.html_path,
        addresses.record_address,
        addresses.record_anchor,
        addresses.record_path,
        time_range,
        formatting.sentence,
        formatting.venue,
        data,
        lines,
        safe_address,
    ):
        environment.filters[word.__name__] = word
    environment.globals.update(
        families=FAMILIES,
        marks=chart.MARKS,
        collapse=PERPLEXITY.collapse,
        vocabulary=vocabulary,
        columns=columns,
        removed=removed,
        groups_by_family=groups_by_family,
        row_note=row_note,
        about_model=about_model,
        glossary_address=addresses.glossary_address,
    )
    return environment
