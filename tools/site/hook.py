"""Under `mkdocs serve`: write the pages again whenever a source has changed."""

from __future__ import annotations

import subprocess
import sys

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.livereload import LiveReloadServer

SOURCES = ("catalog", "docs", "implementations", "tools/site", "README.md", "CONTRIBUTING.md")
serving = False


def on_serve(server: LiveReloadServer, config: MkDocsConfig, **_: object) -> LiveReloadServer:
    """Watch the sources. The pages that are written from them would start another build."""
    global serving  # noqa: PLW0603  mkdocs loads a hook once and keeps it
    serving = True
    server.unwatch(config.docs_dir)
    for source in SOURCES:
        server.watch(source)
    return server


def on_pre_build(config: MkDocsConfig) -> None:
    """Write the pages; `make serve` has written them before the first build."""
    if serving and subprocess.run([sys.executable, "-m", "tools.site"], check=False).returncode:
        raise PluginError("tools.site could not write the pages")
