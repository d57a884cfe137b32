"""Adapt Markdown files of the repository to pages of the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Container
from urllib.parse import urlsplit

from tools.site.addresses import relative

# The words of a link may go on in the next line, but not in the next paragraph.
LINK = re.compile(r"(?<!!)\[((?:[^\[\]\n]|\n(?![ \t]*\n))+)\]\(([^)\[\s]+)\)")
CODE = re.compile(r"(^[ ]*```.*?^[ ]*```|(?<!\[)`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def rebase(
    text: str,
    page: str,
    known: Container[str],
    repository: str = "",
    folder: str = "",
) -> str:
    """Rewrite the relative links of a file in `folder` of the repository for a page of the site.

    Links to the folder or the entry of a `known` paper lead to its page. Other links, and links to
    files that this page shows, lead to the repository; without its address only the link text
    stays. Code is not changed.
    """

    def replace(link: re.Match[str]) -> str:
        words, target = link.groups()
        if urlsplit(target).scheme or target.startswith("#"):
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        paper = re.match(r"implementations/([a-z][a-z0-9]*)(/|$)|catalog/papers/(\w+)\.yaml$", path)
        slug = paper and (paper[1] or paper[3])
        if slug in known and page != f"papers/{slug}.md":
            return f"[{words}]({relative(f'papers/{slug}.md', page)})"
        return f"[{words}]({repository}/blob/main/{path})" if repository else str(words)

    return _outside_code(text, lambda part: LINK.sub(replace, part))


def indent(text: str) -> str:
    """Indent the contents of numbered lists by four spaces, as Python-Markdown requires."""
    deeper = re.compile(r"^(?: {3})+(?= {0,2}\S)", re.MULTILINE)
    return deeper.sub(lambda match: " " * (len(match[0]) // 3 * 4), text)


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    parts = CODE.split(text)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))
