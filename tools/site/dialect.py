"""The Markdown that the site is written in: what its reader understands beside the plain one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markdown import Markdown

EXTENSIONS: Mapping[str, Mapping[str, Any]] = {
    "admonition": {},
    "attr_list": {},
    "md_in_html": {},
    "tables": {},
    "toc": {"permalink": True, "toc_depth": 3},
    # What it leaves of a formula becomes MathML.
    "pymdownx.arithmatex": {"generic": True},
    "pymdownx.highlight": {},
    "pymdownx.superfences": {},
}


def reader(anchors: bool = True) -> Markdown:
    """Return a reader of one text; `anchors` says whether the lines of its code have some."""
    configs = {**EXTENSIONS, "pymdownx.highlight": {"anchor_linenums": anchors}}
    return Markdown(extensions=list(configs), extension_configs=configs)
