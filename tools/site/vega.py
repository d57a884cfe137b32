"""Modules for the browser, made by the package that draws at build: Vega's runtime, and others."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

import vl_convert
from platformdirs import user_cache_path

from implementations.harness.results.files import write_whole

# The package bundles what a snippet imports by these addresses from its own files; none is asked
# for over the network. Without Vega-Lite and Embed the result is a third smaller.
SNIPPET = """
import {{ parse, View }} from "https://cdn.jsdelivr.net/npm/vega@{vega}/+esm.js";
import {{ expressionInterpreter }} from "https://cdn.jsdelivr.net/npm/vega-interpreter@2.0.0/+esm.js";
export {{ parse, View, expressionInterpreter }};
"""


@cache
def runtime() -> str:
    """Return a module that exports `parse`, `View` and `expressionInterpreter`."""
    return bundled("vega", SNIPPET.format(vega=vl_convert.get_vega_version()))


def bundled(name: str, snippet: str) -> str:
    """Return a module as one small file, with all that it imports.

    Bundling takes seconds, so the result is kept in the user's cache for this version of it.
    """
    wanted = f"{version('vl-convert-python')}{snippet}".encode()
    file = _folder() / f"{name}-{hashlib.sha256(wanted).hexdigest()[:16]}.js"
    if file.exists():
        return file.read_text(encoding="utf-8")
    made: str = vl_convert.javascript_bundle(snippet)
    write_whole(file, made)
    return made


def _folder() -> Path:
    chosen = os.environ.get("PRUNING_ATLAS_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("pruning-atlas")
