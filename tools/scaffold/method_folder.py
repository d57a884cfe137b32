"""Creation of `implementations/<slug>/` from templates and a catalog entry."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tools.catalog.schema.identifiers import SLUG
from tools.catalog.schema.paper import Paper
from tools.scaffold.template_values import MAX_NAME, facts

TEMPLATES = Path(__file__).resolve().parent
FILES = {
    "__init__.py": "init.py.jinja",
    "{slug}.py": "method.py.jinja",
    "test_{slug}.py": "test.py.jinja",
    "README.md": "README.md.jinja",
}


class ScaffoldError(Exception):
    """A method folder that cannot be created; the message gives the reason and advice."""


def scaffold(slug: str, paper: Paper, root: Path) -> list[Path]:
    """Create `implementations/<slug>/` with all its files in the checkout `root`, and return them.

    Raises:
        ScaffoldError: the slug is not a module name, the paper has no method, the folder exists, or
            it cannot be written.
    """
    place = root / "implementations"
    folder = place / slug
    _check(slug, folder)
    texts = render(slug, paper)
    try:
        with TemporaryDirectory(prefix=f".{slug}-", dir=place) as beside:
            temporary = Path(beside) / slug
            temporary.mkdir()
            for name, text in texts.items():
                (temporary / name).write_text(text, encoding="utf-8")
            temporary.rename(folder)
    except OSError as error:
        raise ScaffoldError(f"cannot create {folder}: {error.strerror}") from error
    return [folder / name for name in texts]


def render(slug: str, paper: Paper) -> dict[str, str]:
    """Return the texts of the files by name; raises `ScaffoldError` for a work without method."""
    if paper.taxonomy is None:
        raise ScaffoldError(f"'{slug}' is a {paper.kind} without taxonomy, so it has no method")
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the templates are code and Markdown, and the catalog checks its texts
    )
    values = facts(slug, paper, paper.taxonomy)
    return {
        name.format(slug=slug): templates.get_template(template).render(values)
        for name, template in FILES.items()
    }


def _check(slug: str, folder: Path) -> None:
    if not re.fullmatch(SLUG, slug) or keyword.iskeyword(slug) or keyword.iskeyword(slug.title()):
        raise ScaffoldError(
            f"'{slug}' cannot be a module name; use lower-case letters and digits, starting with a "
            "letter"
        )
    if len(slug) > MAX_NAME:
        raise ScaffoldError(f"'{slug}' has more than {MAX_NAME} letters; choose a shorter slug")
    if not folder.parent.is_dir():
        raise ScaffoldError(f"{folder.parent} does not exist; run this in a checkout of the atlas")
    if folder.exists():
        raise ScaffoldError(f"{folder} exists already; remove it, or choose another slug")
