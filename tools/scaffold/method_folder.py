"""From an entry of the catalog to `implementations/<slug>/`, ready to be filled in."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tools.catalog.schema.identifiers import SLUG
from tools.catalog.schema.paper import Paper
from tools.scaffold.template_values import LONGEST, facts

TEMPLATES = Path(__file__).resolve().parent
FILES = {
    "__init__.py": "init.py.jinja",
    "{slug}.py": "method.py.jinja",
    "test_{slug}.py": "test.py.jinja",
    "README.md": "README.md.jinja",
}


class ScaffoldError(Exception):
    """A folder that cannot be made; the message says why, and what to do."""


def scaffold(slug: str, paper: Paper, root: Path) -> list[Path]:
    """Make `implementations/<slug>/` in the checkout `root` and return its files.

    All of the folder appears at once, or nothing of it.

    Raises:
        ScaffoldError: no slug for a module, a paper without a method, a folder that is there
            already, a disk that cannot be written.
    """
    place = root / "implementations"
    folder = place / slug
    _check(slug, folder)
    texts = render(slug, paper)
    try:
        with TemporaryDirectory(prefix=f".{slug}-", dir=place) as beside:
            making = Path(beside) / slug
            making.mkdir()
            for name, text in texts.items():
                (making / name).write_text(text, encoding="utf-8")
            making.rename(folder)
    except OSError as error:
        raise ScaffoldError(f"cannot make {folder}: {error.strerror}") from error
    return [folder / name for name in texts]


def render(slug: str, paper: Paper) -> dict[str, str]:
    """Return the files of the folder by name; raises `ScaffoldError` for a survey and the like."""
    if paper.taxonomy is None:
        raise ScaffoldError(f"'{slug}' is a {paper.kind} without taxonomy: there is nothing to run")
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # code and Markdown, of text that the catalog checked
    )
    values = facts(slug, paper, paper.taxonomy)
    return {
        name.format(slug=slug): templates.get_template(template).render(values)
        for name, template in FILES.items()
    }


def _check(slug: str, folder: Path) -> None:
    if not re.fullmatch(SLUG, slug) or keyword.iskeyword(slug) or keyword.iskeyword(slug.title()):
        raise ScaffoldError(
            f"'{slug}' cannot be a module; choose lower-case letters and digits, a letter first"
        )
    if len(slug) > LONGEST:
        raise ScaffoldError(f"'{slug}' is longer than {LONGEST} letters; choose a shorter slug")
    if not folder.parent.is_dir():
        raise ScaffoldError(f"there is no {folder.parent}; run this in a checkout of the atlas")
    if folder.exists():
        raise ScaffoldError(f"{folder} is there already; remove it first, or choose another slug")
