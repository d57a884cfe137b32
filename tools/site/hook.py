"""The mkdocs hook: adds the generated pages to the build; none is ever a file in the checkout."""

import os
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tools.site.formulas import set_formulas
from tools.site.pages import pages
from tools.site.sources import read


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Generate the site from this checkout, and from the runs in the folder `ATLAS_RUNS` names."""
    runs = os.environ.get("ATLAS_RUNS")
    root = Path(config.config_file_path).parent
    for path, text in pages(read(root, runs=Path(runs) if runs else None)).items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_content(html: str, **_: object) -> str:
    """Set the formulas of a page, once Markdown is HTML."""
    return set_formulas(html)
