"""Vega's runtime as a JavaScript module, from the package that draws the charts at build time."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

import vl_convert
from platformdirs import user_cache_path

from implementations.harness.results.files import write_atomically

# The package resolves imports from these addresses with its own files, without network access.
# Leaving out Vega-Lite and Embed makes the result a third smaller.
ADDRESS = "https://cdn.jsdelivr.net/npm/{}/+esm.js"
WHOLE = """
export {{ parse, View }} from "{vega}";
export {{ expressionInterpreter }} from "{interpreter}";
"""
# The parts of Vega that the charts use. Without maps, forces and word clouds, the bundle is a
# quarter smaller.
LEAN = """
import {{ transforms }} from "{dataflow}";
import {{ extend }} from "{util}";
import * as basic from "{transforms}";
import * as views from "{view-transforms}";
import * as encode from "{encode}";
import * as label from "{label}";
export {{ parse }} from "{parser}";
export {{ View }} from "{view}";
export {{ expressionInterpreter }} from "{interpreter}";
extend(transforms, basic, views, encode, label);
"""
INTERPRETER = "vega-interpreter@2.0.0"
PARTS = {
    "6.2.0": (
        "vega-dataflow@6.1.0",
        "vega-util@2.1.0",
        "vega-transforms@5.1.0",
        "vega-view-transforms@5.1.0",
        "vega-encode@5.1.0",
        "vega-label@2.1.0",
        "vega-parser@7.1.0",
        "vega-view@6.1.0",
    ),
}
"""Versions of Vega's parts, by version of Vega; the package does not list them."""


@cache
def runtime() -> str:
    """Return a module that exports `parse`, `View` and `expressionInterpreter`.

    If the parts of the installed version of Vega are not in `PARTS`, the module has all of Vega.
    """
    vega = vl_convert.get_vega_version()
    parts = PARTS.get(vega, (f"vega@{vega}",))
    named = {part.partition("@")[0].removeprefix("vega-"): part for part in (*parts, INTERPRETER)}
    snippet = (LEAN if vega in PARTS else WHOLE).format_map(
        {name: ADDRESS.format(part) for name, part in named.items()}
    )
    return bundled("vega", snippet)


def bundled(name: str, snippet: str) -> str:
    """Return a module and its imports as one minified file.

    Bundling takes seconds, so the result is cached for each version of the package.
    """
    wanted = f"{version('vl-convert-python')}{snippet}".encode()
    file = _folder() / f"{name}-{hashlib.sha256(wanted).hexdigest()[:16]}.js"
    if file.exists():
        return file.read_text(encoding="utf-8")
    bundle: str = vl_convert.javascript_bundle(snippet)
    write_atomically(file, bundle)
    return bundle


def _folder() -> Path:
    chosen = os.environ.get("PRUNING_ATLAS_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("pruning-atlas")
