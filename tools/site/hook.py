"""The mkdocs hook: adds the generated pages to the build; none is ever a file in the checkout."""

import os
import shutil
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from implementations.harness.errors import BadInput
from tools.catalog.documents.diagnostics import CatalogError
from tools.site.access import focusable_code
from tools.site.atlas import read
from tools.site.contents import contents
from tools.site.formulas import set_formulas
from tools.site.generated import generated
from tools.site.menu import menu
from tools.site.pages import fronts, make
from tools.site.policy import protect

FOREIGN = '<header class="atlas-paper">'
"""In a page whose headings are HTML before Markdown is read."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Generate the site from this checkout, and from the runs in the folder `ATLAS_RUNS` names."""
    runs = os.environ.get("ATLAS_RUNS")
    root = Path(config.config_file_path).parent
    try:
        made = make(read(root, runs=Path(runs) if runs else None))
    except (CatalogError, BadInput) as error:
        raise PluginError(f"the site cannot be made:\n{error}") from error
    for file in generated(config, made):
        files.append(file)
    config.nav = menu(fronts())
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Keep what is HTML already from being read as Markdown, which takes most of a build."""
    if not page.meta.get("html"):
        return markdown
    page.meta["html"] = markdown
    return ""


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Set the formulas of a page, once Markdown is HTML, and let the keyboard reach its code."""
    html = page.meta.pop("html", html)
    if FOREIGN in html:
        page.toc = contents(html)
    try:
        return focusable_code(set_formulas(html))
    except BadInput as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from error


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Say in each page what it may load and run."""
    return protect(output, page.content or "")


def on_post_template(output_content: str, template_name: str, **_: object) -> str:
    """The same for the page that says that there is no such page."""
    if not template_name.endswith(".html"):
        return output_content
    return protect(output_content)


def on_post_build(config: MkDocsConfig) -> None:
    """Leave out what the theme brings and no page loads: source maps, and a search of its own."""
    for path in Path(config.site_dir).rglob("*.map"):
        path.unlink()
    for part in ("lunr", "workers"):
        shutil.rmtree(Path(config.site_dir) / "assets" / "javascripts" / part, ignore_errors=True)
