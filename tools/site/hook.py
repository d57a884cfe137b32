"""The mkdocs hook: adds the generated pages to the build; none is ever a file in the checkout."""

import os
import shutil
from pathlib import Path

from jinja2 import Environment
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.structure.toc import get_toc

from implementations.harness.errors import BadInput
from tools.catalog.documents.diagnostics import CatalogError
from tools.site.atlas import read
from tools.site.body import finish
from tools.site.frame import NOTICE
from tools.site.generated import generated
from tools.site.links import broken
from tools.site.menu import menu
from tools.site.pages import fronts, make
from tools.site.policy import protect


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
    config.nav, config.copyright = menu(fronts()), NOTICE
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Finish the body of a page, of which mkdocs then reads nothing."""
    try:
        listed = menu(fronts())
        page.meta["finished"] = finish(page.file.src_uri, page.meta, markdown, listed)
    except BadInput as error:
        raise PluginError(str(error)) from error
    return ""


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Give the theme the body and its contents."""
    body = page.meta.pop("finished")
    page.toc = get_toc(body.contents)
    return str(body.html)


def on_env(env: Environment, files: Files, **_: object) -> None:
    """End the build where links lead nowhere."""
    pages = (file.page for file in files.documentation_pages())
    # Under `serve` what did not change has no content.
    contents = {page.file.dest_uri: page.content for page in pages if page and page.content}
    if problems := list(broken(contents, {file.dest_uri for file in files})):
        raise PluginError("\n".join(problems))


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
