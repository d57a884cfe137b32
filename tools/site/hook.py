"""Hook for `mkdocs serve` that rewrites the pages whenever a source changes."""

from __future__ import annotations

import subprocess
import sys

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.livereload import LiveReloadServer

SOURCES = (
    *("catalog", "docs", "implementations", "tools"),
    *("CITATION.cff", "CONTRIBUTING.md", "README.md"),
)
serving = False


def on_serve(server: LiveReloadServer, config: MkDocsConfig, **_: object) -> LiveReloadServer:
    """Watch the sources instead of the generated pages, whose changes would start another build."""
    global serving  # noqa: PLW0603  mkdocs loads a hook once and keeps it
    serving = True
    server.unwatch(config.docs_dir)
    for source in SOURCES:
        server.watch(source)
    return server


def on_pre_build(config: MkDocsConfig) -> None:
    """Write the pages; `make serve` has written them before the first build."""
    if serving and subprocess.run([sys.executable, "-m", "tools.site"], check=False).returncode:
        raise PluginError("`python -m tools.site` failed; see its error above")
