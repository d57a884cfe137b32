"""The text of a page by its headings, for the search: no code, no drawings, nothing left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from markdown.extensions.toc import slugify

# Of Markdown: blocks of code, formulas, and marks that are no words.
BLOCKS = re.compile(
    r"^(```|~~~).*?^\1|\$\$.*?\$\$|\$[^$\n]+\$|\\\(.*?\\\)|\\\[.*?\\\]",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\[([^\]\[]*)\]\([^()\s]*\)")
MARKS = re.compile(r"\*\*|`|^\s*(?:[-*]|\d+\.)\s", re.MULTILINE)
HEADING = re.compile(r"^(#{1,3}) +(.+?)(?: +\{([^{}]*)\})? *$")
PARTS = {"h1", "h2", "h3"}
SILENT = {"script", "style", "svg", "pre", "math", "select", "template"}
"""Elements whose text is nothing to search."""
EXCLUDED = "data-search-exclude"


@dataclass
class Section:
    """What stands under one heading of a page."""

    heading: str = ""
    anchor: str = ""
    """Empty for what stands above the first heading that has one."""
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its words, parted by single spaces."""
        return " ".join(MARKS.sub(" ", LINK.sub(r"\1", "".join(self.pieces))).split())


def front(page: str) -> tuple[dict[str, Any], str]:
    """Part a page into what its front matter says and what stands below."""
    head, _, body = page.removeprefix("---\n").partition("\n---\n")
    said = (line.partition(": ") for line in head.splitlines())
    return {name: json.loads(value) for name, _, value in said}, body


def sections(body: str) -> list[Section]:
    """Divide the Markdown or HTML of a page at its first three levels of headings."""
    reader = _Reader()
    reader.feed(BLOCKS.sub(" ", body))
    reader.close()
    return [one for one in reader.made if one.heading or one.text]


class _Reader(HTMLParser):
    """Collects the text of each section, and passes over whole elements."""

    def __init__(self) -> None:
        super().__init__()
        self.made = [Section()]
        self.kept = True
        """Whether the section being read counts."""
        self.skipped: list[str] = []
        """The element passed over, once for each of its name inside of it."""
        self.naming = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if self.skipped:
            self.skipped += [tag] * (tag == self.skipped[0])
        elif tag in PARTS:
            self.open(said.get("id") or "", EXCLUDED not in said)
            self.naming = True
        elif tag in SILENT or EXCLUDED in said or "headerlink" in (said.get("class") or ""):
            self.skipped = [tag]
        else:
            self.add(" ")

    def handle_endtag(self, tag: str) -> None:
        if self.skipped:
            if tag == self.skipped[0]:
                self.skipped.pop()
        elif tag in PARTS:
            self.naming = False
        else:
            self.add(" ")

    def handle_data(self, data: str) -> None:
        if self.skipped:
            return
        if self.naming:
            self.made[-1].heading = " ".join(f"{self.made[-1].heading} {data}".split())
            return
        for line in data.splitlines(keepends=True):
            if found := HEADING.match(line):
                self.head(found[2], found[3] or "")
            else:
                self.add(line)

    def head(self, title: str, attributes: str) -> None:
        """Open the section of a heading in Markdown."""
        title = " ".join(MARKS.sub("", LINK.sub(r"\1", title)).split())
        named = re.search(r"#([\w-]+)", attributes)
        self.open(named[1] if named else slugify(title, "-"), EXCLUDED not in attributes)
        self.made[-1].heading = title if self.kept else ""

    def open(self, anchor: str, kept: bool) -> None:
        self.kept = kept
        self.made.append(Section(anchor=anchor))

    def add(self, text: str) -> None:
        if self.kept:
            self.made[-1].pieces.append(text)


def unique(text: str) -> Iterator[str]:
    """Yield each word of a text once, in lower case; no single letters, no bare numbers."""
    found = dict.fromkeys(re.findall(r"[^\W_]+(?:[.:'-][^\W_]+)*", text.lower()))
    yield from (word for word in found if len(word) > 1 and not word.isdecimal())
