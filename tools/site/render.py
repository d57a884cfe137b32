"""Templates of `docs/templates/pages` filled with the atlas; text is escaped, links checked."""

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
from implementations.harness.results.metric import PERPLEXITY
from tools.catalog.schema.vocabulary import vocabulary
from tools.site import addresses, chart, formatting
from tools.site.atlas import Atlas
from tools.site.board_columns import columns, removed
from tools.site.board_results import uses_magnitude_alone
from tools.site.claim_tables import claim_address, claim_removed
from tools.site.keywords import keywords, names
from tools.site.metrics import explained

UNSEEN = ("Cf", "Cc", "Co", "Cs")
TEMPLATES = Path(__file__).resolve().parents[2] / "docs" / "templates" / "pages"


@dataclass(frozen=True)
class Front:
    """All that is said about a page: where it stands, what it is called, what it needs.

    `llms.txt` is made from it. The menu stands in `mkdocs.yml`.
    """

    path: str
    """Below the docs folder, such as `learn/glossary.md`."""
    title: str
    description: str = ""
    styles: tuple[str, ...] = ()
    """Style sheets of this page alone, below `docs/assets`."""
    scripts: tuple[str, ...] = ()
    """Modules of this page alone, below `docs/assets`."""
    sources: tuple[str, ...] = ()
    """Files of the repository that say what the page says."""
    toc: bool = False
    """Whether the contents of the page stand beside it."""
    navigation: bool = False
    """Whether the menu of its section stands beside it."""
    searched: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        beside = {"navigation": self.navigation, "toc": self.toc}
        # The theme sets title and description into the page as they are.
        meta: dict[str, Any] = {
            "title": html.escape(seen(self.title)),
            "description": html.escape(seen(self.description)),
            "hide": [part for part, shown in beside.items() if not shown],
            "styles": list(self.styles),
            "scripts": list(self.scripts),
            "search": {"exclude": not self.searched},
            **self.extra,
        }
        lines = (f"{name}: {json.dumps(value)}" for name, value in meta.items() if value)
        return "---\n" + "\n".join(lines) + "\n---\n\n"


def render(template: str, front: Front, atlas: Atlas, **more: Any) -> str:
    """Fill `docs/templates/pages/<template>.md` and put its front matter above."""
    return str(front) + fill(f"{template}.md", atlas=atlas, front=front, **more)


def fill(file: str, /, **values: Any) -> str:
    """Fill a file of `docs/templates/pages`."""
    return _environment().get_template(file).render(**values)


def seen(text: str) -> str:
    """Show what cannot be seen, such as a change of direction, as a replacement character.

    Line ends become spaces: a line of its own could begin something in Markdown.
    """
    if text.isprintable():
        return text
    return "".join(
        " " if c in "\n\r\t" else "�" if unicodedata.category(c) in UNSEEN else c for c in text
    )


def lines(text: str) -> Markup:
    """Escape text whose line ends count, to stand in a `pre` element."""
    return Markup("\n").join(Markup(html.escape(seen(line))) for line in text.splitlines())


def safe_address(text: str) -> str:
    """Return an http or https address, and the page itself for anything else."""
    try:
        return text if urlsplit(text).scheme in ("http", "https") else "#"
    except ValueError:
        return "#"


def data(value: Any) -> Markup:
    """Write JSON to stand inside a script element, which it can never close."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _finalize(value: Any) -> Any:
    return seen(value) if isinstance(value, str) and not isinstance(value, Markup) else value


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
        uses_magnitude_alone,
        explained,
        keywords,
        names,
        formatting.authors,
        formatting.code,
        formatting.count,
        formatting.memory,
        formatting.number,
        formatting.percent,
        formatting.plain,
        addresses.record_address,
        addresses.record_anchor,
        addresses.record_path,
        addresses.relative,
        formatting.seconds,
        formatting.sentence,
        formatting.times,
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
        glossary_address=addresses.glossary_address,
    )
    return environment
