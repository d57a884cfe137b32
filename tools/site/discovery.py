"""Entry points for programs: `llms.txt` for language models, `robots.txt` for crawlers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from tools.site.addresses import html_path
from tools.site.atlas import Atlas
from tools.site.data_files import FILES
from tools.site.render import Front, printable

ABOUT = (
    "{papers} papers on pruning large language models, each with its sources. {implemented} of "
    "the {methods} methods and {baselines} simple baselines are implemented in one or two files "
    "each, tested, and measured on one harness next to the dense model."
)


def llms(atlas: Atlas, menu: Iterable[Front]) -> str:
    """Write a Markdown list of the menu's pages, data files, methods with code and other papers."""
    guides = [_item(atlas, html_path(front.path), front.title, front.description) for front in menu]
    data = [_item(atlas, path, path, about) for path, about in FILES.items()]
    implemented = [_paper(atlas, slug) for slug in atlas.papers if slug in atlas.methods]
    others = [_paper(atlas, slug) for slug in atlas.papers if slug not in atlas.methods]
    parts = {
        "Guides": guides,
        "Data": data,
        "Methods implemented here": implemented,
        "Other papers": others,
    }
    about = ABOUT.format_map(asdict(atlas.counts))
    sections = "".join(_section(title, items) for title, items in parts.items() if items)
    return f"# Pruning Atlas\n\n> {about}\n{sections}"


def robots(atlas: Atlas) -> str:
    """Allow everything; name the site map if the site's address is known."""
    where = f"Sitemap: {atlas.address('sitemap.xml')}\n" if atlas.site else ""
    return f"User-agent: *\nAllow: /\n{where}"


def _section(title: str, items: Iterable[str]) -> str:
    return f"\n## {title}\n\n" + "".join(items)


def _paper(atlas: Atlas, slug: str) -> str:
    paper = atlas.papers[slug]
    about = f"{paper.title} ({paper.year})" if paper.year else paper.title
    return _item(atlas, f"papers/{slug}.html", atlas.names[slug], about)


def _item(atlas: Atlas, path: str, label: str, about: str) -> str:
    return f"- [{_line(label)}]({atlas.address(path)}): {_line(about)}\n"


def _line(text: str) -> str:
    """Write text on one line, without brackets that would end a link."""
    return " ".join(printable(text).split()).replace("[", "(").replace("]", ")")
