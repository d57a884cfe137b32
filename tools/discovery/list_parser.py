"""Parser for Awesome lists in their common notations.

A paper is a bullet, a table row or a separate line that contains a date or a link:

    - [2023.07] Title, VENUE [[Paper](https://...)][[Code](https://...)]
    * [Title](https://...), VENUE 2023, [[code]](https://...)
    | 2023-07 | **Title** | VENUE | [pdf](https://...) |

Links and venue may also follow the title as indented bullets:

    - [1] Title
      - Publication: VENUE, [Paper](https://...)
      - Code: https://...
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from tools.catalog.schema.vocabulary import fold
from tools.sources.names.venues import venue_term

LINK = re.compile(
    r"(\[{1,3})([^\[\]]{0,400})\]{1,3}"
    r"\(\s*+<?([^\s<>()]*(?:\([^\s()]*\)[^\s<>()]*)*)>?\s*+"  # parentheses are balanced
    r"(?:(?<=\s)(?:\"(?:[^\"\\]|\\.)*\"|'[^']*')\s*+)?\)\]?"
)
BREAK = re.compile(r"(?<!\s)\s*+<br\s*+/?>", re.IGNORECASE)
IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)|<[^>]*>")
DATE = re.compile(
    r"[\[(]?\b((?:19|20)\d\d)(?:\s*[./-]\s*(0?[1-9]|1[0-2]))?(?:[./-]\d{1,2})?\b[\])]?"
)
ITEM = re.compile(
    r"\s*(?:[-*+•]|\d+[.)])\s+(?:\[\d{1,3}\]\s+)?(?P<bullet>.*)|\s*\|(?P<row>.*)"
    r"|(?P<bare>(?!\[[^\]]*\]:)[\[*]{1,4}.*)"  # not a definition of a link
)
DETAIL = re.compile(r"\s+[-*+•]\s+(Link|Paper|Code|Pub|Publication|Venue):(.*)", re.IGNORECASE)
"""An indented bullet with a link or the venue of the paper above it."""
MAX_LINE = 5_000
"""Maximum length of a line in characters; longer lines are ignored."""
COMMA = re.compile(r"[,，、;|]")
SERVICES = re.compile(
    r"\b(abs|arxiv|blog|checkpoints?|code|dataset|demo|github|homepage|html|huggingface|link"
    r"|models?|official|openreview|page|paper|pdf|poster|project|pytorch|repo|slides"
    r"|video|web|webpage|website|weights)\b"
)
"""Words of link labels that describe the target of the link, so the label is not a title."""
CODE = ("github.com", "gitlab.com", "bitbucket.org", "gitee.com", "codeberg.org")


@dataclass(frozen=True)
class Link:
    """A link in a line."""

    label: str
    url: str

    @property
    def is_code(self) -> bool:
        """Whether the link leads to a repository."""
        try:
            host = (urlsplit(self.url).hostname or "").removeprefix("www.")
        except ValueError:
            return False
        return host in CODE or fold(self.label) == "code"


@dataclass(frozen=True)
class Item:
    """One paper of a list; missing parts are empty."""

    line: int
    group: str
    """The heading above it."""
    date: str
    """`2023-07` or `2023`."""
    title: str
    venue: str
    links: tuple[Link, ...]


def read_list(text: str) -> list[Item]:
    """Return the papers of a list in order."""
    return list(_items(text))


def _items(text: str) -> Iterator[Item]:
    group, fenced = "", False
    for number, line in _lines(text):
        if re.match(r"\s*(```|~~~)", line):
            fenced = not fenced
        elif fenced:
            continue
        elif heading := re.match(r"#{1,6}\s+(.*)", line):
            group = plain(heading[1].rstrip(" \t#"))
        elif item := _item(line, number, group):
            yield item


def _lines(text: str) -> Iterable[tuple[int, str]]:
    """Return the lines with their numbers, and each detail at the end of the bullet above it."""
    joined: dict[int, str] = {}
    bullet = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        if len(raw) > MAX_LINE:
            continue
        line = "".join(c if c.isprintable() else " " * c.isspace() for c in raw)
        detail = DETAIL.fullmatch(line)
        if bullet and detail and len(joined[bullet]) < MAX_LINE:
            joined[bullet] += _as_links(*detail.groups())
            continue
        joined[number] = line
        if line[:1].strip():
            bullet = number if re.match(r"[-*+•]\s", line) else 0
    return joined.items()


def _as_links(label: str, value: str) -> str:
    """Write a detail as it would be in the line of the title: a venue, then links."""
    rest = LINK.sub("", value)
    venue = plain(rest)
    links = [(name if _is_service(name) else label, url) for _, name, url in LINK.findall(value)]
    links += [(label, url) for url in re.findall(r"https?://[^\s<>()]+", rest)]
    shown = f", {venue}" if looks_like_venue(venue) else ""
    return shown + "".join(f" [{name}]({url})" for name, url in links)


def _item(line: str, number: int, group: str) -> Item | None:
    found = ITEM.fullmatch(IMAGE.sub(" ", BREAK.sub(", ", line)))
    if not found:
        return None
    text = html.unescape(found["bullet"] or found["row"] or found["bare"] or "")
    if not found["row"]:
        text = text.partition(" · ")[0]  # remarks follow
    links = tuple(
        Link(plain(label), url)
        for _, label, url in LINK.findall(text)
        if re.match(r"https?://.", url)
    )
    bold = map(plain, re.findall(r"\*\*(.+?)\*\*(?!:| \w)", LINK.sub("", text)))
    titles = [name for name in (*(link.label for link in links), *bold) if _is_title(name)]
    rest = LINK.sub(lambda link: "" if titles or _is_service(link[2]) else link[2], text)
    date = DATE.match(rest.strip(" |*")) or (DATE.search(rest) if found["row"] else None)
    if not links and not date:
        return None
    if date:
        rest = rest.replace(date[0], " ", 1)
    title, venue = _title_and_venue(rest, titles)
    if len(title.split()) < 3 or len(title) > 300:
        return None
    month = f"{date[1]}-{int(date[2]):02}" if date and date[2] else date[1] if date else ""
    return Item(number, group, month, title, venue, links)


def _is_service(label: str) -> bool:
    words = fold(label)
    return not words or (bool(SERVICES.search(words)) and words.count(" ") < 3)


def _is_title(label: str) -> bool:
    return len(label.split()) > 2 and not _is_service(label)


def _title_and_venue(rest: str, titles: list[str]) -> tuple[str, str]:
    parts = [part for part in map(plain, COMMA.split(rest)) if part]
    if titles:
        return titles[0], next((p for p in parts if venue_term(p)), "")
    if "|" in rest:
        cells = [cell for cell in map(plain, rest.split("|")) if cell]
        venue = next((cell for cell in cells if looks_like_venue(cell)), "")
        return max((cell for cell in cells if cell != venue), key=len, default=""), venue
    if len(parts) > 1 and looks_like_venue(parts[-1]):
        whole = plain(rest)
        return _trim(whole[: whole.rindex(parts[-1])]), parts[-1]
    return plain(rest), ""


def plain(text: str) -> str:
    """Return a text without Markdown emphasis, escapes and surrounding punctuation."""
    text = re.sub(r"\*\*|__|`|(?<!\\)\*", "", text)
    return _trim(re.sub(r"\\([^\w\s])", r"\1", text))


def _trim(text: str) -> str:
    return " ".join(text.split()).strip(" ,，、;:|-–—[]").removesuffix(".")


def looks_like_venue(text: str) -> bool:
    """Whether the end of a line names a venue: a known one, or a word with several capitals."""
    word = re.fullmatch(r"([A-Za-z&-]{2,20})(['’ -]*\d{2,4})?", text)
    return bool(venue_term(text) or (word and sum(map(str.isupper, word[1])) > 1))
